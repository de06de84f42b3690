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
    from seedwise.ensemble.model import Ensemble, load
    from seedwise.recipe import Recipe
    from seedwise.runs import Run
    from seedwise.training import train

__all__ = ["Ensemble", "Recipe", "Run", "load", "train"]

_HOMES = {
    "Ensemble": "seedwise.ensemble.model",
    "Recipe": "seedwise.recipe",
    "Run": "seedwise.runs",
    "load": "seedwise.ensemble.model",
    "train": "seedwise.training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'seedwise' has no attribute {name!r}")
    from seedwise.machine import prepare_process

    prepare_process()
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
