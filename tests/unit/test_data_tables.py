"""Each table of tables.py: what it is read as, or how it is refused."""

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tables import REFUSED, UNDERSTOOD, Table

from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig
from seedwise.data.csvfile import CsvSource
from seedwise.data.find import find_source
from seedwise.data.parquet import ParquetSource


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write(table: Table, root: Path) -> Path:
    """A table with its images; what is given as DATA."""
    for number, name in enumerate(table.images):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(number))
    for number, (name, content) in enumerate(table.files.items()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            (root / name).write_text(content)
        else:
            images = [png(100 * number + row) for row in range(len(content))]
            pq.write_table(pa.table({"image": images, "label": list(content)}), root / name)
    return root / table.data


def made(table: Table, root: Path) -> CsvSource | ParquetSource:
    return find_source(str(write(table, root)), None, DataConfig(**table.options))


def test_the_page_is_made_of_these() -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, str(root / "benchmarks" / "data_page.py"), "-o", "-"]
    made = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8").stdout
    assert made == (root / "docs" / "data.md").read_text(encoding="utf-8"), (
        "give `python benchmarks/data_page.py` again"
    )


@pytest.mark.parametrize("table", UNDERSTOOD, ids=lambda table: table.title[:40])
def test_what_is_understood(table: Table, tmp_path: Path) -> None:
    contents = made(table, tmp_path).read()
    found = {
        part: {contents.classes[label]: int((its.labels == label).sum()) for label in np.unique(its.labels)}
        for part, its in contents.parts.items()
    }
    assert found == table.parts
    doubts = "\n".join(contents.survey.doubts)
    assert re.search(re.escape(table.doubt), doubts) if table.doubt else not doubts, doubts
    passed = {(each.kind, each.reason, each.count) for each in contents.survey.passed_over}
    assert set(table.passed_over) <= passed
    for part, its in contents.parts.items():  # as many images as labels, each to be had
        assert len(list(its.images())) == sum(table.parts[part].values())


@pytest.mark.parametrize("table", REFUSED, ids=lambda table: table.title)
def test_what_is_refused(table: Table, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=table.refused) as caught:
        source = made(table, tmp_path)
        source.stamp()
        source.read()
    assert "\n" not in str(caught.value)
