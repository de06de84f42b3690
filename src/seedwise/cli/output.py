"""Aligned columns, and JSON, on stdout."""

import json
import unicodedata
from collections.abc import Container, Iterable, Sequence
from itertools import zip_longest
from typing import Any


def print_table(rows: Iterable[Sequence[str]], right: Container[int] = ()) -> None:
    """Print rows in columns, each as wide as its widest cell; `right`: indices of those aligned at their right end."""
    rows = list(rows)
    widths = [max(map(_width, column)) for column in zip_longest(*rows, fillvalue="")]
    for row in rows:
        cells = []
        for number, (cell, width) in enumerate(zip(row, widths, strict=False)):
            blanks = " " * (width - _width(cell))
            cells.append(blanks + cell if number in right else cell + blanks)
        print("  ".join(cells).rstrip())


def print_named(lines_of: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Print lines beside the name of what they are about, which stands in the first."""
    print_table((name if not number else "", line) for name, lines in lines_of for number, line in enumerate(lines))


def print_json(content: Any) -> None:
    """Print JSON for people, with letters of any script as they are."""
    print(json.dumps(content, indent=2, ensure_ascii=False))


def _width(text: str) -> int:
    """Terminal columns of a text."""
    return sum(0 if unicodedata.combining(it) else 2 if unicodedata.east_asian_width(it) in "WF" else 1 for it in text)
