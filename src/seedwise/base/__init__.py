"""Foundations: errors, files, random streams, the machine, the version of what is computed."""
