"""Which files are images, against Pillow's own registry and readers."""

import io
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from seedwise.data import formats
from seedwise.data.formats import HEAD, IMAGE, NO_IMAGE, NOT_READABLE, STUBS, SUFFIXES, advice, file_head, kind_of

PICTURE = Image.linear_gradient("L").resize((48, 32))


def never() -> bytes:
    raise AssertionError("the suffix decides")


def kind(data: bytes, name: str = "noname") -> str:
    return kind_of(name, lambda: data[:HEAD])


def saved(fmt: str, image: Image.Image = PICTURE, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module", autouse=True)
def pillow() -> None:
    Image.init()


def test_the_suffixes_are_those_of_pillows_readers() -> None:
    theirs = {suffix for suffix, fmt in Image.registered_extensions().items() if fmt in Image.OPEN and fmt not in STUBS}
    optional = set(formats._EXTRA)
    assert set(SUFFIXES) == (theirs | {".mpo"}) - optional
    assert {".avif", ".heic", ".jxl"} <= optional


@pytest.mark.parametrize("name", ["a.heif.MPO", "b.apng", "c.J2K", "d.pcx", "e.dds", "f.JPG", "x/y.z/g.webp"])
def test_a_known_suffix_decides_at_once(name: str) -> None:
    assert kind_of(name, never) == IMAGE


@pytest.mark.filterwarnings("ignore:IM image format is deprecated")
def test_whatever_pillow_writes_and_reads_is_an_image_whatever_its_name() -> None:
    tried = set()
    for fmt in sorted(set(Image.SAVE) - {"HEIF", "JXL"}):
        for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "I", "I;16", "F", "CMYK"):
            try:
                data = saved(fmt, PICTURE.convert("I").convert(mode) if mode == "I;16" else PICTURE.convert(mode))
                Image.open(io.BytesIO(data), formats=formats.readers()).load()
            except Exception:
                continue
            tried.add(fmt)
            for name in ("noname", "photo.jpg?w=640", "photo.txt", "a.b.c", "photo.jpg_large"):
                assert kind(data, name) == IMAGE, (fmt, mode)
    assert tried >= {
        "PNG",
        "JPEG",
        "GIF",
        "TIFF",
        "WEBP",
        "BMP",
        "DIB",
        "PPM",
        "TGA",
        "PCX",
        "DDS",
        "ICO",
        "SGI",
        "MSP",
    }
    assert tried >= {"SPIDER", "XBM", "QOI", "JPEG2000", "ICNS", "BLP"}


def test_other_spellings_of_the_same_formats() -> None:
    for prefix in TiffImagePlugin.PREFIXES:
        assert kind(prefix + bytes(20)) == IMAGE
    for data in (
        *(b"P2\n# by hand\n2 2\n255\n0 1\n2 3\n", b"P1 2 2 0110", b"P3 1 1 255 1 2 3", b"P6 1 1 255\nabc"),
        *(b"PF\n2 2\n-1.0\n" + bytes(48), b"/* XPM */\nstatic char", b"SIMPLE  =                    T"),
    ):
        assert kind(data) == IMAGE, data


NOT_IMAGES = {
    "empty": b"",
    "prose": b"P3 is the best of them",
    "a table of people": b"P1 23 45 0.8\nP2 30 41 0.9\n",
    "a table of whole numbers": b"P2 23 45 1 2 3\n",
    "C header": b"#define FOO_H\n#define foo_width 3\nint main(void);",
    "BM prose": b"BM is short for bench mark and so on and on, more text here",
    "TrueType": b"\0\1\0\0\0\x0f\0\x80\0\3\0pGDEF" + bytes(200),
    "numpy": b"\x93NUMPY\x01\0v\0{'descr': '<f4', 'fortran_order': False}",
    "zeros": bytes(HEAD),
    "ones": np.ones(1000, np.float32).tobytes(),
    "int64": np.arange(500).tobytes(),
    "sqlite": b"SQLite format 3\0\x10\0\1\1\0@  ",
    "json": b'{"a": 1}',
    "xml": b"<?xml version='1.0'?><annotation/>",
    "idx": b"\0\0\x08\x03\0\0\xea\x60\0\0\0\x1c\0\0\0\x1c" + bytes(100),
    "zip": b"PK\3\4" + bytes(60),
    "pickle": b"\x80\x04\x95\x1a\0\0\0\0\0\0\0}",
    "utf-16": "text".encode("utf-16"),
    "film": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2",
}


