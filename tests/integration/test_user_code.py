"""docs/own-code.md does what it says, and what goes wrong in own code is one line."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Cli

from seedwise.records.run import read_record, write_record

DOCUMENT = Path(__file__).parents[2] / "docs" / "own-code.md"
NAMES = ("my_nets", "my_data", "my_aug")


@pytest.fixture(autouse=True)
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The document's files in the current folder, and its command."""
    text = DOCUMENT.read_text()
    for name, code in re.findall(r"```python\n# (\w+)\.py\n(.*?)```", text, re.DOTALL):
        (tmp_path / f"{name}.py").write_text(code)
    assert all((tmp_path / f"{name}.py").exists() for name in NAMES)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    forget()
    (shell,) = re.findall(r"```sh\nseedwise (.*?)\n```", text)
    yield [*shlex.split(shell), "--threads", "1"]
    forget()


def forget() -> None:
    for name in NAMES:
        sys.modules.pop(name, None)


def test_the_documents_example_trains(cli: Cli, command: list[str]) -> None:
    answer = cli(*command)
    assert answer.code == 0, answer.err
    record = read_record(Path("run"))
    assert (record.data.name, record.data.source, record.data.classes) == ("my-data", "my-data", ["dark", "light"])
    assert record.techniques["custom"]["share"] > 0.9
    assert record.versions["model.factory my_nets:build"].startswith("my_nets.py sha256 ")
    assert record.versions["augment.custom my_aug:darken"].startswith("my_aug.py sha256 ")


@pytest.mark.parametrize("file", ["my_nets.py", "my_aug.py"])
def test_changed_code_is_refused_unless_told_to_go_on(cli: Cli, command: list[str], file: str) -> None:
    assert cli(*command).code == 0
    record = read_record(Path("run"))
    record.status = "interrupted"
    write_record(Path("run"), record)
    Path(file).write_text(Path(file).read_text() + "# changed\n")
    forget()
    answer = cli("resume", "run")
    assert answer.code == 2 and file in answer.line and "go on with --elsewhere" in answer.line
    assert cli("resume", "run", "--elsewhere").code == 0
    (moved,) = read_record(Path("run")).machine["moved"]  # type: ignore[misc, str-unpack]
    assert moved.startswith("after epoch 1: ") and file in moved  # type: ignore[operator]


def test_changed_data_is_decoded_anew(cli: Cli, command: list[str]) -> None:
    assert cli(*command).code == 0
    Path("my_data.py").write_text(Path("my_data.py").read_text().replace("+= 100", "+= 101"))
    forget()
    assert cli(*command[:-4], "-o", "second", "--threads", "1").code == 0
    first, second = read_record(Path("run")), read_record(Path("second"))
    assert first.data.fingerprint != second.data.fingerprint


@pytest.mark.parametrize(
    ("file", "code", "said"),
    [
        ("my_data.py", "def load(): return 3", "data.factory my_data:load: returned int; return {"),
        ("my_data.py", "def load(): return {'classes': ['a'], 'train': ([], [])}", "at least two different names"),
        ("my_data.py", "def load(): return {'classes': ['a', 'b'], 'train': ([0], [5])}", "labels from 5 to 5"),
        ("my_data.py", "def load(): return {'classes': ['a', 'b'], 'train': ([0, 1], [0, 1])}", "image 0 is int; give"),
        ("my_data.py", "def load(): 1 / 0", "it raised ZeroDivisionError: division by zero (my_data.py:1)"),
        ("my_data.py", "def laod(): pass", "has no 'load'; did you mean 'laod'?"),
        ("my_aug.py", "def darken(i, d): return i.float()", "augment.custom my_aug:darken: returned float32["),
        ("my_aug.py", "def darken(i, d): return i[1:]", "returned uint8["),
        ("my_aug.py", "def darken(i, d): return None", "returned NoneType; return images uint8["),
        ("my_aug.py", "def darken(i, d): return i[0][9]", "it raised IndexError"),
        ("my_aug.py", "", "has no 'darken'"),
    ],
)
def test_what_is_wrong_is_one_line(cli: Cli, command: list[str], file: str, code: str, said: str) -> None:
    Path(file).write_text(code)
    answer = cli(*command)
    assert answer.code == 2 and said in answer.err.splitlines()[-1]
