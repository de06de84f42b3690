"""docs/statistics.md: its Python prints what stands below it, and it names every number of a comparison."""

import contextlib
import dataclasses
import io
import re
from pathlib import Path

import pytest

from seedwise.stats import Comparison

TEXT = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", TEXT, re.DOTALL)


def test_the_examples_print_what_the_page_shows() -> None:
    assert len(EXAMPLES) >= 2
    names: dict[str, object] = {}
    for code, shown in EXAMPLES:  # one after another, as a reader would
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        assert printed.getvalue() == shown


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Comparison)])
def test_every_number_is_explained(field: str) -> None:
    assert f"`{field}`" in TEXT
