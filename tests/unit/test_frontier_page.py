"""docs/frontier.md is what its command makes of the records that lie beside it."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_page_is_made_of_the_stored_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    page = importlib.import_module("frontier_page")
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(page, "PICTURE", tmp_path / "page.png")
    page.write_page()
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == (ROOT / "docs/frontier.md").read_text(encoding="utf-8")
    assert (tmp_path / "page.png").stat().st_size > 10_000
