"""Archives made by tarfile and zipfile: the sound ones are read, the hostile ones refused, and nothing is written."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path
from tarfile import TarInfo
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seedwise.base.errors import UserError
from seedwise.data import archive
from seedwise.data.config import DataConfig
from seedwise.data.dataset import Dataset
from seedwise.data.open import open_data

ALL = DataConfig(val=0, test=0)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SEEDWISE_DATA", raising=False)


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def info(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type, made.linkname = size, kind, link
    return made


def write_tar(file: Path, entries: list[Any], mode: str = "w") -> None:
    with tarfile.open(file, mode) as tar:  # type: ignore[call-overload]
        for name, data in entries:
            entry = name if isinstance(name, tarfile.TarInfo) else info(name, len(data))
            tar.addfile(entry, io.BytesIO(data))


def write_zip(file: Path, entries: list[Any]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in entries:
            out.writestr(name, data)


def write(file: Path, entries: list[Any]) -> Path:
    modes = {".gz": "w:gz", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}
    if file.suffix == ".zip":
        write_zip(file, entries)
    else:
        write_tar(file, entries, modes.get(file.suffix, "w"))
    return file


def opened(file: Path, config: DataConfig = ALL) -> Dataset:
    return open_data(str(file), config, short_side=64)


TWO = [("a/1.png", png(0)), ("b/1.png", png(1)), ("a/2.png", png(2)), ("b/2.png", png(3))]


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"])
@pytest.mark.parametrize("root", ["", "./", "photos/of mine/"])
def test_every_kind_is_the_folder_it_was_made_of(tmp_path: Path, suffix: str, root: str) -> None:
    for name, data in TWO:
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_bytes(data)
    extra = [("README.txt", b"no image"), ("__MACOSX/a/._1.png", b"x"), (".git/a/1.png", b"x")]
    file = write(tmp_path / f"pets.{suffix}", [(root + name, data) for name, data in [*TWO[::-1], *extra]])
    data, folder = opened(file), opened(tmp_path / "d")  # type: ignore[assignment]
    assert data.name == "pets" and data.path == file and data.classes == ("a", "b")  # type: ignore[attr-defined]
    assert data.fingerprint == folder.fingerprint  # type: ignore[attr-defined]
    assert np.array_equal(data.train.gather(np.arange(4))[0], folder.train.gather(np.arange(4))[0])
    assert np.array_equal(data.train.targets, folder.train.targets)  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_parts(tmp_path: Path, suffix: str) -> None:
    parts = ("train/", "valid/", "Test/")
    entries = [(f"x/{part}{name}", png(9 * n)) for n, part in enumerate(parts) for name, _ in TWO]
    data = opened(write(tmp_path / f"d.{suffix}", [*entries, ("x/train/a/deep/9.png", png(99))]), DataConfig())
    assert data.splits == {"train": 5, "val": 4, "test": 4}


def test_a_folder_packed_by_tarfile_and_shutil_like_tools(tmp_path: Path) -> None:
    (tmp_path / "d/a").mkdir(parents=True)
    (tmp_path / "d/b").mkdir()
    for name, data in TWO:
        (tmp_path / "d" / name).write_bytes(data)
    with tarfile.open(tmp_path / "d.tar.gz", "w:gz", format=tarfile.GNU_FORMAT) as tar:
        tar.add(tmp_path / "d", "./" + "long" * 40)
    assert opened(tmp_path / "d.tar.gz").splits["train"] == 4


def zip_link(file: Path) -> None:
    link = zipfile.ZipInfo("a/3.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    write_zip(file, [*TWO, (link, b"/etc/passwd")])


def cut(file: Path, count: int) -> None:
    file.write_bytes(file.read_bytes()[:-count])


def encrypted(file: Path) -> None:
    write_zip(file, TWO)
    data = bytearray(file.read_bytes())
    for at in (6, data.rindex(b"PK\x01\x02") + 8):
        data[at] |= 1
    start = -1
    while (start := data.find(b"PK\x01\x02", start + 1)) >= 0:
        data[start + 8] |= 1
    file.write_bytes(data)


def flipped(file: Path) -> None:
    write_tar(file, TWO)
    data = bytearray(file.read_bytes())
    data[2 * 1024 + 3] ^= 1  # the name in the third header: its checksum is wrong now
    file.write_bytes(data)


HOSTILE = {
    "dots in tar": ("t.tar", lambda f: write_tar(f, [*TWO, ("a/../../x.png", png(9))]), "names a place outside"),
    "dots in zip": ("t.zip", lambda f: write_zip(f, [*TWO, ("../x.png", png(9))]), "names a place outside"),
    "absolute in tar": ("t.tar", lambda f: write_tar(f, [*TWO, ("/tmp/x.png", png(9))]), "names a place outside"),
    "absolute in zip": ("t.zip", lambda f: write_zip(f, [*TWO, ("/tmp/x.png", png(9))]), "names a place outside"),
    "drive in zip": ("t.zip", lambda f: write_zip(f, [*TWO, ("C:\\x.png", png(9))]), "names a place outside"),
    "symbolic link": (
        "t.tar.gz",
        lambda f: write(f, [*TWO, (info("a/3.png", 0, tarfile.SYMTYPE, "/etc/passwd"), b"")]),
        "member 'a/3.png' is a link or a device",
    ),
    "hard link": (
        "t.tar",
        lambda f: write_tar(f, [*TWO, (info("a/3.png", 0, tarfile.LNKTYPE, "a/1.png"), b"")]),
        "is a link or a device",
    ),
    "device": ("t.tar", lambda f: write_tar(f, [*TWO, (info("a/3.png", 0, tarfile.CHRTYPE), b"")]), "is a link or"),
    "link in zip": ("t.zip", zip_link, "member 'a/3.png' is a link or a device"),
    "the same name twice": ("t.tar", lambda f: write_tar(f, TWO + TWO[:1]), "1 names are there twice"),
    "encrypted": ("t.zip", encrypted, "is encrypted"),
    "not an archive": ("t.tar.gz", lambda f: f.write_bytes(b"nothing"), "not a readable archive"),
    "empty file": ("t.zip", lambda f: f.touch(), "not a readable archive"),
    "empty tar": ("t.tar", lambda f: write_tar(f, []), "no images in class folders"),
    "no images": ("t.zip", lambda f: write_zip(f, [("a/x.txt", b"")]), "no images in class folders"),
    "loose images": ("t.zip", lambda f: write_zip(f, [("1.png", png(0)), ("2.png", png(1))]), "no images in class"),
    "one class": ("t.zip", lambda f: write_zip(f, [("a/1.png", png(0))]), "only the class 'a'"),
    "cut zip": ("t.zip", lambda f: (write_zip(f, TWO), cut(f, 30)), "not a readable archive"),
    "cut gzip": ("t.tar.gz", lambda f: (write(f, TWO), cut(f, 100)), "not a readable archive"),
    "cut tar": ("t.tar", lambda f: (write_tar(f, TWO), cut(f, 10240 - 4 * 1024)), "it ends early"),
    "damaged header": ("t.tar", flipped, "it ends early"),
    "broken image": ("t.zip", lambda f: write_zip(f, [*TWO, ("b/9.png", b"x")]), r"t\.zip: b/9\.png: not a readable"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_bad_archives_are_one_line_and_write_nothing(tmp_path: Path, case: str) -> None:
    name, make, message = HOSTILE[case]
    (tmp_path / "in").mkdir()
    make(tmp_path / "in" / name)
    with pytest.raises(UserError, match=message) as caught:
        opened(tmp_path / "in" / name)
    assert "\n" not in str(caught.value)
    files = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert {file for file in files if not file.endswith("/lock")} == {f"in/{name}"}


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 1 << 20)
    file = write(tmp_path / f"bomb.{suffix}", [*TWO, ("a/zeros.bin", bytes(30 << 20))])
    with pytest.raises(UserError, match="hundreds of times its size"):
        opened(file)
    monkeypatch.setattr(archive, "MAX_BYTES", 1 << 30)
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 1 << 20)
    with pytest.raises(UserError, match=r"'a/zeros\.bin' has 31457280 bytes"):
        opened(file)


def test_a_bomb_in_a_header_is_not_taken_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 1 << 20)
    file = tmp_path / "bomb.tar.gz"
    with tarfile.open(file, "w:gz", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * (3 << 20)}) as tar:
        tar.addfile(info("a/1.png", 3), io.BytesIO(b"abc"))
    with pytest.raises(UserError, match="a header of it is too long"):
        opened(file)
