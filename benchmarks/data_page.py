"""docs/data.md: every layout of folders and every kind of table that seedwise reads or refuses, from the tests' inputs.

    python benchmarks/data_page.py [-o docs/data.md]

The inputs are tests/unit/layouts.py and tests/unit/tables.py; what is printed below each is what seedwise says of it.
"""

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

INTRODUCTION = """# Data: what is read, and how

Made by `python benchmarks/data_page.py` from the inputs of the tests; below each stands what seedwise says of it, and a
test compares. DATA is a folder, an archive of one (`.zip`, `.tar`, `.tar.gz`, …), a CSV, or a Parquet file or a folder
of them, or WebDataset shards, beside the names `digits`, `cifar10` and `cifar100`. The same images give the same run,
whether from a folder, an archive or a table. Data of 2 GiB and more are begun with before all of them have been looked
at: [large-data.md](large-data.md).

A run says what it trains on before it trains: images, classes, parts (given by the data, or drawn), then what was
passed over and what is doubtful. The same stands in the report and in `record.json` (`data.parts`, `data.passed_over`,
`data.doubts`). `--dry-run` says it without training, and `seedwise audit DATA` looks at every image.

"""

IMAGES = """
## Images

Whatever Pillow opens is an image, whatever its name: `photo.jpg?w=640`, `scan` and `.mpo` too. HEIC needs
`pip install "seedwise[heic]"`, and Parquet `pip install "seedwise[parquet]"`. A file whose name says that it is
an image and that can't be read is an error with its name. Images of more than 8 bits, and of floats, share one scale:
`data.pixel_range`, or, where all images agree on one of [0, 1], [0, 255], [0, 4095] and [0, 65535], that one; it is
printed, recorded, and used by `predict` too.

## Options

Each is `-s data.NAME=VALUE`.

"""


def section(title: str, inputs: str, options: dict[str, object], said: str) -> str:
    """One input with what comes of it."""
    given = "".join(f" -s data.{name}={value}" for name, value in options.items())
    switch = f"\nWith `{given.strip()}`:\n" if given else ""
    return f"### {title}\n\n```\n{inputs}\n```\n{switch}\n```\n{said}\n```\n"


def said_of(make: Callable[[Path], Any], case: Any) -> str:
    """The first lines of a run on it, or the refusal."""
    from seedwise.base.errors import UserError
    from seedwise.data.config import DataConfig
    from seedwise.data.open import open_data

    with tempfile.TemporaryDirectory() as place:
        os.environ["SEEDWISE_CACHE"] = f"{place}/cache"
        root = Path(place) / "DIR"
        root.mkdir()
        given = make(root)
        try:
            # no part is drawn: these inputs are a few images each
            config = DataConfig(**{"val": 0.1 if "val" in case.parts else 0, "test": 0} | case.options)
            lines = open_data(str(given), config, short_side=8).lines()
        except UserError as error:
            lines = [f"refused: {error}"]
        return re.sub(rf"\S*{re.escape(place)}/", "", "\n".join(lines))


def layouts(refused: bool) -> Iterator[str]:
    """Folders."""
    inputs, writer = import_module("layouts"), import_module("test_data_layout")
    for layout in inputs.REFUSED if refused else inputs.UNDERSTOOD:
        if layout.documented:

            def make(root: Path, layout: Any = layout) -> Path:
                writer.on_disk(layout, root)
                return root

            yield section(layout.title, "\n".join(sorted(layout.tree)), layout.options, said_of(make, layout))


def tables(refused: bool) -> Iterator[str]:
    """CSV and Parquet files."""
    inputs, writer = import_module("tables"), import_module("test_data_tables")
    for table in inputs.REFUSED if refused else inputs.UNDERSTOOD:
        shown = []
        for name, content in table.files.items():
            rows = content.strip() if isinstance(content, str) else f"labels {', '.join(map(str, content))}"
            shown.append(f"{name}:\n" + "\n".join(f"    {line}" for line in rows.splitlines()))
        images = [f"images: {' '.join(table.images)}"] if table.images else []

        def make(root: Path, table: Any = table) -> Path:
            return Path(writer.write(table, root))

        yield section(table.title, "\n".join([*shown, *images]), table.options, said_of(make, table))


def options() -> str:
    """Every option of the data."""
    from page import table
    from seedwise.data.config import DataConfig

    rows = [
        [f"`{name}`", f"`{field.default!r}`".replace("None", "null"), " ".join((field.description or "").split())]
        for name, field in DataConfig.model_fields.items()
    ]
    return table(["option", "default", "what"], rows)


def page() -> str:
    """The whole page."""
    parts = [
        INTRODUCTION,
        "## Folders and archives\n",
        *layouts(False),
        "## Folders that are refused\n",
        *layouts(True),
    ]
    parts += ["## Tables\n", *tables(False), "## Tables that are refused\n", *tables(True)]
    return "\n".join(parts) + IMAGES + options()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", default=str(ROOT / "docs" / "data.md"), help="a file, or - for stdout")
    out = parser.parse_args().out
    sys.path[:0] = [str(ROOT / "tests" / "unit"), str(ROOT / "benchmarks")]
    text = page()
    if out == "-":
        sys.stdout.write(text)
    else:
        Path(out).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
