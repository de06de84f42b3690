"""Images of more than 8 bits a channel: against plain arithmetic, torchvision, and files written by hand."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile
from torchvision.io import decode_png

from seedwise.base.errors import UserError
from seedwise.data.deep import NoRange, Oddity
from seedwise.data.images import decode, pixels_of, read, scaled, unscaled
from seedwise.data.source import RawImage

RANDOM = np.random.default_rng(0)
DEEP = RANDOM.integers(0, 4096, (9, 13, 4), np.uint16)
WHITE_12 = (0.0, 4095.0)


def raw(data: bytes) -> RawImage:
    return RawImage("it", data)


def saved(image: Image.Image | TiffImageFile, kind: str, **options: Any) -> RawImage:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return raw(buffer.getvalue())


def png(values: np.ndarray, color: int, key: bytes = b"", interlaced: bool = False, orientation: int = 1) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = values.shape[:2]
    rows = values.astype(">u2").reshape(height, -1)
    up = np.vstack([rows[:1].view(np.uint8), rows.view(np.uint8)[1:] - rows.view(np.uint8)[:-1]])  # filter 2
    head = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)
    exif = b"II*\0\x08\0\0\0\1\0\x12\x01\3\0\1\0\0\0" + struct.pack("<HHI", orientation, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(name, body)
        for name, body in (
            *((b"IHDR", head), (b"eXIf", exif), (b"tRNS", key)),
            *((b"IDAT", zlib.compress(b"".join(b"\2" + row.tobytes() for row in up))), (b"IEND", b"")),
        )
        if name != b"tRNS" or key
    )


def tiff(
    values: np.ndarray,
    order: str = "<",
    photometric: int = 2,
    separate: bool = False,
    extra: int | None = None,
    bits: int = 16,
) -> bytes:
    """An uncompressed TIFF of one strip (a plane), by the specification."""
    height, width, channels = values.shape
    planes = values.transpose(2, 0, 1) if separate else values
    data = np.ascontiguousarray(planes).astype(f"{order}u{bits // 8}").tobytes()
    strips = channels if separate else 1
    tags = [
        *((256, 3, [width]), (257, 3, [height]), (258, 3, [bits] * channels), (259, 3, [1]), (262, 3, [photometric])),
        *((273, 4, [8 + i * len(data) // strips for i in range(strips)]), (277, 3, [channels]), (278, 3, [height])),
        *((279, 4, [len(data) // strips] * strips), (284, 3, [1 + separate])),
        *([(338, 3, [extra])] if extra is not None else []),
    ]
    at = 8 + len(data)
    beyond, entries = b"", b""
    after = at + 2 + 12 * len(tags) + 4
    for tag, kind, numbers in tags:
        body = struct.pack(f"{order}{len(numbers)}{'HI'[kind == 4]}", *numbers)
        if len(body) > 4:
            beyond, body = beyond + body, struct.pack(f"{order}I", after + len(beyond))
        entries += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + body.ljust(4, b"\0")
    magic = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, at)
    return magic + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + beyond


@pytest.mark.parametrize(("channels", "color"), [(1, 0), (3, 2), (2, 4), (4, 6)])
def test_png_of_16_bits_keeps_all_of_them(channels: int, color: int) -> None:
    values = DEEP[..., :channels]
    data = png(values, color)
    theirs = decode_png(torch.frombuffer(bytearray(data), dtype=torch.uint8)).permute(1, 2, 0).numpy()
    found = unscaled(raw(data))
    assert found.dtype == np.uint16
    assert np.array_equal(found.reshape(values.shape), theirs)
    assert np.array_equal(theirs, values)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("channels", [3, 4])
def test_tiff_of_16_bits_keeps_all_of_them(order: str, separate: bool, channels: int) -> None:
    values = DEEP[..., :channels]
    data = tiff(values, order, separate=separate, extra=2 if channels == 4 else None)
    assert np.array_equal(unscaled(raw(data)), values)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits"])
def test_compressed_tiff(compression: str) -> None:
    image = Image.open(io.BytesIO(tiff(DEEP[..., :1], photometric=1)))
    assert np.array_equal(unscaled(saved(image, "TIFF", compression=compression)), DEEP[..., 0])


def test_tiff_whose_zero_is_white_and_whose_colors_are_times_alpha() -> None:
    assert np.array_equal(unscaled(raw(tiff(DEEP[..., :1], photometric=0))), 65535 - DEEP[..., 0])
    values = np.array([[[1000, 0, 3000, 6000], [0, 0, 0, 0], [9, 8, 7, 65535]]], np.uint16)
    found = unscaled(raw(tiff(values, extra=1)))
    assert found.tolist() == [[[10922, 0, 32768, 6000], [0, 0, 0, 0], [9, 8, 7, 65535]]]


def test_other_formats_of_16_bits() -> None:
    big = DEEP[..., :3].astype(">u2")
    assert np.array_equal(unscaled(raw(b"P6 13 9 65535\n" + big.tobytes())), big)
    head = struct.pack(">hBBHHHHII", 474, 0, 2, 3, 13, 9, 3, 0, 65535).ljust(512, b"\0")
    assert np.array_equal(unscaled(raw(head + big[::-1].transpose(2, 0, 1).tobytes())), big)
    gray = saved(Image.fromarray(DEEP[..., 0]), "JPEG2000", irreversible=False)
    assert np.array_equal(unscaled(gray), DEEP[..., 0])


def test_a_header_that_says_what_white_is_is_heeded() -> None:
    gray = np.array([[0, 2048, 4095]], ">u2")
    assert unscaled(raw(b"P5 3 1 4095\n" + gray.tobytes())).tolist() == [[0, 32776, 65535]]  # to 65535, by Pillow
    assert decode(raw(b"P6 1 1 4095\n" + gray.tobytes())).tolist() == [[[0, 128, 255]]]


def test_unsigned_32_bits() -> None:
    values = np.array([[[0], [70000], [3_000_000_000]]])
    assert unscaled(raw(tiff(values, photometric=1, bits=32))).tolist() == values[..., 0].tolist()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_numbers_become_bytes_by_the_range_alone(kind: str) -> None:
    deep = np.linspace(0, 65535, 12 * 20).astype(np.uint16).reshape(12, 20)
    image = saved(Image.fromarray(deep), kind)
    expected = np.rint(deep / 257).astype(np.uint8)
    assert np.array_equal(decode(image, (0, 65535)), np.repeat(expected[..., None], 3, 2))
    twelve = np.rint(np.minimum(deep / 4095, 1) * 255).astype(np.uint8)
    assert np.array_equal(decode(image, WHITE_12)[..., 0], twelve)


def test_colors_of_12_bits_are_not_nearly_black() -> None:
    values = DEEP[..., :3]
    found = decode(raw(png(values, 2)), WHITE_12)
    assert np.array_equal(found, np.rint(values / 4095 * 255).astype(np.uint8))
    assert decode(raw(tiff(values)), WHITE_12).max() > 250


def test_floats_a_little_above_one() -> None:
    image = saved(Image.fromarray(np.array([[0.0, 0.5, 1.004]], np.float32)), "TIFF")
    assert decode(image, (0, 1))[0, :, 1].tolist() == [0, 128, 255]


def test_signed_numbers() -> None:
    ct = saved(Image.fromarray(np.array([[-1024, 1000, 3071, 5000, -2000]], np.int32)), "TIFF")
    assert decode(ct, (-1024, 3071))[0, :, 0].tolist() == [0, 126, 255, 255, 0]


def test_what_is_no_number_is_black_and_is_told() -> None:
    image = saved(Image.fromarray(np.array([[np.nan, np.inf, -np.inf, 1.0]], np.float32)), "TIFF")
    found = read(image, (0, 1))
    assert found.oddities == (Oddity.HOLES,) and found.pixels[0, :, 0].tolist() == [0, 255, 0, 255]
    assert not read(saved(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"), (0, 1)).oddities


def test_alpha_and_a_color_that_is_nothing_lie_over_white() -> None:
    values = np.array([[[4095, 0, 2048, 65535], [4095, 0, 0, 0], [0, 0, 0, 32768]]], np.uint16)
    assert decode(raw(png(values, 6)), WHITE_12).tolist() == [[[255, 0, 128], [255, 255, 255], [127, 127, 127]]]
    gray = values[..., 2:]
    assert decode(raw(png(gray, 4)), WHITE_12)[0, :, 0].tolist() == [128, 255, 127]
    keyed = png(values[..., :3], 2, key=struct.pack(">3H", 4095, 0, 2048))
    assert decode(raw(keyed), WHITE_12).tolist() == [[[255, 255, 255], [255, 0, 0], [0, 0, 0]]]
    keyed = png(values[..., :1], 0, key=struct.pack(">H", 0))
    assert decode(raw(keyed), WHITE_12)[0, :, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("color", [0, 2])
def test_turned(color: int) -> None:
    values = DEEP[..., : color + 1]
    upright = decode(raw(png(values, color)), WHITE_12)
    turns = {1: upright, 2: np.fliplr(upright), 3: np.rot90(upright, 2), 4: np.flipud(upright)}
    turns |= {5: upright.swapaxes(0, 1), 6: np.rot90(upright, -1), 8: np.rot90(upright)}
    turns[7] = np.rot90(upright.swapaxes(0, 1), 2)
    for orientation, expected in turns.items():
        assert np.array_equal(decode(raw(png(values, color, orientation=orientation)), WHITE_12), expected)


def test_without_a_range_nothing_is_guessed() -> None:
    with pytest.raises(NoRange, match=r"^it: has more than 8 bits a channel, unlike .+: convert it to 8 bits$"):
        decode(raw(png(DEEP[..., :3], 2)))
    image = Image.open(io.BytesIO(png(DEEP[..., :3], 2)))
    with pytest.raises(UserError):
        scaled("an image", pixels_of(image), None)


def test_an_opened_image_keeps_its_numbers(tmp_path: Path) -> None:
    (tmp_path / "it.png").write_bytes(png(DEEP[..., :3], 2))
    with Image.open(tmp_path / "it.png") as image:
        assert np.array_equal(pixels_of(image), DEEP[..., :3])


def test_eight_bits_cost_and_change_nothing() -> None:
    image = saved(Image.fromarray(np.full((4, 4, 3), 7, np.uint8)), "PNG")
    assert not unscaled(image, deep_only=True).size
    assert decode(image, WHITE_12).max() == 7


def test_a_layout_that_nobody_reads_is_an_error() -> None:
    with pytest.raises(UserError, match="its kind of pixels is not read here"):
        decode(raw(tiff(DEEP[..., :1], ">", photometric=0)))
