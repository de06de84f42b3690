"""What these tests share; mypy, which takes one conftest.py only, checks it where it stands."""

from fixtures import cache, cli, elsewhere, finished, finished_once, halfway_once, photos, signal_at, whole_once

__all__ = [
    "cache",
    "cli",
    "elsewhere",
    "finished",
    "finished_once",
    "halfway_once",
    "photos",
    "signal_at",
    "whole_once",
]
