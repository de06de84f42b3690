"""All faults."""

from in_statistics import DATA, STATISTICS
from in_training import AUGMENTATION, TRAINING

FAULTS = STATISTICS + DATA + AUGMENTATION + TRAINING
