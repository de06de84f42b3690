import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Never

import numpy as np
import pytest
from PIL import Image

from seedwise.base.errors import UserError
from seedwise.data.cache import open_cached
from seedwise.data.config import DataConfig
from seedwise.data.dataset import Dataset
from seedwise.data.find import find_source
from seedwise.data.open import open_data

ALL = DataConfig(val=0, test=0)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for number in range(80):
        file = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        height, width = random.integers(20, 60, 2)
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(file)
    return tmp_path / "photos"


class Counter:
    """A progress callback that counts what was decoded."""

    def __init__(self) -> None:
        self.calls = []

    def __call__(self, label: str, done: int, total: int) -> None:
        self.calls.append((label, done, total))


def opened(folder: Path, short_side: int = 32) -> tuple[Dataset, bool]:
    """(data set, whether something was decoded)."""
    counter = Counter()
    return open_data(str(folder), ALL, short_side=short_side, progress=counter), bool(counter.calls)


def pixels_of(data: Dataset) -> np.ndarray:
    return data.train.gather(np.arange(len(data.train)))[0]


def test_progress_ends_at_the_total(cache: Path, photos: Path) -> None:
    counter = Counter()
    open_data(str(photos), ALL, short_side=32, progress=counter)
    assert counter.calls == [("decoding photos train", done, 80) for done in (4, 8, 16, 32, 64, 80)]


def test_second_start_decodes_nothing_and_is_equal(cache: Path, photos: Path) -> None:
    first, decoded = opened(photos)
    assert decoded
    second, decoded = opened(photos)
    assert not decoded and second.fingerprint == first.fingerprint and second.classes == first.classes
    assert np.array_equal(pixels_of(first), pixels_of(second))
    assert np.array_equal(first.train.targets, second.train.targets)


def test_changed_sources_are_decoded_again_and_old_pixels_removed(cache: Path, photos: Path) -> None:
    first, _ = opened(photos)
    os.utime(photos / "a/0.png", ns=(1, 1))
    second, decoded = opened(photos)
    assert decoded and second.fingerprint == first.fingerprint
    (photos / "a/0.png").unlink()
    third, decoded = opened(photos)
    assert decoded and third.fingerprint != first.fingerprint and len(third.train) == 79
    assert len(list(cache.glob("photos-*/*/meta.json"))) == 1
    assert np.array_equal(pixels_of(first)[-1], pixels_of(second)[-1])  # the removed file is still mapped


def test_short_sides_are_kept_apart_only_where_they_matter(cache: Path, photos: Path) -> None:
    small, _ = opened(photos, 24)
    large, decoded = opened(photos, 40)
    assert decoded and large.fingerprint != small.fingerprint
    assert not opened(photos, 24)[1] and not opened(photos, 40)[1]
    whole, decoded = opened(photos, 300)
    assert decoded
    again, decoded = opened(photos, 224)  # no photo is that large: the same pixels
    assert not decoded and again.fingerprint == whole.fingerprint


def test_fingerprint_depends_on_content_alone(cache: Path, photos: Path, tmp_path: Path) -> None:
    first, _ = opened(photos)
    shutil.copytree(photos, tmp_path / "elsewhere" / "other name")
    moved, decoded = opened(tmp_path / "elsewhere" / "other name")
    assert decoded and moved.fingerprint == first.fingerprint
    (tmp_path / "elsewhere" / "other name" / "a").rename(tmp_path / "elsewhere" / "other name" / "aa")
    assert opened(tmp_path / "elsewhere" / "other name")[0].fingerprint != first.fingerprint


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_fingerprint_does_not_depend_on_threads(cache: Path, photos: Path, threads: int) -> None:
    source = find_source(str(photos), None)
    stored = open_cached(source, DataConfig(), 32, threads=threads)
    shutil.rmtree(cache)
    assert open_cached(source, DataConfig(), 32, threads=3).fingerprint == stored.fingerprint


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


