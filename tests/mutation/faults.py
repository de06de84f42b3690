"""All faults."""

from in_devices import DEVICES
from in_statistics import DATA, STATISTICS
from in_training import AUGMENTATION, TRAINING

FAULTS = STATISTICS + DATA + AUGMENTATION + TRAINING + DEVICES
