"""Reads class folders from a .zip or .tar, without writing its members to disk.

An archive may come from a stranger. Links, absolute names and names with `..` are refused, although nothing here would
follow them; so is an archive that unpacks to hundreds of times its size.
"""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from seedwise.base.errors import UserError
from seedwise.data import layout
from seedwise.data.classfolders import contents
from seedwise.data.config import DataConfig
from seedwise.data.formats import HEAD
from seedwise.data.located import DEFLATED, PLAIN, ZIPPED
from seedwise.data.source import Contents, Located, RawImage, file_stamp, printable
from seedwise.data.tree import ARCHIVE_SUFFIXES, tree_of_names

MAX_MEMBERS = 5_000_000
MAX_MEMBER_BYTES = 512 << 20
MAX_BYTES = 1 << 30
"""Bytes that any archive may unpack to; more only if it does not grow by more than MAX_GROWTH."""
MAX_GROWTH = 200


class ArchiveMember(NamedTuple):
    """A file in an archive; `size` in bytes. `file` must be read before the next member is asked for."""

    name: str
    size: int
    file: IO[bytes]
    place: tuple[int, int, int] | None = None
    """Offset, length and how, as in `Located`; None where it can't be read alone."""


def is_archive(path: Path) -> bool:
    """Whether a file's name is an archive's."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


@dataclass(frozen=True)
class ArchiveSource:
    """An archive with the layout of a folder of images, which may lie below folders that hold nothing else."""

    name: str
    path: Path
    config: DataConfig

    def stamp(self) -> list[str]:
        """The archive's path, size and time."""
        return [file_stamp(self.path)]

    def read(self) -> Contents:
        """List the archive once for the labels; the images follow in a second pass, in the archive's order."""
        names, alone = list[str](), True

        def seen() -> Iterator[tuple[str, Callable[[], bytes]]]:
            nonlocal alone
            for member in members(self.path):
                names.append(member.name)
                alone &= member.place is not None
                yield member.name, lambda file=member.file: file.read(HEAD)  # type: ignore[misc]

        with reading(self.path):
            tree = tree_of_names(seen())
        duplicate = len(names) - len(set(names))
        if duplicate:
            raise UserError(f"{printable(str(self.path))}: {duplicate} names are there twice: pack it again")
        laid = layout.understand(tree, self.path, self.config)
        places = self._places if alone else None
        return contents(laid, self.path, self._images, places, names, join=self.config.join_spellings)

    def _images(self, files: list[str]) -> Iterator[RawImage]:
        wanted = set(files)
        for member in members(self.path):
            if member.name in wanted:
                with reading(self.path):
                    data = member.file.read()
                yield RawImage(f"{self.path}: {member.name}", data)

    def _places(self, files: list[str]) -> Iterator[Located]:
        wanted = set(files)
        for member in members(self.path):
            if member.name in wanted and member.place is not None:
                yield Located(f"{self.path}: {member.name}", str(self.path), *member.place, member.size)


def members(path: Path) -> Iterator[ArchiveMember]:
    """Yield every file of an archive in its order; a UserError where it is hostile or damaged."""
    with reading(path):
        budget = max(MAX_BYTES, MAX_GROWTH * path.stat().st_size)
        is_zip = path.name.lower().endswith(".zip")
        total = 0
        for number, member in enumerate(_zip_members(path) if is_zip else _tar_members(path)):
            total += member.size
            if total > budget or number >= MAX_MEMBERS:
                raise UserError(f"{path}: unpacks to hundreds of times its size: it is no archive of images")
            if member.size > MAX_MEMBER_BYTES:
                raise _refused(path, member.name, f"has {member.size} bytes")
            name = member.name.replace("\\", "/") if "/" not in member.name else member.name  # zipped on Windows
            if name.startswith(("/", "\\")) or ".." in name.split("/") or member.name[1:3] in (":\\", ":/"):
                raise _refused(path, member.name, "names a place outside of the archive")
            yield member._replace(name="/".join(step for step in name.split("/") if step not in ("", ".")))


def _tar_members(path: Path) -> Iterator[ArchiveMember]:
    with _unpacked(path) as unpacked, tarfile.open(fileobj=(bounded := _Bounded(unpacked)), mode="r:") as tar:
        alone = isinstance(unpacked, io.BufferedReader)  # not compressed
        for info in tar:
            tar.members = []  # type: ignore[attr-defined]  # else it remembers every one
            if info.isdir():
                continue
            if not info.isreg():
                raise _refused(path, info.name, "is a link or a device")
            file = tar.extractfile(info)
            assert file is not None  # only for what is no regular file
            place = (info.offset_data, info.size, PLAIN) if alone and info.sparse is None else None
            yield ArchiveMember(info.name, info.size, file, place)
        if bounded.last != bytes(tarfile.BLOCKSIZE):  # tarfile takes a header that is cut or damaged for the end
            raise tarfile.ReadError("it ends early")


def _unpacked(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        start = file.read(6)
    openers: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
    opener = next((opener for magic, opener in openers.items() if start.startswith(magic)), Path.open)
    return cast(IO[bytes], opener(path, "rb"))


class _Bounded(io.RawIOBase):
    """A file that refuses long reads: tarfile takes headers of any length into memory. `last`: the last bytes read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.last = file, b""
        self.seek, self.tell = file.seek, file.tell  # type: ignore[method-assign]

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= MAX_MEMBER_BYTES:
            raise tarfile.ReadError("a header of it is too long")
        self.last = self._file.read(size)
        return self.last


def _zip_members(path: Path) -> Iterator[ArchiveMember]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            if (info.external_attr >> 16) & 0o170000 not in (0, 0o100000):
                raise _refused(path, info.filename, "is a link or a device")
            if info.flag_bits & 1:
                raise UserError(f"{path}: is encrypted: unpack it and give the folder")
            how = {zipfile.ZIP_STORED: ZIPPED, zipfile.ZIP_DEFLATED: DEFLATED}.get(info.compress_type)
            place = None if how is None else (info.header_offset, info.compress_size, how)
            with archive.open(info) as file:
                yield ArchiveMember(info.filename, info.file_size, file, place)


def _refused(path: Path, name: str, reason: str) -> UserError:
    return UserError(f"{path}: member {printable(name)[:200]!r} {reason}: pack the images themselves")


_DAMAGE = (
    *(OSError, EOFError, ValueError, RuntimeError, NotImplementedError),
    *(zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile),
)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a damaged archive raises into a UserError of one line."""
    try:
        yield
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: not a readable archive ({reason}): copy it again") from error
