"""`predict` says of tables, archives and named data what it takes instead, and who takes them."""

from pathlib import Path

import pytest
from PIL import Image

from seedwise.inference.predict import Unreadable, _read, find_images

SCORED = "to score it by its labels give it to `seedwise evaluate RUN --data`"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("t.parquet", "is a table, and predict takes images and folders of images: write its images to files; "),
        ("t.CSV", "is a table, and predict takes images and folders of images: write its images to files; "),
        ("t.tar.gz", "is an archive, and predict takes images and folders of images: unpack it; "),
    ],
)
def test_a_file_of_other_data(tmp_path: Path, name: str, said: str) -> None:
    path = str(tmp_path / name)
    assert list(find_images([path])) == [Unreadable(path, f"{path}: no such file or folder")]
    Path(path).write_bytes(b"PAR1 and more")
    assert _read(path, None) == (Unreadable(path, f"{path}: {said}{SCORED}"), [])
    Image.new("RGB", (4, 4)).save(tmp_path / "it.png")
    (tmp_path / "it.png").rename(path)  # what it is called says nothing about an image
    assert not isinstance(_read(path, None)[0], Unreadable)


def test_a_file_of_nothing_known_is_told_as_before(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("text")
    (found, _) = _read(str(tmp_path / "x.txt"), None)
    assert isinstance(found, Unreadable) and found.reason.endswith(
        "(it is in no image format known here): replace or remove it"
    )


def test_named_data_and_a_folder_of_tables(tmp_path: Path) -> None:
    (named,) = find_images(["cifar100"])
    assert isinstance(named, Unreadable) and "is the name of data, and predict takes images" in named.reason
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    *_, folder = find_images([str(tmp_path)])
    assert isinstance(folder, Unreadable)
    assert (
        folder.reason.startswith(f"{tmp_path}: holds no image files; t.parquet is a table") and SCORED in folder.reason
    )
