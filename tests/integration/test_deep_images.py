"""A run on images of 12 bits: one range from the first image to the last prediction."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command_line import Cli
from PIL import Image

from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig
from seedwise.data.open import open_data
from seedwise.inference.evaluate import find_images
from seedwise.inference.predict import Unreadable, predict_files
from seedwise.recipe.schema import Recipe
from seedwise.run.inputs import pixels
from seedwise.run.run import load

SMALL = ("-m", "small", "--epochs", "1", "--img-size", "16", "-b", "8", "--threads", "1", "-s", "data.val=4")


def write(folder: Path, count: int = 16, top: int = 4095) -> Path:
    rng = np.random.default_rng(0)
    for number in range(count):
        deep = rng.integers(0, top + 1, (20, 20)).astype(np.uint16)
        file = folder / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(deep).save(file)
    return folder


def test_a_run_keeps_its_range(cli: Cli, tmp_path: Path) -> None:
    data = write(tmp_path / "deep")
    assert cli("train", data, *SMALL, "-o", "run").code == 0
    run = load("run")
    assert run.record.data.pixel_range == (0, 4095)
    deep = np.asarray(Image.open(data / "a" / "0.png"))
    plain = np.repeat(np.rint(deep / 4095 * 255).astype(np.uint8)[..., None], 3, 2)
    expected = run.predict([plain])
    assert np.array_equal(run.predict([data / "a" / "0.png"]), expected)
    assert np.array_equal(run.predict([Image.open(data / "a" / "0.png")]), expected)
    (found,) = predict_files(run, [str(data / "a" / "0.png")])
    assert not isinstance(found, Unreadable) and np.array_equal(found.pixels, plain)
    other = write(tmp_path / "other", 8, top=100)  # by itself it would be of 8 bits
    images = find_images(run, str(other), None, None, lambda *_: None)
    assert images.dataset.pixel_range == (0, 4095)
    assert images.dataset.train.gather(np.arange(8))[0].max() == round(100 / 4095 * 255)
    assert find_images(run, str(data), None, None, lambda *_: None).own


def test_a_run_on_8_bits_guesses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    data = write(tmp_path / "deep", 4)
    record = SimpleNamespace(data=SimpleNamespace(pixel_range=None, data_dir=None, fingerprint="f", source="x"))
    run: Any = SimpleNamespace(record=record, recipe=Recipe(), folder=Path("run"))
    Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save(tmp_path / "0.tif")
    (found,) = predict_files(run, [str(tmp_path / "0.tif")])
    assert isinstance(found, Unreadable)
    assert found.reason.endswith(
        "0.tif: has more than 8 bits a channel, unlike the images trained on: convert it to 8 bits"
    )
    with pytest.raises(
        UserError, match=r"deep: has images of more than 8 bits a channel, and run was trained on .* 8 bits"
    ):
        find_images(run, str(data), None, None, lambda *_: None)


def test_16_bits_have_a_scale_of_their_own(tmp_path: Path) -> None:
    """What a run on 8 bits is asked about an image of 16: the whole scale of the format, whatever the image shows."""
    deep = np.linspace(0, 9000, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(deep).save(tmp_path / "0.png")
    read = pixels(tmp_path / "0.png", None)
    assert np.array_equal(read, np.repeat(np.rint(deep / 257).astype(np.uint8)[..., None], 3, 2))
    assert np.array_equal(pixels(Image.open(tmp_path / "0.png"), None), read)


def test_images_of_ones_own_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep_pictures.py").write_text(
        "import numpy as np\nfrom PIL import Image\nTOP = 4095\n"
        "def load():\n"
        "    made = [np.linspace(0, TOP - i, 64).astype(np.uint16).reshape(8, 8) for i in range(4)]\n"
        "    return {'classes': ['a', 'b'], 'train': ([Image.fromarray(it) for it in made], [0, 1, 0, 1])}\n"
    )
    config = DataConfig(val=0, test=0, factory="deep_pictures:load")
    data = open_data("mine", config, short_side=16)
    assert data.pixel_range == (0, 4095)
    assert data.train.gather(np.arange(4))[0].max() == 255


def test_what_does_not_fit_the_scale_of_a_run_is_told(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("train", write(tmp_path / "deep"), *SMALL, "-o", "run").code == 0
    noise = np.random.default_rng(0).random((20, 20), np.float32)
    holed = noise.copy() * 4095
    holed[0, 0] = np.nan
    one, other = (Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (90, 100))
    one.save("pages.tif", save_all=True, append_images=[other])
    for name, values in {"dark": noise, "nan": noise * np.nan, "holed": holed, "fits": noise * 4095}.items():
        Image.fromarray(values).save(f"{name}.tif")
    Image.fromarray((noise * 65535).astype(np.uint16)).save("bright.png")
    names = ["dark.tif", "nan.tif", "holed.tif", "fits.tif", "bright.png", "pages.tif"]
    answer = cli("predict", "run", *names)
    assert answer.code == 0 and [line.split("\t")[0] for line in answer.out.splitlines()] == names
    assert answer.err.splitlines() == [
        "dark.tif: no pixel above 0.1% of the run's range [0, 4095]",
        "nan.tif: none of its values is a number: it is black",
        "holed.tif: 1 of 400 values are no numbers, which count as black",
        f"bright.png: values up to {int((noise * 65535).max()):g}, and white is 4095 in this run",
        "pages.tif: holds several pictures; the first is used",
    ]
    write(tmp_path / "other", 8, top=65535)
    (tmp_path / "other" / "notes.txt").write_text("")
    answer = cli("evaluate", "run", "--data", "other")
    assert answer.code == 0 and "all, 8 images" in answer.out
    assert "passed over: 1 file (no image)" in answer.err.splitlines()
    assert "8 images have more than half of the values above white" in " ".join(answer.err.split())
    assert cli("evaluate", "run").err == ""