@pytest.mark.parametrize("case", NOT_IMAGES)
def test_what_is_no_image(case: str) -> None:
    assert kind(NOT_IMAGES[case]) == NO_IMAGE
    assert kind(NOT_IMAGES[case], "it.db") == NO_IMAGE


def test_what_is_no_image_agrees_with_files_that_are_here() -> None:
    """Every file of two packages: Pillow opens it exactly when it counts as an image."""
    import matplotlib
    import sklearn

    wrong, seen = [], 0
    for package in (matplotlib, sklearn):
        for path in Path(package.__file__).parent.rglob("*"):  # type: ignore[arg-type]
            if path.suffix in (".py", ".pyc", ".so") or not path.is_file():
                continue
            seen += 1
            try:
                with Image.open(path, formats=formats.readers()):
                    is_image = True
            except Exception:
                is_image = False
            if (kind(file_head(str(path))) == IMAGE) != is_image:
                wrong.append(path)
    assert seen > 200
    assert not wrong


def test_films_drawings_and_raw_photos_are_named_by_their_suffix() -> None:
    for name in ("a.MP4", "b.svg", "c.pdf", "d.mpg", "e.eps", "f.pcd", "g.fit"):
        assert kind(b"whatever", name) == Path(name).suffix.lower()
    assert kind_of("raw.NEF", never) == ".nef"  # what Pillow would open is a thumbnail
    assert kind(saved("JPEG"), "renamed.mp4") == IMAGE
    assert kind(saved("JPEG"), "renamed.heic") == IMAGE
    assert kind(b"# .PCD v0.7\nVERSION 0.7", "cloud.pcd") == ".pcd"
    assert kind(bytes(2048) + b"PCD_OPA" + bytes(9), "photo.pcd") == IMAGE


HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf\0\0\1}meta"
JXL = b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl "


@pytest.mark.parametrize("here", [False, True])
def test_what_an_extra_reads_is_an_image_when_it_is_installed(monkeypatch: pytest.MonkeyPatch, here: bool) -> None:
    monkeypatch.setattr(formats, "readers", lambda: ("PNG", *(("HEIF", "JXL", "AVIF") if here else ())))
    for data, suffix in ((HEIC, ".heic"), (JXL, ".jxl"), (b"\xff\x0a\xfa\x0f", ".jxl"), (saved("AVIF"), ".avif")):
        for name in ("noname", f"it{suffix}"):
            assert kind(data, name) == (IMAGE if here else suffix)
    assert kind(b"what a download left", "it.heic") == ".heic"
    assert kind(b"", "it.heic") == "empty"
    assert kind(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "it.heic").endswith("git lfs pull")


def test_advice_names_the_package() -> None:
    assert advice({".heic": 9, "no image": 3, ".jxl": 1, ".mp4": 2, ".avif": 2}) == [
        '9 .heic files are not read: pip install "seedwise[heic]"',
        "1 .jxl file is not read: pip install pillow-jxl-plugin",
        "2 .avif files are not read: pip install --upgrade pillow",
    ]


def test_heads_of_what_is_no_ordinary_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert kind_of("pipe", lambda: file_head(str(tmp_path / "pipe"))) == NO_IMAGE
    assert kind_of("gone", lambda: file_head(str(tmp_path / "gone"))) == NOT_READABLE


def test_thousands_of_captions_cost_little(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a photo of a cat\n" * 30)
    path = str(tmp_path / "a.txt")
    start = time.process_time()
    for _ in range(5000):
        kind_of(path, lambda: file_head(path))
    assert time.process_time() - start < 0.5  # a tenth of that here: 2 s for 100,000
