import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig
from seedwise.data.dataset import Dataset
from seedwise.data.open import open_data

ALL = DataConfig(val=0, test=0)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SEEDWISE_DATA", raising=False)


def save(file: Path, shape: tuple[int, int] = (8, 8), seed: int = 0) -> np.ndarray:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    Image.fromarray(pixels).save(file)
    return pixels


def in_order(data: Dataset, files: list[str], originals: dict[str, np.ndarray]) -> np.ndarray:
    """Positions of these files: rows stand by class, then by the sha256 of the height, the width and the pixels."""

    def key(file: str) -> tuple[str, bytes]:
        height, width, _ = originals[file].shape
        return file.split("/")[0], hashlib.sha256(f"{height} {width}\0".encode() + originals[file].tobytes()).digest()

    ordered = sorted(files, key=key)
    return np.array([ordered.index(file) for file in files])


def opened(root: Path, config: DataConfig = ALL, short_side: int = 64) -> Dataset:
    return open_data(str(root), config, short_side=short_side)


def test_class_folders_are_split(tmp_path: Path) -> None:
    root = tmp_path / "pets"
    for index, name in enumerate(["dog", "cat", "eel"]):
        for number in range(20):
            save(root / name / f"{number:02}.png", seed=100 * index + number)
    pets = opened(root, DataConfig())
    assert pets.name == "pets" and pets.classes == ("cat", "dog", "eel") and pets.path == root
    assert pets.splits == {"train": 43, "val": 5, "test": 12}
    ids = np.concatenate([pets.train.ids, pets.val.ids, pets.test.ids])
    assert np.array_equal(np.sort(ids), np.arange(60)) and pets.test.rows_in_part == 60
    assert np.bincount(pets.test.targets).tolist() == [4, 4, 4]
    for split in (pets.train, pets.val, pets.test):
        images = split.gather(np.arange(len(split)))[0].transpose(0, 2, 3, 1)  # type: ignore[arg-type]
        for pixels, target, row in zip(images, split.targets, split.ids, strict=True):
            assert row // 20 == target  # rows stand by class
            files = (root / pets.classes[target]).glob("*.png")
            assert any(np.array_equal(pixels, np.asarray(Image.open(file))) for file in files)


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val"])
def test_parts_of_its_own(tmp_path: Path, validation: str) -> None:
    for name in ("a", "b", "c"):
        for number in range(3):
            save(tmp_path / "d/train" / name / f"{number}.png")
    save(tmp_path / "d" / validation / "c" / "1.png")  # a and b are missing: c is still class 2
    save(tmp_path / "d/test/b/1.png")
    (tmp_path / "d/test/empty").mkdir()
    data = opened(tmp_path / "d", DataConfig())
    assert data.splits == {"train": 9, "val": 1, "test": 1}
    assert data.val.targets.tolist() == [2] and data.test.targets.tolist() == [1]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("train", "plane"):
        save(tmp_path / "d" / name / "1.png")
    assert opened(tmp_path / "d").classes == ("plane", "train")


def test_only_images_count_and_folders_nest(tmp_path: Path) -> None:
    root = tmp_path / "d"
    for file in (
        "a/1.png",
        "a/deep/er/2.PNG",
        "a/.hidden.png",
        "b/1.jpeg",
        "b/.git/2.png",
        ".git/1.png",
        "__MACOSX/1.png",
    ):
        save(root / file)
    (root / "a/notes.txt").write_text("no image")
    (root / "a/Thumbs.db").write_bytes(b"no image")
    save(root / "loose.png")
    data = opened(root)
    assert data.classes == ("a", "b") and data.train.targets.tolist() == [0, 0, 1]


def test_linked_class_folders_are_followed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / "elsewhere" / name / "1.png")
    (tmp_path / "d").mkdir()
    for name in ("a", "b"):
        (tmp_path / "d" / name).symlink_to(tmp_path / "elsewhere" / name)
    (tmp_path / "elsewhere/a/loop").symlink_to(tmp_path / "elsewhere/a")
    assert opened(tmp_path / "d").train.targets.tolist() == [0, 1]