DAMAGE = {
    "pixels cut": lambda d: cut(d / "train.pixels"),
    "pixels longer": lambda d: (d / "train.pixels").write_bytes((d / "train.pixels").read_bytes() + b"x"),
    "pixels gone": lambda d: (d / "train.pixels").unlink(),
    "index cut": lambda d: cut(d / "train.index"),
    "index flipped": lambda d: flip(d / "train.index"),
    "names flipped": lambda d: flip(d / "train.names"),
    "names empty": lambda d: (d / "train.names").write_bytes(b""),
    "originals flipped": lambda d: flip(d / "train.originals"),
    "originals gone": lambda d: (d / "train.originals").unlink(),
    "names gone": lambda d: (d / "train.names").unlink(),
    "meta cut": lambda d: cut(d / "meta.json"),
    "meta empty": lambda d: (d / "meta.json").write_bytes(b""),
    "meta flipped": lambda d: flip(d / "meta.json"),
    "meta of another kind": lambda d: (d / "meta.json").write_text("[1, 2]"),
    "meta gone": lambda d: (d / "meta.json").unlink(),
    "meta edited": lambda d: (d / "meta.json").write_text(
        json.dumps(json.loads((d / "meta.json").read_text()) | {"body": {"classes": ["x", "y"]}})
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed_and_repaired(cache: Path, photos: Path, damage: str) -> None:
    first, _ = opened(photos)
    before = pixels_of(first).copy()
    (folder,) = [meta.parent for meta in cache.glob("*/*/meta.json")]
    DAMAGE[damage](folder)
    repaired, decoded = opened(photos)
    assert decoded and repaired.fingerprint == first.fingerprint and np.array_equal(pixels_of(repaired), before)
    assert not opened(photos)[1]


def test_what_a_killed_process_left_is_in_nobodys_way(cache: Path, photos: Path) -> None:
    first, _ = opened(photos)
    (folder,) = cache.glob("photos-*")
    shutil.rmtree(next(folder.glob("*/meta.json")).parent)
    (folder / "building").mkdir()
    (folder / "building/train.pixels").write_bytes(b"half")
    second, decoded = opened(photos)
    assert decoded and second.fingerprint == first.fingerprint and not (folder / "building").exists()


def test_a_failed_build_leaves_nothing(cache: Path, photos: Path) -> None:
    (photos / "b/zzz.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"zzz\.png"):
        opened(photos)
    assert [file.name for file in cache.rglob("*") if file.is_file()] == ["lock"]
    (photos / "b/zzz.png").unlink()
    assert len(opened(photos)[0].train) == 80


def test_a_full_disk_is_one_line(cache: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> Never:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device.*SEEDWISE_CACHE"):
        opened(photos)


PROCESS = """
import sys, time
from pathlib import Path
from seedwise.data.config import DataConfig
from seedwise.data.open import open_data

photos, mine, wait_for = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
labels = []
def progress(label, done, total):
    labels.append(label.split()[0])
    mine.touch()
    deadline = time.monotonic() + 30
    while label.startswith("decoding") and not wait_for.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
data = open_data(photos, DataConfig(val=0, test=0), short_side=32, progress=progress)
print(data.fingerprint, *sorted(set(labels)))
"""


def test_two_processes_build_once_and_agree(cache: Path, photos: Path, tmp_path: Path) -> None:
    """The first one goes on decoding only when the second has said that it waits."""
    marks = tmp_path / "first", tmp_path / "second"
    command = [sys.executable, "-c", PROCESS, str(photos)]
    runs = [
        subprocess.Popen([*command, str(mine), str(other)], stdout=subprocess.PIPE, text=True)
        for mine, other in (marks, marks[::-1])
    ]
    answers = sorted(run.communicate(timeout=90)[0].split() for run in runs)
    assert all(run.returncode == 0 for run in runs)
    assert answers[0][0] == answers[1][0]
    assert [answer[1:] for answer in answers] == [["decoding"], ["waiting"]]


@pytest.mark.parametrize("short_side", [16, 32])  # squares of one size, and photos of many
def test_changed_pixels_are_noticed_when_they_are_first_gathered(cache: Path, photos: Path, short_side: int) -> None:
    if short_side == 16:
        for file in photos.rglob("*.png"):
            Image.open(file).resize((16, 16)).save(file)
    whole = pixels_of(opened(photos, short_side)[0])
    (file,) = cache.glob("*/*/train.pixels")
    for at in (0, file.stat().st_size // 2, file.stat().st_size - 1):
        content = file.read_bytes()
        flipped = bytearray(content)
        flipped[at] ^= 1
        file.write_bytes(flipped)
        data, decoded = opened(photos, short_side)
        assert not decoded
        refused = 0
        for row in range(len(data.train)):
            try:
                data.train.gather(np.array([row]))
            except UserError as error:
                refused += 1
                assert f"{file}: damaged" in str(error) and f"delete {file.parent} and" in str(error)
        assert refused == 1
        with pytest.raises(UserError, match="damaged"):
            pixels_of(data)
        file.write_bytes(content)
    data, _ = opened(photos, short_side)
    assert all(np.array_equal(pixels_of(data), whole) for _ in range(2))  # checked once, trusted later
    shutil.rmtree(file.parent)
    assert opened(photos, short_side)[1]


def test_a_wait_for_another_process_can_be_stopped_and_ends_with_it(cache: Path, photos: Path) -> None:
    opened(photos)
    (folder,) = cache.glob("photos-*")
    shutil.rmtree(next(folder.glob("*/meta.json")).parent)
    said = []

    def stop(label: str, done: int, total: int) -> None:
        said.append(label)
        if len(said) == 3:
            raise KeyboardInterrupt

    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(KeyboardInterrupt):
            open_data(str(photos), ALL, short_side=32, progress=stop)
        assert said == ["waiting for another process that decodes photos"] * 3

        def release(label: str, done: int, total: int) -> None:
            said.append(label)
            fcntl.flock(lock, fcntl.LOCK_UN)

        assert len(open_data(str(photos), ALL, short_side=32, progress=release).train) == 80
    assert said[3].startswith("waiting") and said[-1].startswith("decoding")
