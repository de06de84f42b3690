"""Packs a data source for a machine that doesn't see it: its files as a tar archive in chunks. No torch."""

import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from seedwise.base.errors import UserError
from seedwise.data.cache import cache_errors, locked_cache, silent
from seedwise.data.find import KNOWN_NAMES
from seedwise.data.source import Source

CHUNK_BYTES = 64 << 20


@dataclass(frozen=True)
class DataArchive:
    """A packed data source: its chunks, and how to find the data among the unpacked files."""

    data: str
    """A known name, or the path below the unpacked folder."""
    chunks: int
    fetch: Callable[[int], bytes] = field(repr=False)
    """Returns a chunk by its number."""

    def inside(self, folder: Path) -> tuple[str, Path | None]:
        """Name and data_dir for `open_data`."""
        return (self.data, folder) if self.data in KNOWN_NAMES else (str(folder / self.data), None)


def pack(data: str, source: Source) -> tuple[str, Iterator[bytes]]:
    """Pack all files in the source's stamp: returns the parcel's `data`, and the chunks. A UserError for data that
    aren't files."""
    files = [os.path.normpath(line.split("\0")[0]) for line in source.stamp() if "\0" in line]
    if source.path is None or not files:
        raise UserError(f"{data}: nodes without it can't be sent it; let all of them have it at the same path")
    root = source.path if source.path.is_dir() else source.path.parent
    outside = next((file for file in files if not Path(file).is_relative_to(root)), None)
    if outside is not None:
        raise UserError(
            f"{data}: names {outside}, outside {root}, so it can't be sent to nodes that don't see it; "
            "move the images below it, or let all nodes see that path"
        )
    return data if data in KNOWN_NAMES else Path(os.path.relpath(source.path, root)).as_posix(), _chunks(root, files)


def _chunks(root: Path, files: list[str]) -> Iterator[bytes]:
    buffer = _Buffer()
    with tarfile.open(fileobj=cast(IO[bytes], buffer), mode="w|", dereference=True) as archive:
        for file in files:
            archive.add(file, Path(file).relative_to(root).as_posix(), recursive=False)
            while len(buffer.content) >= CHUNK_BYTES:
                yield buffer.take(CHUNK_BYTES)
    while buffer.content:
        yield buffer.take(CHUNK_BYTES)


class _Buffer:
    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)

    def take(self, size: int) -> bytes:
        taken = bytes(self.content[:size])
        del self.content[:size]
        return taken


def unpack(data_archive: DataArchive, place: Path) -> Path:
    """Unpack the source's files into a folder of this machine, once for all its trials."""
    with cache_errors(place), locked_cache(place, "fetches the data", silent):
        whole, folder = place / "whole", place / "files"
        if not whole.exists():  # what a killed process left of them is written over
            with tarfile.open(fileobj=cast(Any, _Stream(data_archive)), mode="r|") as archive:
                archive.extractall(folder, filter="data")
            whole.touch()
    return folder


class _Stream:
    """A parcel as a file to read from, with one chunk in memory at a time."""

    def __init__(self, data_archive: DataArchive) -> None:
        self._archive, self._next, self._buffer = data_archive, 0, memoryview(b"")

    def read(self, size: int) -> bytes:
        if not self._buffer and self._next < self._archive.chunks:
            self._buffer = memoryview(self._archive.fetch(self._next))
            self._next += 1
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return bytes(taken)
