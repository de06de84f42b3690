"""What the learning-rate range test concludes from losses."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from seedwise.base.errors import UserError
from seedwise.run import lr_curve
from seedwise.run.lr_finder import SMOOTHING, conclude, smooth


def test_the_average_is_the_weighted_mean_of_the_losses_so_far() -> None:
    losses = [3.0, 1.0, 4.0, 1.0, 5.0]
    expected = [np.average(losses[:n], weights=SMOOTHING ** np.arange(n)[::-1]) for n in range(1, 6)]
    assert smooth(losses) == pytest.approx(expected)
    assert smooth([2.0] * 7) == pytest.approx([2.0] * 7)


def test_the_suggestion_is_a_tenth_of_the_lowest() -> None:
    rates = np.geomspace(1e-5, 1, 101).tolist()
    logs = np.log10(rates)
    losses = (2 - 1.5 / (1 + np.exp(-4 * (logs + 3))) + 10 ** (3 * (logs + 0.5))).tolist()
    found = conclude(rates, losses[:95])
    assert found.diverged and len(found.rates) == 95
    assert found.lowest == rates[int(np.argmin(found.smoothed))]
    assert found.suggestion == found.lowest / 10
    assert 1e-3 < found.steepest < found.lowest < 0.5


def test_a_loss_that_only_rises_suggests_below_the_first_rate() -> None:
    found = conclude([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])
    assert (found.lowest, found.suggestion, found.diverged) == (0.1, pytest.approx(0.01), False)
    assert found.doubt is not None and "lower --min" in found.doubt


def test_a_lowest_loss_at_the_last_rate_is_doubted_unless_it_diverged_there() -> None:
    rates = [0.1, 0.2, 0.3, 0.4]
    falling = conclude(rates, [4.0, 3.0, 2.0, 1.0])
    assert falling.lowest == 0.4 and falling.doubt is not None and "raise --max" in falling.doubt
    assert conclude(rates, [4.0, 1.0, 20.0]).doubt is None
    assert conclude(rates, [4.0, 3.0, 2.0]).doubt is None  # then the loss was no longer finite


FOUND = conclude(
    np.geomspace(1e-6, 1, 61).tolist(), [*np.linspace(2, 1, 45).tolist(), *np.geomspace(1, 1e4, 16).tolist()]
)


def test_the_curve_as_png_and_as_svg_has_the_same_lines_and_marks_what_was_found(tmp_path: Path) -> None:
    for name in ("lr.png", "lr.svg"):
        lr_curve.draw(tmp_path / name, FOUND, "<small> & ants on 고양이")
    pixels = np.asarray(Image.open(tmp_path / "lr.png"))
    assert pixels.shape == (lr_curve.HEIGHT, lr_curve.WIDTH, 3)
    svg = ElementTree.parse(tmp_path / "lr.svg").getroot()
    lines = {each.get("stroke"): each.get("points", "").split() for each in svg.iter() if each.tag.endswith("polyline")}
    assert "<small> & ants on 고양이" in [each.text for each in svg.iter()]
    first, last = np.log([FOUND.rates[0], FOUND.rates[-1]])
    wide = 0.94 * (lr_curve.RIGHT - lr_curve.LEFT)
    for rate, color in ((FOUND.suggestion, lr_curve.GREEN), (FOUND.lowest, lr_curve.RED)):
        across = lr_curve.LEFT + 0.03 * wide / 0.94 + wide * (np.log(rate) - first) / (last - first)
        assert float(lines[color][0].split(",")[0]) == pytest.approx(across, abs=0.06)
        column = pixels[lr_curve.TOP : lr_curve.BOTTOM, round(across) - 2 : round(across) + 3]
        painted = (column == tuple(bytes.fromhex(color[1:]))).all(axis=2).any(axis=1)
        assert painted.mean() > 0.9  # the curves lie below
    assert len(lines[lr_curve.BLUE]) == len(FOUND.rates)
    assert (pixels[: lr_curve.TOP - 30, : lr_curve.LEFT] == 255).all()  # what diverges doesn't leave the axes


def test_a_curve_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    for name in ("lr.png", "lr.svg"):
        with pytest.raises(UserError, match="can't be written"):
            lr_curve.draw(tmp_path / "no" / name, FOUND, "x")
