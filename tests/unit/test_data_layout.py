"""Each layout of layouts.py on disk and in an archive: what it is read as, or how it is refused."""

import io
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import REFUSED, UNDERSTOOD, Layout
from PIL import Image

from seedwise.base.errors import UserError
from seedwise.data.archive import ArchiveSource
from seedwise.data.config import DataConfig
from seedwise.data.folder import FolderSource
from seedwise.data.open import open_data
from seedwise.data.source import Contents


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SEEDWISE_DATA", raising=False)


def content(name: str, seed: int) -> bytes:
    if name.endswith((".png", ".jpg")):
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(buffer, "PNG")
        return buffer.getvalue()
    return b"no image"


def files_of(layout: Layout) -> Iterator[tuple[str, bytes]]:
    """Every file of a layout with its bytes."""
    for line in layout.tree:
        folder, _, names = line.rpartition("/ ") if "/ " in line else ("", "", line)
        for name in names.split():
            path = f"{folder}/{name}" if folder else name
            yield path, content(name, zlib.crc32(path.encode()))


def on_disk(layout: Layout, root: Path) -> FolderSource:
    for path, data in files_of(layout):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return FolderSource("d", root, DataConfig(**layout.options))  # type: ignore[arg-type]


def zipped(layout: Layout, root: Path) -> ArchiveSource:
    root.mkdir()
    with zipfile.ZipFile(root / "d.zip", "w") as out:
        for path, data in files_of(layout):
            out.writestr(path, data)
    return ArchiveSource("d", root / "d.zip", DataConfig(**layout.options))  # type: ignore[arg-type]


def counts(contents: Contents) -> dict[str, dict[str, int]]:
    return {
        part: {contents.classes[label]: int((its.labels == label).sum()) for label in np.unique(its.labels)}
        for part, its in contents.parts.items()
    }


@pytest.mark.parametrize("layout", UNDERSTOOD, ids=lambda layout: layout.title[:40])
@pytest.mark.parametrize("make", [on_disk, zipped])
def test_what_is_understood(layout: Layout, make: Callable[..., Any], tmp_path: Path) -> None:
    contents = make(layout, tmp_path / "d").read()
    assert counts(contents) == layout.parts
    doubts = contents.survey.doubts
    assert not doubts if not layout.doubt else re.search(layout.doubt, "\n".join(doubts)), doubts
    if make is on_disk:  # an archive has no folders of its own to pass over
        found = tuple((each.kind, each.reason, each.count) for each in contents.survey.passed_over)
        assert sorted(found) == sorted(layout.passed_over)


@pytest.mark.parametrize("layout", REFUSED, ids=lambda layout: layout.title)
@pytest.mark.parametrize("make", [on_disk, zipped])
def test_what_is_refused(layout: Layout, make: Callable[..., Any], tmp_path: Path) -> None:
    source = make(layout, tmp_path / "d")
    with pytest.raises(UserError, match=layout.refused) as caught:
        source.read()
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_the_images_of_a_part_are_its_own(tmp_path: Path) -> None:
    """Not only the counts: each image carries the label of the folder that it lies in."""
    layout = next(each for each in UNDERSTOOD if each.title == "Parts within the classes")
    source = on_disk(layout, tmp_path / "d")
    contents = source.read()
    for part, its in contents.parts.items():
        for raw, label in zip(its.images(), its.labels, strict=True):
            assert str(raw.data).startswith(str(tmp_path / "d" / contents.classes[label] / part))


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    """As timm and torchvision do it; a link to a folder above would go on for ever."""
    layout = next(each for each in UNDERSTOOD if each.title == "Class folders")
    source = on_disk(layout, tmp_path / "d")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/9.png").write_bytes(content("9.png", 9))
    (tmp_path / "d/cat/linked").symlink_to(tmp_path / "more")
    (tmp_path / "d/cat/up").symlink_to(tmp_path / "d")
    (tmp_path / "d/dog/self").symlink_to(".")
    (tmp_path / "d/dog/3.png").symlink_to(tmp_path / "more/9.png")
    (tmp_path / "more/back").symlink_to(tmp_path / "more")
    contents = source.read()
    assert counts(contents) == {"train": {"cat": 3, "dog": 3}}
    (loops,) = (each for each in contents.survey.passed_over if each.kind == "folders")
    assert loops.reason == "link to a folder above" and loops.count == 3


def test_our_own_output_is_passed_over(tmp_path: Path) -> None:
    """`cd photos; seedwise train .` writes into what it reads."""
    layout = next(each for each in UNDERSTOOD if each.title == "Class folders")
    source = on_disk(layout, tmp_path / "d")
    for folder, names in {
        "runs/a": ["record.json", "recipe.yaml"],
        "runs/begun": [".lock"],
        "study": ["study.json"],
        "study/runs/base/seed-1": ["record.json", "recipe.yaml"],
        "together": ["record.json", "predictions.npz"],
        "explained": [".seedwise"],
    }.items():
        (tmp_path / "d" / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / "d" / folder / name).touch()
    (tmp_path / "d/explained/cat.png").write_bytes(content("x.png", 7))
    contents = source.read()
    assert counts(contents) == {"train": {"cat": 2, "dog": 2}}
    (ours,) = contents.survey.passed_over
    assert (ours.kind, ours.reason) == ("folders", "seedwise's output") and ours.count >= 4


def test_the_cache_inside_the_data_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = next(each for each in UNDERSTOOD if each.title == "Class folders")
    on_disk(layout, tmp_path / "d")
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "d/cache"))
    for _ in range(2):
        assert open_data(str(tmp_path / "d"), DataConfig(), short_side=8).classes == ("cat", "dog")


def test_a_pipe_among_other_files_is_not_opened(tmp_path: Path) -> None:
    layout = next(each for each in UNDERSTOOD if each.title == "Class folders")
    source = on_disk(layout, tmp_path / "d")
    os.mkfifo(tmp_path / "d/cat/pipe")
    (tmp_path / "d/cat/nowhere").symlink_to("gone")
    assert counts(source.read()) == {"train": {"cat": 2, "dog": 2}}


def test_folders_nested_too_deeply_are_one_line(tmp_path: Path) -> None:
    deep = tmp_path / "d" / "/".join("x" * 150)
    deep.mkdir(parents=True)
    with pytest.raises(UserError, match="lies 100 folders deep"):
        FolderSource("d", tmp_path / "d", DataConfig()).read()


def test_what_lies_beside_the_images_is_told_anew_at_every_start(tmp_path: Path) -> None:
    layout = next(each for each in UNDERSTOOD if each.title == "Class folders")
    on_disk(layout, tmp_path / "d")
    config = DataConfig(val=0, test=0)
    assert open_data(str(tmp_path / "d"), config, short_side=8).survey.passed_over == ()
    (tmp_path / "d/cat/film.mp4").touch()
    (again,) = open_data(str(tmp_path / "d"), config, short_side=8).survey.passed_over
    assert (again.reason, again.count, again.examples) == (".mp4", 1, ("cat/film.mp4",))
