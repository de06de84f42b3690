"""Decoding against Pillow and plain arithmetic."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from seedwise.base.errors import UserError
from seedwise.data import images
from seedwise.data.images import decode, pixels_of, resize_short_side
from seedwise.data.source import RawImage

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (12, 20, 3), np.uint8)
GRAY = RGB[..., 0]


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> RawImage:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return RawImage("it", buffer.getvalue())


def test_plain_images_are_what_pillow_reads(tmp_path: Path) -> None:
    assert np.array_equal(decode(encoded(Image.fromarray(RGB))), RGB)
    file = tmp_path / "it.jpg"
    Image.fromarray(RGB).save(file, quality=80)
    assert np.array_equal(decode(RawImage("it", file)), np.asarray(Image.open(file)))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_modes_without_alpha(mode: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    raw = encoded(image, "TIFF" if mode in ("CMYK", "YCbCr") else "PNG")
    reread = Image.open(io.BytesIO(raw.data))
    assert reread.mode == mode
    assert np.array_equal(decode(raw), np.asarray(reread.convert("RGB")))


def test_cmyk_jpeg() -> None:
    raw = encoded(Image.fromarray(np.full((8, 8, 3), (200, 30, 60), np.uint8)).convert("CMYK"), "JPEG", quality=95)
    assert Image.open(io.BytesIO(raw.data)).mode == "CMYK"
    assert np.abs(decode(raw).astype(int) - (200, 30, 60)).max() < 8


@pytest.mark.parametrize("gray", [False, True])
def test_alpha_lies_over_white(gray: bool) -> None:
    alpha = RANDOM.integers(0, 256, (12, 20), np.uint8)
    color = np.repeat(GRAY[..., None], 3, 2) if gray else RGB
    image = (
        Image.merge("LA", [Image.fromarray(GRAY), Image.fromarray(alpha)])
        if gray
        else Image.fromarray(np.dstack([RGB, alpha]))
    )
    weight = alpha[..., None] / 255
    expected = color * weight + 255 * (1 - weight)
    assert np.abs(decode(encoded(image)) - expected).max() <= 1


def test_transparent_palette_and_color_key_lie_over_white() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    assert decode(encoded(palette, transparency=1)).tolist() == [[[10, 20, 30], [255, 255, 255]]]
    keyed = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert decode(encoded(keyed, transparency=(1, 2, 3))).tolist() == [[[255, 255, 255], [4, 5, 6]]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_gray_that_is_nothing_in_a_png_of_few_bits(bits: int) -> None:
    values = np.arange(2**bits).reshape(1, -1) if bits > 1 else np.array([[0, 1, 0, 1, 1, 1, 0, 0]])
    packed = np.packbits((values[0, :, None] >> np.arange(bits)[::-1]) & 1).tobytes()
    for key in {0, 1, 2**bits - 1}:
        data = png_header(values.shape[1], 1, bits, 0)
        for name, body in ((b"tRNS", struct.pack(">H", key)), (b"IDAT", zlib.compress(b"\0" + packed)), (b"IEND", b"")):
            data += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        expected = np.where(values == key, 255, np.rint(values * (255 / (2**bits - 1))))
        assert np.array_equal(decode(RawImage("it", data))[..., 0], expected)


def test_gray_times_alpha() -> None:
    gray = Image.merge("LA", [Image.fromarray(GRAY), Image.new("L", (20, 12), 128)])
    assert np.abs(pixels_of(gray.convert("La")).astype(int) - pixels_of(gray)).max() <= 2


def test_an_inverted_cmyk_jpeg_of_photoshop_is_torchvisions() -> None:
    inks = Image.fromarray(RANDOM.integers(0, 256, (16, 16, 4), np.uint8), "CMYK")
    raw = encoded(inks, "JPEG", quality=95)
    assert b"Adobe" in raw.data  # type: ignore[operator]
    theirs = decode_jpeg(torch.frombuffer(bytearray(raw.data), dtype=torch.uint8), ImageReadMode.RGB)
    assert np.array_equal(decode(raw), theirs.permute(1, 2, 0).numpy())


def test_a_heic_photo() -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra seedwise[heic] is not installed")
    heif.register_heif_opener()
    image = Image.new("RGB", (64, 48), (200, 30, 60))
    found = decode(encoded(image, "HEIF", quality=95))
    assert found.shape == (48, 64, 3)
    assert np.abs(found.astype(int) - (200, 30, 60)).max() < 8


def test_heic_without_its_reader_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(images, "readers", lambda: ("PNG", "JPEG"))
    photo = tmp_path / "photo.jpg"  # as phones call them
    photo.write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + bytes(60))
    with pytest.raises(UserError, match=r"photo\.jpg: not a readable image \(.*pip install \"seedwise\[heic\]\"\)"):
        decode(RawImage(str(photo), photo))


def test_lab_is_converted() -> None:
    lab = Image.frombytes("LAB", (4, 4), bytes([255, 0, 0]) * 16)  # L = 100, a = b = 0
    assert decode(encoded(lab, "TIFF")).min() > 250


UPRIGHT = {
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
    8: lambda a: np.rot90(a, 1),
}  # the EXIF 2.3 table of what the viewer has to do


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(decode(encoded(Image.fromarray(RGB), kind, exif=exif, **options)), UPRIGHT[orientation](RGB))


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "blue")]
    for kind in ("GIF", "WEBP", "TIFF", "PNG", "MPO"):
        options = {"lossless": True} if kind == "WEBP" else {}
        raw = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert Image.open(io.BytesIO(raw.data)).n_frames == 2  # type: ignore[attr-defined]
        assert np.abs(decode(raw).astype(int) - (255, 0, 0)).max() <= (2 if kind == "MPO" else 0)


def png_header(width: int, height: int, bits: int = 8, color: int = 2) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


BROKEN = {
    "empty": b"",
    "text": b"this is not an image\nat all",
    "cut jpeg": encoded(Image.fromarray(RGB), "JPEG").data[:-40],
    "cut png": encoded(Image.fromarray(RGB)).data[:-60],
    "only a header": png_header(20, 12),
    "decompression bomb": png_header(60000, 60000),
    "a little too large": png_header(13378, 13378),
    "gif bomb": b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0;",
    "bmp bomb": b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0),
    "eps program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(%pipe%touch /tmp/x) run\n",
}


def test_the_limit_holds_when_other_code_has_lifted_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    header = b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 13378, 13378, 1, 24, 0, 0, 0, 0, 0, 0)
    with pytest.raises(UserError, match="13378 x 13378 pixels are more than 178956970"):
        decode(RawImage("it", header))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_block_does_not_matter() -> None:
    raw = encoded(Image.fromarray(RGB), "WEBP", lossless=True, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert np.array_equal(decode(raw), RGB)


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^it: cannot be read \(No such file or directory\): check the path$"):
        decode(RawImage("it", tmp_path / "gone.png"))


@pytest.mark.parametrize("case", BROKEN)
def test_broken_images_are_one_line_with_their_name(case: str) -> None:
    with pytest.raises(UserError, match=r"^photos/7\.png: not a readable image \(.+\): replace or remove it$"):
        decode(RawImage("photos/7.png", BROKEN[case]))


@pytest.mark.parametrize(("shape", "side", "expected"), [
    ((40, 60), 20, (20, 30)), ((60, 40), 20, (30, 20)), ((10, 15), 20, (20, 30)), ((7, 10), 20, (20, 28)),
    ((20, 20), 20, (20, 20)), ((30, 200), 20, (20, 37)), ((200, 30), 20, (37, 20)), ((10, 21), 10, (10, 17)),
    ((1, 4000), 16, (16, 32)), ((263, 41), 52, (101, 52)), ((91, 90), 33, (33, 33)), ((63, 64), 63, (63, 64)),
])  # fmt: skip
def test_the_center_of_a_resized_photo_is_torchvisions(
    shape: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    pixels = RANDOM.integers(0, 256, (*shape, 3), np.uint8)
    fitted = resize_short_side(pixels, side)
    assert fitted.shape == (*expected, 3)
    if max(shape) > 64 * min(shape):
        return  # cut before it is resized
    square = CenterCrop(side)(Image.fromarray(fitted))
    theirs = CenterCrop(side)(Resize(side, InterpolationMode.BICUBIC)(Image.fromarray(pixels)))
    assert np.array_equal(np.asarray(square), np.asarray(theirs))


def test_a_pointer_of_git_lfs_says_how_to_fetch_the_image(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    (tmp_path / "x.jpg").write_bytes(pointer)
    for data in (pointer, tmp_path / "x.jpg"):
        with pytest.raises(UserError, match=r"not a readable image \(a Git LFS pointer: git lfs pull\)"):
            decode(RawImage("x.jpg", data))
