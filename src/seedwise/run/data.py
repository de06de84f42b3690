"""The data of a recipe, at the sides in pixels that it trains and is scored at."""

from pathlib import Path

from seedwise.data.dataset import Dataset
from seedwise.data.open import open_data
from seedwise.data.source import Progress
from seedwise.recipe.schema import Recipe
from seedwise.run.resolve import storage_resolution


def open_for(recipe: Recipe, data: str, *, data_dir: Path | None = None, progress: Progress | None = None) -> Dataset:
    """Open `data` as `open_data` does, larger photos stored at the sides that a resolved recipe needs."""
    return open_data(data, recipe.data, data_dir=data_dir, progress=progress, **storage_resolution(recipe))
