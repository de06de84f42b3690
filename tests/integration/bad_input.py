"""For the table in test_bad_input.py: a folder for each case, sound things to begin with, and how they go bad."""

import errno
import io
import os
import shutil
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedwise.base.files import LOCK, sha256_of

Arguments = Sequence[Any]


@dataclass(frozen=True)
class Place:
    """A case's folder, which is also the current one; what undoes its changes to the process; and runs to damage."""

    root: Path
    patch: pytest.MonkeyPatch
    undo: ExitStack
    whole: Path
    halfway: Path

    def finished(self, name: str = "run") -> Path:
        """A finished run of this case's own."""
        return Path(shutil.copytree(self.whole, self.root / name))

    def stopped(self, name: str = "run") -> Path:
        """A stopped run, with a checkpoint."""
        return Path(shutil.copytree(self.halfway, self.root / name))

    def file(self, name: str, content: str | bytes) -> Path:
        """A file below the folder."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


class Case(NamedTuple):
    """One mistake: the command line that makes it, and what the one line says about it."""

    name: str
    prepare: Callable[[Place], Arguments]
    said: str
    """A regular expression."""
    may_change: tuple[str, ...] = ()
    """Files (fnmatch patterns, from the case's folder) that the command may touch; everything else stays as it was."""


def snapshot(root: Path, but: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Size and content of all that lies below a folder, folders and links included."""
    from fnmatch import fnmatchcase

    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if any(fnmatchcase(name, pattern) for pattern in but):
            continue
        if path.is_symlink() or not path.is_file():
            found[name] = (-1, str(path.readlink()) if path.is_symlink() else "")
        else:
            found[name] = (path.stat().st_size, sha256_of(path))
    return found


def cut(path: Path, keep: float = 0.5) -> None:
    """Truncate a file to a part of it."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def flip(path: Path, at: float = 0.5) -> None:
    """Flip a bit at a relative place."""
    content = bytearray(path.read_bytes())
    content[int(at * (len(content) - 1))] ^= 1
    path.write_bytes(content)


def encoded(kind: str = "PNG", seed: int = 0) -> bytes:
    """A sound image."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def photos(place: Place, name: str = "d", classes: Sequence[str] = ("a", "b")) -> Path:
    """A folder of four images in each class."""
    for number, label in enumerate(classes):
        for seed in range(4):
            place.file(f"{name}/{label}/{seed}.png", encoded(seed=10 * number + seed))
    return place.root / name


def with_image(place: Place, content: bytes, name: str = "9.jpg", root: str = "d") -> Path:
    """Sound photos and one more file."""
    folder = photos(place, root)
    place.file(f"{root}/b/{name}", content)
    return folder


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def png_bomb(side: int) -> bytes:
    """A whole PNG of side x side black pixels in a thousandth of the bytes."""
    rows = zlib.compress(bytes(side * (3 * side + 1)), 9)
    chunk = struct.pack(">I", len(rows)) + b"IDAT" + rows + struct.pack(">I", zlib.crc32(b"IDAT" + rows))
    return png_header(side, side) + chunk + b"\0\0\0\0IEND\xaeB`\x82"


def parquet(place: Place, columns: dict[str, list[Any]], name: str = "d.parquet") -> Path:
    """A Parquet file of these columns."""
    pq.write_table(pa.table(columns), place.root / name)
    return place.root / name


def table(place: Place, text: str) -> Path:
    """A CSV beside sound photos, d/a/0.png and so on."""
    photos(place)
    return place.file("d.csv", text)


def zipped(place: Place, entries: Sequence[tuple[str, bytes]]) -> Path:
    """A zip with sound photos and these."""
    with zipfile.ZipFile(place.root / "d.zip", "w", zipfile.ZIP_DEFLATED) as out:
        for label in "ab":
            for seed in range(4):
                out.writestr(f"{label}/{seed}.png", encoded(seed=seed + ord(label)))
        for name, content in entries:
            out.writestr(name, content)
    return place.root / "d.zip"


def tar_with_link(place: Place) -> Path:
    """An archive that would read a file from elsewhere."""
    link = tarfile.TarInfo("a/1.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(place.root / "d.tar", "w") as tar:
        tar.addfile(link)
    return place.root / "d.tar"


def own_cache(place: Place) -> Path:
    """A cache for this case alone."""
    place.patch.setenv("SEEDWISE_CACHE", str(place.root / "cache"))
    return place.root / "cache"


def damaged_cache(place: Place) -> Path:
    """Photos that were decoded, and a flipped bit in the pixels of each."""
    from seedwise.data.config import DataConfig
    from seedwise.data.open import open_data

    folder = photos(place)
    own_cache(place)
    open_data(str(folder), DataConfig(), short_side=16)
    (pixels,) = (place.root / "cache").rglob("train.pixels")
    content = np.fromfile(pixels, np.uint8)
    content[::100] ^= 1
    content.tofile(pixels)
    return folder


def decoded_digits() -> None:
    """Digits in the cache, so that nothing has to be written there."""
    from seedwise.recipe import library
    from seedwise.run.data import open_for

    open_for(library.read("demo"), "digits")


def full_disk(place: Place) -> None:
    """No file can be brought to the disk any more."""

    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    place.patch.setattr(os, "fsync", fsync)


def disk(place: Place, size: str) -> Path:
    """A small file system of its own; only root may mount one."""
    folder = place.root / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("a tmpfs can be mounted by root only")
    place.undo.callback(subprocess.run, ["umount", folder], check=True)  # type: ignore[arg-type]
    return folder


def read_only(place: Place, fill: Callable[[Path], Any] = lambda folder: None) -> Path:
    """A folder that can't be written, with what was put there before."""
    if os.geteuid():
        folder = place.root / "disk"
        folder.mkdir()
        fill(folder)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o500)
        place.undo.callback(lambda: [path.chmod(0o700) for path in (folder, *folder.rglob("*"))])
        return folder
    folder = disk(place, "64m")
    fill(folder)
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    return folder


def locked(place: Place, folder: Path) -> Path:
    """A folder that another process writes, as this one sees it."""
    import fcntl

    folder.mkdir(exist_ok=True)
    file = place.undo.enter_context((folder / LOCK).open("a+"))
    fcntl.flock(file, fcntl.LOCK_EX)
    return folder


def clock_runs_backwards(patch: pytest.MonkeyPatch, begin: float = 4e9, step: float = 3600) -> None:
    """Every look at the time of day is an hour before the last one; file times stay what they are."""
    import time

    now = [begin]

    def earlier() -> float:
        now[0] -= step
        return now[0]

    real = time.strftime
    patch.setattr(time, "time", earlier)
    patch.setattr(time, "time_ns", lambda: int(earlier() * 1e9))
    patch.setattr(time, "strftime", lambda form, *at: real(form, *(at or (time.localtime(earlier()),))))


def from_the_future(folder: Path) -> None:
    """Give everything below a folder a time that is yet to come."""
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (4e9, 4e9), follow_symlinks=False)


def unreachable_hub(place: Place) -> None:
    """A hub behind a port that nobody listens at, and an empty cache of it."""
    import huggingface_hub.constants as hub

    closed = "http://127.0.0.1:9"
    place.patch.setattr(hub, "ENDPOINT", closed)
    place.patch.setattr(hub, "HUGGINGFACE_CO_URL_TEMPLATE", closed + "/{repo_id}/resolve/{revision}/{filename}")
    place.patch.setattr(hub, "HF_HUB_CACHE", str(place.root / "hub"))
    place.patch.setattr(hub, "HF_HUB_OFFLINE", False)


def unsealed(folder: Path, **changes: Any) -> Path:
    """A run whose record says something else, without the checksum that would tell."""
    import json

    path = folder / "record.json"
    content = json.loads(path.read_text())
    del content["sha256"]
    path.write_text(json.dumps({**content, **changes}))
    return folder
