"""Finds images and labels, decodes them once into a shared cache, and splits them without touching the test part."""
