"""A clone of a hub repository whose README.md says which file is which split, and how many rows there are."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from test_data_shards import folder, read

from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig
from seedwise.data.find import find_source

TWO = [{"split": "train", "path": "data/foo.parquet"}, {"split": "test", "path": "data/bar.parquet"}]
FILES = ["data/foo.parquet", "data/bar.parquet"]


def clone(root: Path, names: list[str], header: dict[str, Any] | str) -> Path:
    """Files of four rows each beside a card with this header."""
    text = header if isinstance(header, str) else yaml.safe_dump(header)
    (root / "README.md").write_text(f"---\n{text}\n---\n# Zoo\n\n---\n")
    return folder(root, names)


def config(files: dict[str, list[str] | str] | list[dict[str, str]] | str, **more: Any) -> dict[str, Any]:
    return {"configs": [{"config_name": "default", "data_files": files, **more}]}


@pytest.mark.parametrize(("names", "files", "parts"), [
    (FILES, TWO, {"train": 1, "test": 1}),
    (FILES, {"train": ["data/foo*"], "validation": "data/bar.parquet"}, {"train": 1, "val": 1}),
    (FILES, [*TWO[:1], {"split": "unsupervised", "path": "data/b*"}], {"train": 1}),
    (FILES, "data/*.parquet", {"train": 2}),
    (["data/a-0-of-2.parquet", "data/a-1-of-2.parquet", "data/b-0-of-1.parquet"],
     [{"split": "train", "path": "data/a-*"}, {"split": "test", "path": "data/b-*"}], {"train": 2, "test": 1}),
    (["data/train-0-of-1.parquet", "data/test-0-of-1.parquet"],
     [{"split": "train", "path": "data/train-*"}, {"split": "test", "path": "data/test-*"}], {"train": 1, "test": 1}),
])  # fmt: skip
def test_splits_of_files(
    tmp_path: Path,
    names: list[str],
    files: dict[str, list[str] | str] | list[dict[str, str]] | str,
    parts: dict[str, int],
) -> None:
    clone(tmp_path, names, config(files))
    found, passed, doubts = read(tmp_path)
    assert found == parts and not doubts
    assert sum(passed.values()) == passed.get(("files", "split unsupervised"), 0) == len(names) - sum(parts.values())


def test_another_card_is_another_stamp(tmp_path: Path) -> None:
    clone(tmp_path, FILES, config(TWO))
    before = find_source(str(tmp_path), None, DataConfig()).stamp()
    assert find_source(str(clone(tmp_path, [], config(TWO))), None, DataConfig()).stamp() == before
    clone(tmp_path, [], config([{**TWO[0], "split": "test"}, {**TWO[1], "split": "train"}]))
    assert find_source(str(tmp_path), None, DataConfig()).stamp() != before


@pytest.mark.parametrize(("files", "message"), [
    ([*TWO, {"split": "train", "path": "data/foo2.parquet"}],
     r"README\.md: names data/foo2\.parquet for its split train, which is not there: copy all"),
    ([{"split": "train", "path": "data/*"}, TWO[1]], r"README\.md: both splits train and test have bar\.parquet"),
    ([*TWO[:1], {"split": "train", "path": "data/test.parquet"}], "its name says test, and .*README.md says train"),
])  # fmt: skip
def test_what_is_refused(tmp_path: Path, files: list[dict[str, str]], message: str) -> None:
    clone(tmp_path, [*FILES, "data/test.parquet"] if "test.parquet" in str(files) else FILES, config(files))
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_held_out_file_that_is_not_there_is_a_doubt(tmp_path: Path) -> None:
    clone(tmp_path, FILES[:1], config(TWO))
    assert read(tmp_path)[2] == ("README.md names data/bar.parquet for its split test, which is not there",)


@pytest.mark.parametrize(("names", "rows", "doubts"), [
    (["data/train.parquet", "data/test.parquet"], {"train": 4, "test": 4}, ()),
    (["data/train.parquet", "data/test.parquet"], {"train": 50000, "test": 4},
     ("train has 4 rows, and README.md says 50,000 of its split train",)),
    (["data/0000.parquet", "data/0001.parquet"], {"train": 8}, ()),
    (["data/0000.parquet", "data/0001.parquet"], {"train": 4, "validation": 4},
     ("train has 8 rows, and README.md says 4 of its split train",
      "README.md says that there is a split validation (4 rows), but no file is called so")),
])  # fmt: skip
def test_rows_of_splits(tmp_path: Path, names: list[str], rows: dict[str, int], doubts: tuple[str, ...]) -> None:
    splits = [{"name": name, "num_examples": count, "num_bytes": 1} for name, count in rows.items()]
    clone(tmp_path, names, {"dataset_info": {"splits": splits, "features": []}})
    assert read(tmp_path)[2] == doubts


@pytest.mark.parametrize("header", ["configs: [", "- a", "configs: 3", "configs: [{data_files: [{split: 3}]}]", ""])
def test_a_card_that_says_nothing_is_none(tmp_path: Path, header: str) -> None:
    clone(tmp_path, FILES, header)
    assert read(tmp_path)[0] == {"train": 2}
