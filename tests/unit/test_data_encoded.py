"""Images that stay encoded have the same rows and pixels as decoded ones; what goes wrong on the way is said."""

import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from image_sources import CLASSES, WRITERS, add_member, encoded_images, jpeg, write_folder, write_shards
from seedwise.base.errors import UserError
from seedwise.data import planning, prefetch
from seedwise.data.config import DataConfig, Order, Storage
from seedwise.data.dataset import Dataset, Subset
from seedwise.data.encoded import EncodedImages
from seedwise.data.open import open_data

SIDE = 24


@pytest.fixture(scope="module")
def images() -> dict[str, bytes]:
    return encoded_images()


def _open(path: Path, storage: Storage | str, order: Order | str, **options: object) -> Dataset:
    config = DataConfig.model_validate({"storage": storage, "order": order, "workers": 2, **options})
    return open_data(str(path), config, short_side=SIDE)


def _all(dataset: Dataset, *, ahead: bool) -> list[NDArray[Any]]:
    found: list[NDArray[Any]] = []
    for part in (dataset.train, dataset.val, dataset.test):
        assert part is not None
        order = np.random.default_rng(1).permutation(len(part))
        if ahead:
            part.expect(order)
        for positions in np.array_split(order, 3):
            pixels, sizes = part.gather(positions)
            found += [part.ids, part.targets, pixels, sizes if sizes is not None else np.array(pixels.shape)]
    return found


def _alike(a: Subset, b: Subset, positions: NDArray[np.int64]) -> None:
    np.testing.assert_array_equal(a.gather(positions)[0], b.gather(positions)[0])


@pytest.mark.parametrize("kind", WRITERS)
def test_every_source_has_the_same_rows_and_pixels_in_both_storages(
    kind: str, images: dict[str, bytes], tmp_path: Path
) -> None:
    path = WRITERS[kind](tmp_path, images)
    for order in ("content", "listing"):
        decoded, encoded = _open(path, "decoded", order), _open(path, "encoded", order)
        assert (decoded.storage, encoded.storage) == ("decoded", "encoded")
        assert decoded.classes == CLASSES
        assert decoded.fingerprint == encoded.fingerprint
        for ahead in (True, False):
            for a, b in zip(_all(decoded, ahead=ahead), _all(encoded, ahead=ahead), strict=True):
                np.testing.assert_array_equal(a, b)


def test_images_of_one_size_stay_as_they_are(tmp_path: Path) -> None:
    path = write_folder(tmp_path, {f"{CLASSES[i % 2]}/{i}.jpg": jpeg(i, (60, 20)) for i in range(12)})
    for order in ("content", "listing"):
        pixels, sizes = _open(path, "encoded", order, val=0, test=0).train.gather(np.arange(2))
        assert pixels.shape == (2, 3, 20, 60)
        assert (sizes is None) == (order == "content")


def test_a_folder_and_archives_of_it_have_one_listing(images: dict[str, bytes], tmp_path: Path) -> None:
    prints = {
        _open(WRITERS[kind](tmp_path, images), "encoded", "listing").fingerprint
        for kind in ("folder", "stored zip", "deflated zip", "tar", "tar.gz")
    }
    assert len(prints) == 1


def test_images_in_another_order_than_told_and_told_anew(images: dict[str, bytes], tmp_path: Path) -> None:
    path = write_folder(tmp_path, images)
    decoded, encoded = (_open(path, kind, "content", val=0, test=0).train for kind in ("decoded", "encoded"))
    encoded.expect(np.arange(36))
    for positions in ([35, 3, 3, 0], [7], list(range(20))):
        _alike(decoded, encoded, np.array(positions))
    encoded.expect(np.array([5, 5, 4]))
    _alike(decoded, encoded, np.array([5, 4, 5]))


def test_more_images_than_slots(images: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "MEMORY", 1)
    path = write_folder(tmp_path, images)
    decoded, encoded = (_open(path, kind, "content", val=0, test=0).train for kind in ("decoded", "encoded"))
    every = np.tile(np.arange(36), 4)
    encoded.expect(every)
    _alike(decoded, encoded, every)


