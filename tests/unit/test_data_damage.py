"""Damaged images: all are named at once, and data.skip_damaged leaves them out and says so."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedwise.base.errors import Mistakes, UserError
from seedwise.data.config import DataConfig
from seedwise.data.open import open_data

ALL = DataConfig(val=0, test=0)
SKIPPING = DataConfig(val=0, test=0, skip_damaged=True)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for number in range(120):
        file = Path("photos") / "ab"[number % 2] / f"{number:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20, 20, 3), np.uint8)).save(file)
    return Path("photos").resolve()


def spoil(*numbers: int) -> None:
    for number in numbers:
        file = Path("photos") / "ab"[number % 2] / f"{number:03}.png"
        file.write_bytes(file.read_bytes()[:60] if number % 3 else b"")


def refused(config: DataConfig = ALL) -> Mistakes | UserError:
    with pytest.raises(UserError) as found:
        open_data("photos", config, short_side=32)
    return found.value


def test_all_are_named_at_once_in_a_line_each(place: Path) -> None:
    spoil(0, 50, 119)  # the first and the last: what was decoded between them doesn't matter
    lines = refused().lines
    assert [line.split(": ")[0].removeprefix(f"{place}/") for line in lines[:-1]] == [
        "a/000.png",
        "a/050.png",
        "b/119.png",
    ]
    assert lines[0].endswith(": not a readable image (it is empty)")
    assert lines[-1] == "3 images: replace or remove them; -s data.skip_damaged=true leaves them out"
    assert not list(Path("cache").glob("*/*-*"))  # nothing half decoded is taken for the whole


def test_of_many_the_first_ten_are_named_and_the_rest_counted() -> None:
    spoil(*range(0, 60, 2))
    lines = refused().lines
    assert len(lines) == 11
    assert lines[-1].startswith("30 images, of which 10 are named: replace or remove them; ")


def test_a_single_one_is_a_single_line(place: Path) -> None:
    spoil(4)
    (line,) = refused().lines
    assert line.startswith(f"{place}/a/004.png: not a readable image (")
    assert line.endswith("): replace or remove it; -s data.skip_damaged=true leaves it out")


def test_what_is_skipped_is_said_recorded_and_no_part_of_the_data() -> None:
    whole = open_data("photos", ALL, short_side=32)
    spoil(0, 3, 50, 119)
    left = open_data("photos", SKIPPING, short_side=32)
    assert len(whole.train) == 120 and len(left.train) == 116 and np.bincount(left.train.targets).tolist() == [58, 58]
    (passed,) = left.survey.passed_over
    assert (passed.kind, passed.reason, passed.count) == ("images", "damaged", 4)
    assert set(passed.examples) == {"a/000.png", "b/003.png", "a/050.png", "b/119.png"}
    said = "\n".join(left.lines())
    assert "passed over: 4 images (damaged)" in said and "4 damaged images are left out (a/000.png, " in said
    for number in (0, 3, 50, 119):  # the same images, the damaged files removed
        (Path("photos") / "ab"[number % 2] / f"{number:03}.png").unlink()
    assert open_data("photos", ALL, short_side=32).fingerprint == left.fingerprint


def test_it_is_said_again_by_the_next_run_which_decodes_nothing(place: Path) -> None:
    spoil(7)
    first = open_data("photos", SKIPPING, short_side=32)
    decoded = []
    again = open_data("photos", SKIPPING, short_side=32, progress=lambda *step: decoded.append(step))
    assert (
        not decoded
        and again.lines() == first.lines()
        and "1 damaged image is left out (b/007.png)" in str(first.lines())
    )
    assert refused().lines[0].startswith(f"{place}/b/007.png")  # and without the option it is refused still


def test_without_any_damage_the_option_changes_nothing() -> None:
    plain = open_data("photos", ALL, short_side=32)
    skipping = open_data("photos", SKIPPING, short_side=32)
    assert plain.fingerprint == skipping.fingerprint and plain.lines() == skipping.lines()


def test_a_class_or_a_part_of_which_nothing_is_left_is_refused() -> None:
    spoil(*range(0, 120, 2))
    assert "no training image of a can be read" in str(refused(SKIPPING))
    for number in range(0, 120, 2):
        (Path("photos") / "a" / f"{number:03}.png").unlink()
    Path("photos/train").mkdir()
    for name in ("a", "b"):
        (Path("photos") / name).rename(Path("photos/train") / name)
    for number in range(3):
        Image.new("RGB", (20, 20), (number, 0, 0)).save(Path("photos/train/a") / f"{number}.png")
    Path("photos/test/a").mkdir(parents=True)
    Path("photos/test/a/1.png").write_bytes(b"")
    assert "no image of test can be read" in str(refused(SKIPPING))


def test_a_table_with_a_damaged_row() -> None:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    def png(number: int) -> bytes:
        out = io.BytesIO()
        Image.new("RGB", (8, 8), (number, 9, 9)).save(out, "PNG")
        return out.getvalue()

    images = [png(number) if number != 5 else b"no image" for number in range(20)]
    pq.write_table(pa.table({"image": images, "label": [number % 2 for number in range(20)]}), "t.parquet")
    with pytest.raises(UserError, match=r"row 5: not a readable image .*skip_damaged=true leaves it out"):
        open_data("t.parquet", ALL, short_side=32)
    assert len(open_data("t.parquet", SKIPPING, short_side=32).train) == 19
