"""Files that were written on Windows: a byte order mark, CRLF, backslashes in paths, drives; read the same anywhere."""

from pathlib import Path

import pytest
from command_line import Cli

from image_sources import encoded_images, write_folder
from seedwise.base.files import sha256_of

RECIPE = (
    "train:\n  epochs: 1\n  batch_size: 4\n  image_size: 16\n  insight: false\nmodel:\n  name: small\n  weights: none\n"
)
STUDY = """
data: digits
base: {recipe: demo, set: {data.limit: 60}}
seeds: 2
arms:
  flip: {augment.horizontal_flip: default}
"""


def as_windows(text: str) -> bytes:
    return b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()


@pytest.mark.parametrize("separator", [",", "\t"])
def test_a_table_and_a_recipe(separator: str, cli: Cli, tmp_path: Path) -> None:
    photos = write_folder(tmp_path, encoded_images())
    names = [path.relative_to(photos) for path in sorted(photos.rglob("*.jpg"))]
    table = photos / ("list.csv" if separator == "," else "list.tsv")
    weights = []
    for slash in ("/", "\\"):
        rows = [separator.join([str(name).replace("/", slash), name.parts[0]]) for name in names]
        text = "\n".join([separator.join(["image", "label"]), *rows, ""])
        here = slash == "/"
        table.write_bytes(text.encode() if here else as_windows(text))
        Path("r.yaml").write_bytes(RECIPE.encode() if here else as_windows(RECIPE))
        answer = cli("train", table, "-r", "r.yaml", "--threads", 1, "--seed", 1, "-o", f"run{len(weights)}")
        assert answer.code == 0, answer.err
        weights.append(sha256_of(Path(f"run{len(weights)}") / "model.safetensors"))
    assert weights[0] == weights[1]


def test_a_study(cli: Cli) -> None:
    Path("s.yaml").write_bytes(as_windows(STUDY))
    answer = cli("ablate", "s.yaml", "--dry-run")
    assert answer.code == 0 and "flip" in answer.out, answer.err


@pytest.mark.parametrize("path", ["C:\\photos", "C:photos", "\\\\server\\share\\photos"])
def test_a_drive_that_is_not_here_is_said_in_a_line(path: str, cli: Cli) -> None:
    answer = cli("train", path)
    assert answer.code == 2 and answer.err.startswith(f"{path}: no such data") and answer.err.count("\n") == 1
