"""Finds what is wrong with the machine, and says what to do about it."""
