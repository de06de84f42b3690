"""`seedwise cache`: it lists what lies there and removes what it is told to, whoever uses it meanwhile."""

import fcntl
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seedwise.base.cache_contents import clear, named, stowed
from seedwise.base.files import cache_root
from seedwise.data.cache import locked_cache
from seedwise.data.config import DataConfig
from seedwise.data.open import open_data

ALL = DataConfig(val=0, test=0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def photos(name: str, count: int = 6) -> Path:
    random = np.random.default_rng(0)
    for number in range(count):
        file = Path(name) / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 40, 3), np.uint8)).save(file)
    return Path(name).resolve()


def opened(folder: Path) -> tuple[Any, bool]:
    """(data set, whether it was decoded)."""
    calls: list[str] = []
    data = open_data(str(folder), ALL, short_side=32, progress=lambda label, _done, _total: calls.append(label))
    return data, bool(calls)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    from seedwise.cli import main

    before, sys.argv = sys.argv, ["seedwise", "cache", *words]
    try:
        with pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = before
    said = capsys.readouterr()
    return int(stop.value.code or 0), said.out, said.err.strip()


def test_data_sets_are_listed_with_source_size_and_last_use(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys) == (0, f"     0 B  in {cache}\n", "")
    cats, dogs = photos("cats", 8), photos("dogs")
    opened(cats), opened(dogs)
    (cache / "kernels").mkdir()
    (cache / "kernels" / "pixels-00.so").write_bytes(b"0" * 500)
    found = {it.source: it for it in stowed()}
    assert list(found) == [str(cats), str(dogs), "compiled for this machine"]  # the largest first
    assert 8 * 32 * 32 * 3 <= found[str(cats)].bytes < 8 * 32 * 32 * 3 + 9000
    earlier = time.time() - 3 * 86400
    os.utime(found[str(cats)].folder / "source.json", (earlier, earlier))
    assert named("cats").used == pytest.approx(earlier, abs=1)
    assert not opened(cats)[1] and named("cats").used == pytest.approx(time.time(), abs=60)
    code, listed, _ = run(capsys, "ls", "--json")
    entries = json.loads(listed)["entries"]
    assert code == 0 and [it["kind"] for it in entries] == ["data", "data", "kernels"]
    assert run(capsys)[1] == run(capsys, "ls")[1] and str(dogs) in run(capsys)[1]


def test_one_is_cleared_by_name_or_path_and_the_others_stay(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cats, dogs = photos("cats"), photos("dogs")
    for way in ("cats", "./cats", str(cats), None):
        opened(cats), opened(dogs)
        code, said, _ = run(capsys, "clear", way or named("cats").name, "--yes")
        assert code == 0 and said.startswith("freed ") and [it.source for it in stowed()] == [str(dogs)]
        assert not list(cache.glob("cats-*"))
    assert opened(cats)[1] and not opened(dogs)[1]  # decoded again


def test_kernels_and_all_else_go_with_all_alone(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened(photos("cats"))
    for name in ("kernels/pixels-00.so", "downloads/cifar10/cifar-10.tar.gz", "audits/00/audit.json", "mine.txt"):
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_text("it")
    assert run(capsys, "clear", "--data", "--yes")[0] == 0
    assert {it.kind for it in stowed()} == {"kernels", "downloads", "audits"}
    assert run(capsys, "clear", "--all", "--yes")[0] == 0
    assert stowed() == [] and [path.name for path in cache.iterdir()] == ["mine.txt"]  # that is nothing of ours


def test_a_script_must_say_yes_and_what_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    opened(photos("cats"))
    code, _, said = run(capsys, "clear", "--all")
    assert code == 2 and said.startswith("cache clear: would remove cats-") and said.endswith("add --yes")
    assert len(stowed()) == 1
    for words, answer in (
        (["clear"], "cache clear: give NAME, --data or --all"),
        (["clear", "cats", "--all"], "cache clear: give one of NAME, --data or --all"),
        (["clear", "dogs", "--yes"], "dogs: not in the cache"),
    ):
        code, _, said = run(capsys, *words)
        assert code == 2 and said.startswith(answer)


def test_images_that_are_in_use_stay_readable() -> None:
    data, _ = opened(photos("cats"))
    clear(named("cats"))
    pixels, _ = data.train.gather(np.arange(6))
    assert pixels.shape == (6, 3, 32, 32) and pixels.any()


def test_what_is_being_decoded_is_left(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened(photos("cats")), opened(photos("dogs"))
    held = named("cats").folder / "lock"
    with held.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, said, reason = run(capsys, "clear", "--data", "--yes")
    assert code == 2 and said.startswith("freed ") and "a process decodes it right now" in reason
    assert [it.kind for it in stowed()] == ["data"] and named("cats").bytes > 9000


def test_whoever_waits_for_a_lock_that_is_cleared_away_gets_the_new_one(cache: Path) -> None:
    opened(photos("cats"))
    folder, entered, may_go = named("cats").folder, threading.Event(), threading.Event()
    waited: list[str] = []

    def decode() -> None:
        with locked_cache(folder, "decodes cats", lambda *_: (waited.append("waits"), may_go.set())):  # type: ignore[arg-type]
            (folder / "building").mkdir()
            entered.set()

    with (folder / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=decode)
        thread.start()
        assert may_go.wait(10)
        for inner in folder.iterdir():  # as `clear` does while it holds the lock
            inner.unlink() if inner.is_file() else [each.unlink() for each in inner.iterdir()] and inner.rmdir()
        folder.rmdir()
    thread.join(10)
    assert entered.is_set() and waited and (folder / "building").is_dir()


def test_the_cache_is_where_it_was_or_where_the_system_has_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SEEDWISE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    earlier = tmp_path / "home/.cache/seedwise"
    assert cache_root() == earlier  # on Linux; nothing is made by asking
    assert not (tmp_path / "home").exists()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert cache_root() == tmp_path / "caches/seedwise"
    earlier.mkdir(parents=True)
    assert cache_root() == earlier
    monkeypatch.setenv("SEEDWISE_CACHE", "~/mine")
    assert cache_root() == tmp_path / "home/mine"
