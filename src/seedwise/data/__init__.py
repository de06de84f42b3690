"""Finds images and labels, decodes them once into a shared cache, and splits them without touching the test part.

Names are imported when they are first used: `data.config`, which every recipe needs, needs no numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seedwise.data.config import DataConfig
    from seedwise.data.dataset import Dataset, Subset
    from seedwise.data.open import open_data
    from seedwise.data.source import Progress
    from seedwise.data.splits import train_probe

__all__ = ["DataConfig", "Dataset", "Progress", "Subset", "open_data", "train_probe"]

_HOMES = {
    "DataConfig": "config",
    "Dataset": "dataset",
    "Progress": "source",
    "Subset": "dataset",
    "open_data": "open",
    "train_probe": "splits",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'seedwise.data' has no attribute {name!r}")
    value = getattr(import_module(f"seedwise.data.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
