"""Downloads published data sets when the user asks for it: into the cache, once, by one process."""

import os
from dataclasses import dataclass
from pathlib import Path

from seedwise.base.files import cache_root
from seedwise.data.cache import cache_errors, locked_cache
from seedwise.data.cifar import PUBLISHED, CifarSource
from seedwise.data.download import Wanted, fetch
from seedwise.data.source import Contents, Progress

MIRRORS_VARIABLE = "SEEDWISE_MIRRORS"
"""Environment variable with URLs of folders, separated by spaces, that replace the usual download addresses."""


def download_folder(name: str) -> Path:
    """The folder of the downloaded archive of this name."""
    return cache_root() / "downloads" / name


@dataclass(frozen=True)
class DownloadSource:
    """A published archive that `fetch` downloads, and which is then read like a local copy."""

    name: str

    @property
    def path(self) -> Path:
        """The archive's future path."""
        return (download_folder(self.name) / PUBLISHED[self.name].archive).absolute()

    def fetch(self, report: Progress) -> None:
        """Downloads the archive unless another process has just done it."""
        published, folder = PUBLISHED[self.name], download_folder(self.name)
        with cache_errors(folder), locked_cache(folder, f"downloads {self.name}", report):
            if not self.path.exists():
                fetch(Wanted(self.name, self.path, published.size, published.md5), self._urls(), report)

    def stamp(self) -> list[str]:
        """Path, size and time of the archive."""
        return CifarSource(self.name, self.path).stamp()

    def read(self) -> Contents:
        """Read the archive's contents."""
        return CifarSource(self.name, self.path).read()

    def _urls(self) -> list[str]:
        published = PUBLISHED[self.name]
        if mirrors := os.environ.get(MIRRORS_VARIABLE, "").split():
            return [f"{mirror.rstrip('/')}/{published.archive}" for mirror in mirrors]
        return list(published.urls)