def test_odd_names(tmp_path: Path) -> None:
    for name in ('it\'s "odd"', "한글 class", "café" * 20):
        save(tmp_path / "a d" / name / "x y'z.png")
    assert opened(tmp_path / "a d").classes == tuple(sorted(('it\'s "odd"', "한글 class", "café" * 20)))
    for missing in ("nowhere", "x" * 5000, "null\0byte"):
        with pytest.raises(UserError, match="no such data"):
            opened(tmp_path / missing)


def test_photos_share_a_short_side(tmp_path: Path) -> None:
    shapes = {"a/1.png": (60, 90), "a/2.png": (120, 80), "b/1.png": (40, 50), "b/2.png": (30, 100)}
    originals = {file: save(tmp_path / "d" / file, shape, seed) for seed, (file, shape) in enumerate(shapes.items())}
    data = opened(tmp_path / "d", short_side=48)
    images, sizes = data.train.gather(in_order(data, list(shapes), originals)[[3, 0, 1, 2]])
    # 30 x 100 grows to 48 x 160 and is cut to 48 x 96; smaller ones grow to the common short side
    assert sizes.dtype == np.int64 and sizes.tolist() == [[48, 96], [48, 72], [72, 48], [48, 60]]
    assert images.shape == (4, 3, 72, 96) and data.train.images.size is None and data.summary()["image_size"] is None
    for image, (height, width), file in zip(images, sizes, ["b/2.png", "a/1.png", "a/2.png", "b/1.png"], strict=True):
        whole = 160 if file == "b/2.png" else width
        resized = np.asarray(Image.fromarray(originals[file]).resize((whole, height), Image.Resampling.BICUBIC))
        left = (whole - width) // 2
        assert np.array_equal(image[:, :height, :width].transpose(1, 2, 0), resized[:, left : left + width])
        assert not image[:, height:].any() and not image[:, :, width:].any()
    alone, alone_size = data.train.gather(in_order(data, list(shapes), originals)[[1]])
    assert alone.shape == (1, 3, 72, 48) and alone_size.tolist() == [[72, 48]]


def test_the_largest_short_side_bounds_what_is_stored(tmp_path: Path) -> None:
    for file, shape in {"a/1.png": (20, 30), "b/1.png": (16, 16)}.items():
        save(tmp_path / "d" / file, shape)
    assert opened(tmp_path / "d", short_side=224).train.gather(np.arange(2))[1].tolist() == [[20, 30], [20, 20]]


def test_whole_numbers_are_classes_by_value(tmp_path: Path) -> None:
    for name in ("10", "9", "007"):
        save(tmp_path / "d" / name / "1.png")
    assert opened(tmp_path / "d").classes == ("007", "9", "10")
    save(tmp_path / "d" / "9a" / "1.png")
    assert opened(tmp_path / "d").classes == ("007", "10", "9", "9a")


def test_one_common_size_is_kept_unless_too_large(tmp_path: Path) -> None:
    pixels = [save(tmp_path / "d" / name / "1.png", (10, 35), seed) for seed, name in enumerate("ab")]
    images, sizes = opened(tmp_path / "d", short_side=10).train.gather(np.arange(2))
    assert sizes is None and np.array_equal(images.transpose(0, 2, 3, 1), pixels)
    assert opened(tmp_path / "d", short_side=5).train.gather(np.arange(2))[0].shape == (2, 3, 5, 9)


def test_square_photos_of_several_sizes_become_uniform(tmp_path: Path) -> None:
    for file, side in {"a/1.png": 20, "a/2.png": 33, "b/1.png": 48}.items():
        save(tmp_path / "d" / file, (side, side))
    images, sizes = opened(tmp_path / "d", short_side=24).train.gather(np.array([2, 0]))
    assert images.shape == (2, 3, 24, 24) and sizes is None


def touch(root: Path, *files: str) -> None:
    for file in files:
        save(root / file)


