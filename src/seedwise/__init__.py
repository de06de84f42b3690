"""seedwise fine-tunes image classifiers and tells which tricks really helped.

    import seedwise
    run = seedwise.train("demo", "digits", seed=0, settings=["train.epochs=5"])
    print(run.record.final.test.top1)
    seedwise.load(run.folder).predict(["photo.png"])

docs/python.md has an example for each function. Names are imported when they are first used, so that `import seedwise`
costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seedwise.base.errors import UserError
    from seedwise.ensembles.model import Ensemble
    from seedwise.inference.finished import audit, compare, ensemble, evaluate, load, predict, report
    from seedwise.inference.training import ablate, sweep, train
    from seedwise.recipe.library import recipes
    from seedwise.recipe.schema import Recipe
    from seedwise.recipe.techniques import techniques
    from seedwise.run.run import Run
    from seedwise.study.outcome import Study

    __version__: str

_HOMES = {
    "Ensemble": "seedwise.ensembles.model",
    "Recipe": "seedwise.recipe.schema",
    "Run": "seedwise.run.run",
    "Study": "seedwise.study.outcome",
    "UserError": "seedwise.base.errors",
    **dict.fromkeys(("ablate", "sweep", "train"), "seedwise.inference.training"),
    **dict.fromkeys(
        ("audit", "compare", "ensemble", "evaluate", "load", "predict", "report"), "seedwise.inference.finished"
    ),
    "recipes": "seedwise.recipe.library",
    "techniques": "seedwise.recipe.techniques",
}

__all__ = [
    "Ensemble",
    "Recipe",
    "Run",
    "Study",
    "UserError",
    "__version__",
    "ablate",
    "audit",
    "compare",
    "ensemble",
    "evaluate",
    "load",
    "predict",
    "recipes",
    "report",
    "sweep",
    "techniques",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from seedwise.base.distribution import distribution

        value: Any = distribution()[1]
    elif name in _HOMES:
        from seedwise.base.machine import prepare_process

        prepare_process()
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'seedwise' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
