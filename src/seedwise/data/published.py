"""Published data sets that are downloaded when the user asks for it: into the cache, once, by one process."""

import os
from dataclasses import dataclass
from pathlib import Path

from seedwise.base.files import cache_root
from seedwise.data.cache import alone, cache_errors
from seedwise.data.cifar import PUBLISHED, CifarSource
from seedwise.data.download import Wanted, fetch
from seedwise.data.source import Contents, Progress

MIRRORS_VARIABLE = "SEEDWISE_MIRRORS"
"""Addresses of folders, separated by spaces, that are asked for the archives in place of the usual ones."""


def download_folder(name: str) -> Path:
    """Where the archive of this name is kept."""
    return cache_root() / "downloads" / name


@dataclass(frozen=True)
class DownloadSource:
    """An archive that is not there yet; `fetch` brings it, and then it is read like any local copy."""

    name: str

    @property
    def path(self) -> Path:
        """Where the archive will lie."""
        return (download_folder(self.name) / PUBLISHED[self.name].archive).absolute()

    def fetch(self, report: Progress) -> None:
        """Downloads the archive unless another process has just done it."""
        published, folder = PUBLISHED[self.name], download_folder(self.name)
        with cache_errors(folder), alone(folder, f"downloads {self.name}", report):
            if not self.path.exists():
                fetch(Wanted(self.name, self.path, published.size, published.md5), self._urls(), report)

    def stamp(self) -> list[str]:
        """The archive with its size and time."""
        return CifarSource(self.name, self.path).stamp()

    def read(self) -> Contents:
        """What the archive holds."""
        return CifarSource(self.name, self.path).read()

    def _urls(self) -> list[str]:
        published = PUBLISHED[self.name]
        if mirrors := os.environ.get(MIRRORS_VARIABLE, "").split():
            return [f"{mirror.rstrip('/')}/{published.archive}" for mirror in mirrors]
        return list(published.urls)
