"""`predict` takes one image or many in every usual form, as they come, and refuses the rest in one line."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import TINY, call
from PIL import Image

import seedwise
from seedwise import Ensemble, Run
from seedwise.base.errors import UserError
from seedwise.run.run import PREDICT_BATCH

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
GRAY = PIXELS[:, :, 0].copy()


@pytest.fixture(scope="module", params=["run", "ensemble"])
def loaded(
    request: pytest.FixtureRequest, finished_once: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run | Ensemble:
    if request.param == "run":
        return seedwise.load(finished_once)  # type: ignore[return-value]
    folder = tmp_path_factory.mktemp("voting")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEDWISE_CACHE", str(cache))
        assert call("train", "digits", *TINY, "--seed", 4, "-o", folder / "other") == 0
        assert call("ensemble", finished_once, folder / "other", "-o", folder / "voted") == 0
    return seedwise.load(folder / "voted")  # type: ignore[return-value]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_one_image_in_every_form_gives_one_row(loaded: Run | Ensemble, file: Path) -> None:
    expected = loaded.predict([PIXELS])
    assert expected.shape == (1, 10)
    tensor = torch.from_numpy(PIXELS).permute(2, 0, 1)
    for given in (str(file), file, Image.open(file), PIXELS, tensor, tensor[None], PIXELS[None], (file,), iter([file])):
        assert np.array_equal(loaded.predict(given), expected), type(given)
    gray = loaded.predict(np.repeat(GRAY[:, :, None], 3, axis=2))
    for given in (GRAY, [GRAY], Image.fromarray(GRAY)):  # type: ignore[assignment]
        assert np.array_equal(loaded.predict(given), gray), type(given)


def test_many_in_every_form(loaded: Run | Ensemble, file: Path) -> None:
    other = 255 - PIXELS
    expected = loaded.predict([PIXELS, other])
    many = np.stack([PIXELS, other])
    mixed = (file, Image.fromarray(other))
    for given in (many, torch.from_numpy(many).permute(0, 3, 1, 2), mixed, (each for each in mixed)):
        assert np.array_equal(loaded.predict(given), expected), type(given)
    assert np.array_equal(loaded.predict(np.array([str(file)])), loaded.predict(file))
    assert loaded.predict([]).shape == (0, 10)


def test_a_generator_is_never_held_as_a_whole(loaded: Run | Ensemble) -> None:
    alive: list[int] = []

    class Counted(np.ndarray[Any, Any]):
        def __del__(self) -> None:
            alive.append(-1)

    def images() -> Iterator[Any]:
        for _ in range(4 * PREDICT_BATCH):
            alive.append(1)
            most.append(sum(alive))
            yield PIXELS.copy().view(Counted)

    most: list[int] = []
    assert loaded.predict(images()).shape == (4 * PREDICT_BATCH, 10)
    assert max(most) <= 2 * PREDICT_BATCH + 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            [PIXELS, PIXELS / 255],
            r"images\[1\] is float64\[20, 24, 3\]; give uint8\[h, w, 3\], .* from 0 to 255: floats",
        ),
        (torch.zeros(3, 8, 8), r"images\[0\] is a tensor float32\[3, 8, 8\]; give uint8\[3, h, w\] with values from 0"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), r"a tensor uint8\[8, 8, 3\]; give uint8\[3, h, w\]$"),
        (np.zeros((5, 8, 8), np.uint8), r"images\[0\] is uint8\[5, 8, 8\]; give uint8\[h, w, 3\]"),
        (np.zeros((8, 8, 4), np.uint8), r"is uint8\[8, 8, 4\]"),
        (np.zeros((0, 8, 3), np.uint8), r"is uint8\[0, 8, 3\]"),
        (np.zeros((8, 8), bool), r"is bool\[8, 8\]"),
        ([[PIXELS]], r"images\[0\] is list; give a path"),
        ([None], r"images\[0\] is NoneType"),
        ({"a": PIXELS}, r"^images are dict; give a path"),
        ({"a.png", "b.png"}, r"^images are set"),
        (b"bytes", r"^images are bytes"),
        (io.BytesIO(), r"^images are BytesIO"),
        (7, r"^images are int"),
        (None, r"^images are NoneType"),
        ("missing.png", r"missing\.png"),
    ],
)
def test_all_else_is_refused_in_one_line(loaded: Run | Ensemble, given: Any, words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        loaded.predict(given)
    assert "\n" not in str(refused.value)


def test_an_explanation_takes_the_same(finished: Path, file: Path) -> None:
    run = seedwise.load(finished)
    assert isinstance(run, Run)
    expected = run.explain(PIXELS, 1)
    for given in (str(file), torch.from_numpy(PIXELS).permute(2, 0, 1), Image.open(file)):
        assert np.array_equal(run.explain(given, 1), expected)
