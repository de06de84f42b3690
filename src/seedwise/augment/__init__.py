"""Augmentation of whole uint8 batches on their device, with random draws per image from a table."""