CASES = {
    "empty": (lambda d: None, "no images in class folders"),
    "only loose images": (lambda d: touch(d, "1.png", "2.png"), "no images in class folders"),
    "one class": (lambda d: touch(d, "a/1.png"), "only the class 'a'"),
    "class without images": (
        lambda d: [touch(d, "a/1.png", "b/1.png"), (d / "c").mkdir()],
        "/c: this class has no images",
    ),
    "class only in val": (
        lambda d: touch(d, "train/a/1.png", "train/b/1.png", "val/c/1.png"),
        "class 'c' is not in train/",
    ),
    "empty val": (
        lambda d: [touch(d, "train/a/1.png", "train/b/1.png"), (d / "val").mkdir()],
        "val: no images in class",
    ),
    "dangling link": (
        lambda d: [touch(d, "a/1.png", "b/1.png"), (d / "b/2.png").symlink_to("nowhere.png")],
        r"/b/2\.png: cannot be read",
    ),
    "two validation folders": (
        lambda d: touch(d, "train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/1.png"),
        "val/ and valid/ both look like the validation part",
    ),
    "pipe": (lambda d: [touch(d, "a/1.png", "b/1.png"), os.mkfifo(d / "b/2.png")], r"/b/2\.png: not an ordinary file"),
    "no byte": (
        lambda d: [touch(d, "a/1.png", "b/1.png"), (d / "b/2.jpg").touch()],
        r"/b/2\.jpg: not a readable image \(it is empty\)",
    ),
    "line break in a name": (
        lambda d: [touch(d, "a/1.png", "b/1.png"), (d / "b/2\n.jpg").touch()],
        r"/b/2\\n\.jpg: not a readable image",
    ),
    "broken image": (
        lambda d: [touch(d, "a/1.png", "b/1.png"), (d / "b/2.jpg").write_bytes(b"broken\n")],
        r"/b/2\.jpg: not a readable image",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_folders_are_one_line(tmp_path: Path, case: str) -> None:
    make, message = CASES[case]
    (tmp_path / "d").mkdir()
    make(tmp_path / "d")
    with pytest.raises(UserError, match=message) as caught:
        opened(tmp_path / "d", DataConfig())
    assert "\n" not in str(caught.value)


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    save(tmp_path / "it.png")
    with pytest.raises(UserError, match="is a file of no known kind"):
        opened(tmp_path / "it.png")


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    """A class is named as text with its odd bytes spelled out; a root of such a name is refused, for runs note it."""
    for name in (os.fsdecode(b"caf\xe9"), "tea"):
        save(tmp_path / "it.png")
        (tmp_path / "d" / name).mkdir(parents=True)
        (tmp_path / "it.png").rename(tmp_path / "d" / name / os.fsdecode(b"\xff \xfe.png"))
    data = opened(tmp_path / "d")
    assert data.classes == ("caf\\xe9", "tea") and len(data.train) == 2
    odd = (tmp_path / "d").rename(tmp_path / os.fsdecode(b"\xe9"))
    with pytest.raises(UserError, match=r"xe9: a path of data must be UTF-8") as caught:
        opened(odd)
    str(caught.value).encode()


def test_a_folder_named_like_an_image_is_a_folder(tmp_path: Path) -> None:
    for file in ("a/x.png/1.png", "b/1.png", "b/y.jpg/deep.jpg/2.png"):
        save(tmp_path / "d" / file)
    assert opened(tmp_path / "d").train.targets.tolist() == [0, 1, 1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_one_line(tmp_path: Path) -> None:
    touch(tmp_path / "d", "a/1.png", "b/1.png")
    (tmp_path / "d/b/1.png").chmod(0)
    with pytest.raises(UserError, match=r"b/1\.png: cannot be read \(Permission denied\): check its permissions"):
        opened(tmp_path / "d")
    (tmp_path / "d/b").chmod(0)
    with pytest.raises(UserError, match="cannot be listed"):
        opened(tmp_path / "d")
    (tmp_path / "d/b").chmod(0o700)
