"""A cache of the tests' own, for all that train."""

from pathlib import Path

import pytest

from seedwise.base.files import cache_root


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of its own, but for the kernels: compiling them takes longer than most tests."""
    folder, compiled = tmp_path_factory.mktemp("cache"), cache_root() / "kernels"
    compiled.mkdir(parents=True, exist_ok=True)
    (folder / "kernels").symlink_to(compiled)
    return folder