@pytest.mark.parametrize("ahead", [True, False])
def test_a_damaged_image_is_named_in_its_turn(ahead: bool, images: dict[str, bytes], tmp_path: Path) -> None:
    path = write_folder(tmp_path, images)
    train = _open(path, "encoded", "listing", val=0, test=0).train
    (path / "ant/04.jpg").write_bytes(b"no image")
    if ahead:
        train.expect(np.arange(36))
    with pytest.raises(UserError, match=r"ant/04\.jpg: not a readable image .*skip_damaged"):
        train.gather(np.arange(36))


def test_damaged_images_are_left_out_alike(images: dict[str, bytes], tmp_path: Path) -> None:
    path = write_folder(tmp_path, images | {"ant/00.jpg": b"", "bee/17.jpg": b"no image"})
    decoded, encoded = (_open(path, kind, "auto", skip_damaged=True) for kind in ("decoded", "encoded"))
    assert sum(decoded.splits.values()) == 34
    for a, b in zip(_all(decoded, ahead=False), _all(encoded, ahead=True), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_process_that_is_killed_is_said(images: dict[str, bytes], tmp_path: Path) -> None:
    train = _open(write_folder(tmp_path, images), "encoded", "content", val=0, test=0).train
    train.expect(np.tile(np.arange(36), 50))
    assert isinstance(train.images, EncodedImages)
    ahead = train.images._decoding._prefetch
    assert ahead is not None
    for worker in ahead._workers:
        worker.kill()
    with pytest.raises(UserError, match=r"ended early.*data\.workers=1"):
        train.gather(np.tile(np.arange(36), 50))
    assert all(worker.poll() is not None for worker in ahead._workers)


def test_nothing_is_left_behind(images: dict[str, bytes], tmp_path: Path) -> None:
    train = _open(write_folder(tmp_path, images), "encoded", "content", val=0, test=0).train
    train.expect(np.arange(36))
    assert isinstance(train.images, EncodedImages)
    ahead = train.images._decoding._prefetch
    assert ahead is not None
    if os.name == "posix":
        assert not ahead._file.exists()  # gone as soon as it is mapped, so that no kill can leave it
    workers = ahead._workers
    ahead.close()
    assert [worker.returncode for worker in workers] == [0, 0]


def test_auto_follows_the_disk_and_the_files(
    images: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_folder(tmp_path, images)
    monkeypatch.setattr(planning, "free_disk", lambda: 10_000)
    small = _open(path, "auto", "auto")
    assert small.storage == "encoded"
    monkeypatch.setattr(planning, "LARGE", sum(map(len, images.values())))
    large = _open(path, "auto", "auto")
    assert large.fingerprint == _open(path, "encoded", "listing").fingerprint != small.fingerprint
    monkeypatch.setattr(planning, "free_disk", lambda: 10**12)
    (path / "ant/99.jpg").write_bytes(jpeg(99, (40, 40)))  # other data, so nothing of them is there already
    assert _open(path, "auto", "auto").storage == "decoded"


def test_pixels_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.storage=encoded"):
        _open(Path("digits"), "encoded", "content")


def test_shards_by_pattern_and_a_missing_label(images: dict[str, bytes], tmp_path: Path) -> None:
    folder = write_shards(tmp_path, images)
    by_pattern = _open(folder / "part-{000000..000001}.tar", "encoded", "listing")
    assert by_pattern.splits == _open(folder, "encoded", "listing").splits
    with tarfile.open(folder / "part-000001.tar", "a") as tar:
        add_member(tar, "alone.jpg", jpeg(1, (30, 30)))
    with pytest.raises(UserError, match=r"part-000001\.tar: alone\.jpg has no label"):
        _open(folder, "encoded", "listing")


def test_jpeg_scaling_keeps_twice_the_side(tmp_path: Path) -> None:
    path = write_folder(tmp_path, {f"{CLASSES[i % 2]}/{i}.jpg": jpeg(i, (400, 400)) for i in range(12)})
    scaled, whole = (_open(path, "encoded", order, val=0, test=0).train for order in ("listing", "content"))
    by_name = {name: row for row, name in enumerate(whole.files.tolist())}  # type: ignore[union-attr]
    rows = np.array([by_name[name] for name in scaled.files.tolist()])  # type: ignore[union-attr]
    a, b = scaled.gather(np.arange(12))[0], whole.gather(rows)[0]
    assert 0 < np.abs(a.astype(int) - b.astype(int)).mean() < 2
