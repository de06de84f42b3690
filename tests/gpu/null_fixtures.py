"""The null driver as a fixture, and the command line as a question."""

import sys
from pathlib import Path

import pytest
from null_driver import NullDriver, compiled

from own_cache import cache

__all__ = ["cache"]


@pytest.fixture(scope="session")
def null_driver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NullDriver:
    cache = getattr(request.config, "cache", None)  # `-p no:cacheprovider` takes it away
    return compiled(tmp_path_factory.mktemp("null_cuda") if cache is None else Path(cache.mkdir("null_cuda")))


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(cache))
    monkeypatch.delenv("SEEDWISE_DATA", raising=False)


def seedwise(*words: str) -> int:
    """The exit code of a `seedwise` command."""
    from seedwise.cli import main

    sys.argv = ["seedwise", *words]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0
