"""docs/frontier.md is what its command makes of the records that lie beside it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MADE = """
import sys
from pathlib import Path

import frontier_page

frontier_page.PAGE, frontier_page.PICTURE = Path("page.md"), Path("page.png")
frontier_page.write_page()
"""


def test_the_page_is_made_of_the_stored_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'benchmarks'}:{ROOT / 'src'}")
    subprocess.run([sys.executable, "-c", MADE], cwd=tmp_path, check=True)
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == (ROOT / "docs/frontier.md").read_text(encoding="utf-8")
    assert (tmp_path / "page.png").stat().st_size > 10_000
