"""seedwise fine-tunes image classifiers and tells which tricks really helped.

    import seedwise
    run = seedwise.train("demo", "digits", seed=0, settings=["train.epochs=5"])
    print(run.record.final.test.top1)
    seedwise.load(run.folder).predict(["photo.png"])

Names are imported when they are first used, so that `import seedwise` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seedwise.ensembles.model import Ensemble, load
    from seedwise.recipe.schema import Recipe
    from seedwise.run.run import Run
    from seedwise.run.train import train

__all__ = ["Ensemble", "Recipe", "Run", "load", "train"]

_HOMES = {
    "Ensemble": "seedwise.ensembles.model",
    "Recipe": "seedwise.recipe.schema",
    "Run": "seedwise.run.run",
    "load": "seedwise.ensembles.model",
    "train": "seedwise.run.train",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'seedwise' has no attribute {name!r}")
    from seedwise.base.machine import prepare_process

    prepare_process()
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
