"""Images and their labels: found, decoded once into a shared cache, split without touching the test part."""

from seedwise.data.config import DataConfig
from seedwise.data.dataset import Dataset, Subset
from seedwise.data.open import open_data
from seedwise.data.source import Progress
from seedwise.data.splits import train_probe

__all__ = ["DataConfig", "Dataset", "Progress", "Subset", "open_data", "train_probe"]
