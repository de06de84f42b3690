"""Checks of a data set before it misleads anyone."""
