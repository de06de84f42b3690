"""What these tests share; mypy, which takes one conftest.py only, checks it where it stands."""

from null_fixtures import null_driver

__all__ = ["null_driver"]
