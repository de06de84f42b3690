"""What these tests share; mypy, which takes one conftest.py only, checks it where it stands."""

from targets import target

__all__ = ["target"]
