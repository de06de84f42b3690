"""What these tests share; mypy, which takes one conftest.py only, checks it where it stands."""

from null_fixtures import cache, null_driver, own_cache

__all__ = ["cache", "null_driver", "own_cache"]
