"""One range for a data set: guessed where all images agree, an error that names two where they don't."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seedwise.audits.scan import scan
from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig
from seedwise.data.dataset import Dataset
from seedwise.data.find import find_source
from seedwise.data.open import open_data


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))


def data_of(root: Path, images: list[np.ndarray]) -> Path:
    """Images as arrays, by turns of class a and b, each a file of its own."""
    for number, image in enumerate(images):
        file = root / "ab"[number % 2] / f"{number}.{'png' if image.dtype == np.uint8 else 'tif'}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return root


def ramp(high: float | int, kind: Any = np.uint16, low: int = 0) -> np.ndarray:
    return np.linspace(low, high, 64).astype(kind).reshape(8, 8)


def opened(root: Path, **options: Any) -> Dataset:
    return open_data(str(root), DataConfig(val=0, test=0, **options), short_side=16)


def pixels(dataset: Dataset) -> np.ndarray:
    return dataset.train.gather(np.arange(len(dataset.train)))[0][:, 0]


def said(dataset: Dataset) -> str:
    return " ".join(dataset.survey.doubts)


@pytest.mark.parametrize(("highs", "kind", "white"), [
    ([1.0, 1.004, 0.7], np.float32, 1), ([255, 200, 250], np.float32, 255), ([200, 255, 100], np.uint16, 255),
    ([4095, 3000, 4000], np.uint16, 4095), ([65535, 5000, 40000], np.uint16, 65535),
    ([4000, 3000, 4095], np.int32, 4095),
])  # fmt: skip
def test_all_agree(
    tmp_path: Path, highs: list[Any], kind: type[np.float32] | type[np.int32] | type[np.uint16], white: int
) -> None:
    images = [ramp(high, kind) for high in highs]
    data = opened(data_of(tmp_path / "d", images))
    assert data.pixel_range == (0, white)
    assert f"black is 0, white is {white} (guessed; data.pixel_range sets it)" in said(data)
    expected = {np.rint(np.clip(image / np.float64(white), 0, 1) * 255).astype(np.uint8).tobytes() for image in images}
    assert {np.ascontiguousarray(each).tobytes() for each in pixels(data)} == expected


def test_it_is_kept_with_the_decoded_images(tmp_path: Path) -> None:
    root = data_of(tmp_path / "d", [ramp(4095), ramp(4000)])
    first, again = opened(root), opened(root)
    assert first.pixel_range == again.pixel_range == (0, 4095) and said(first) == said(again)
    cached = sorted((tmp_path / "cache").rglob("*.pixels"))
    assert opened(root, pixel_range=[0, 4095]).pixel_range == (0, 4095)
    assert sorted((tmp_path / "cache").rglob("*.pixels")) == cached  # the same pixels
    wider = opened(root, pixel_range=[0, 65535])
    assert wider.pixel_range == (0, 65535) and pixels(wider).max() == 16 and "guessed" not in said(wider)
    assert wider.fingerprint != first.fingerprint
    assert opened(root).fingerprint == first.fingerprint


def test_black_images_abstain_and_8_bits_stay_as_they_are(tmp_path: Path) -> None:
    gray = np.full((8, 8), 200, np.uint8)
    root = data_of(tmp_path / "d", [gray, np.zeros((8, 8), np.uint16), ramp(4095), ramp(3000)])
    data = opened(root)
    assert data.pixel_range == (0, 4095) and 200 in pixels(data)
    assert opened(data_of(tmp_path / "e", [np.zeros((8, 8), np.uint16)] * 2)).pixel_range == (0, 65535)


@pytest.mark.parametrize(("images", "message"), [
    ([ramp(4095), ramp(65000), ramp(4000)],
     r"/0\.tif has values from 0 to 4095 and .*/1\.tif has values from 0 to 65000: .*=\[0,65535\] covers"),
    ([ramp(1.0, np.float32), ramp(3000)], r"0\.tif has .* to 1 and .*1\.tif .* to 3000: .*=\[0,4095\] covers"),
    ([ramp(1800, np.int32, -1024), ramp(3071, np.int32, -1000)],
     r"0\.tif has values from -1024 to 1800 and .*1\.tif .* -1000 to 3071: .*=\[-1024,3071\] covers"),
    ([ramp(100, np.int32), ramp(70000, np.int32)], r"0\.tif .* to 100 and .*1\.tif .* to 70000: .*=\[0,70000\] covers"),
    ([ramp(0.9, np.float32, -1)] * 2, r"^[^ ]*0\.tif has values from -1 to 0\.9: .*=\[-1,1\] covers"),
])  # fmt: skip
def test_they_disagree(tmp_path: Path, images: list[np.ndarray], message: str) -> None:
    root = data_of(tmp_path / "d", images)
    with pytest.raises(UserError, match=message) as raised:
        opened(root)
    assert "\n" not in str(raised.value)
    low, high = str(raised.value).split("=[")[1].split("]")[0].split(",")
    assert opened(root, pixel_range=[float(low), float(high)]).pixel_range == (float(low), float(high))


def test_given_and_not_needed(tmp_path: Path) -> None:
    gray = [np.full((8, 8), 60 + number, np.uint8) for number in range(4)]
    data = opened(data_of(tmp_path / "d", gray), pixel_range=[0, 4095])
    assert data.pixel_range is None
    assert data.survey.doubts == ("data.pixel_range is [0, 4095], and no image has more than 8 bits: it does nothing",)
    plain = opened(tmp_path / "d")
    assert plain.survey.doubts == () and plain.fingerprint == data.fingerprint


def test_no_numbers_are_told_of(tmp_path: Path) -> None:
    holed = ramp(1.0, np.float32)
    holed[3, 3] = np.nan
    data = opened(data_of(tmp_path / "d", [holed, ramp(1.0, np.float32)]))
    assert data.pixel_range == (0, 1)
    assert "1 image has values that are no numbers, which count as black (a/0.tif)" in data.survey.doubts


def test_nearly_black(tmp_path: Path) -> None:
    dark = [np.full((8, 8), 10 + number, np.uint8) for number in range(4)]
    assert opened(data_of(tmp_path / "d", dark)).survey.doubts == (
        "all images are nearly black: no pixel is brighter than 31 of 255",
    )
    light = opened(data_of(tmp_path / "e", [*dark, np.full((8, 8), 32, np.uint8)]))
    assert light.survey.doubts == ()
    deep = opened(data_of(tmp_path / "f", [ramp(4095), ramp(4000)]), pixel_range=[0, 65535])
    assert "data.pixel_range says what is white" in said(deep)


def test_a_damaged_image_is_named_whatever_the_range(tmp_path: Path) -> None:
    root = data_of(tmp_path / "d", [ramp(4095), ramp(4000)])
    (root / "b" / "9.tif").write_bytes((root / "b" / "1.tif").read_bytes()[:60])
    with pytest.raises(UserError, match=r"b/9\.tif: not a readable image"):
        opened(root)


def test_an_audit_sees_what_training_sees(tmp_path: Path) -> None:
    root = data_of(tmp_path / "d", [ramp(4095), ramp(4000), ramp(3500)])
    source = find_source(str(root), None)
    parts = scan(source, source.read(), lambda *_: None)
    data = opened(root)
    rows = pixels(data)
    for row, thumbnail in zip(rows, parts["train"].thumbnails, strict=True):
        assert abs(int(row.max()) - int(thumbnail.max())) <= 12  # enlarged, so not equal
    assert not parts["train"].damaged


def test_nearly_white(tmp_path: Path) -> None:
    light = [np.full((8, 8), 240 + number, np.uint8) for number in range(4)]
    assert opened(data_of(tmp_path / "d", light)).survey.doubts == (
        "all images are nearly white: no pixel is darker than 224 of 255",
    )
    assert opened(data_of(tmp_path / "e", [*light, np.full((8, 8), 223, np.uint8)])).survey.doubts == ()
    burnt = opened(data_of(tmp_path / "f", [ramp(65535), ramp(65000), ramp(255)]), pixel_range=[0, 255])
    words = "2 images have more than half of the values above white, which data.pixel_range says (a/0.tif, b/1.tif)"
    assert words in burnt.survey.doubts


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG", "MPO"])
def test_what_holds_several_pictures(tmp_path: Path, kind: str) -> None:
    data_of(tmp_path / "d", [ramp(255, np.uint8), ramp(250, np.uint8)])
    pages = [Image.fromarray(np.full((8, 8, 3), 50 * number, np.uint8)) for number in range(1, 4)]
    many = tmp_path / "d" / "a" / f"many.{'jpg' if kind == 'MPO' else kind.lower()}"
    pages[0].save(many, kind, save_all=True, append_images=pages[1:])
    said = opened(tmp_path / "d").survey.doubts
    expected = f"1 file holds several pictures; the first of each is used (a/{many.name})"
    assert said == (() if kind == "MPO" else (expected,))
    pages[0].save(many, kind)
    assert opened(tmp_path / "d").survey.doubts == ()
