"""Names go to any terminal and any pipe: what its encoding lacks is escaped, and nothing ends in the middle."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import call, command
from PIL import Image
from rich.console import Console

from seedwise.cli import _show_any_name
from seedwise.cli.live import Live

Said = Callable[..., tuple[int, bytes, bytes]]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    """`seedwise …` on streams of an encoding: exit code, and the bytes on stdout and stderr."""

    def run(encoding: str, *arguments: object, errors: str = "strict") -> tuple[int, bytes, bytes]:
        out, err = io.BytesIO(), io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding, errors, write_through=True))
            patch.setattr(sys, "stderr", io.TextIOWrapper(err, encoding, "backslashreplace", write_through=True))
            code = call(*arguments)
            return code, out.getvalue(), err.getvalue()

    return run


@pytest.fixture(scope="module")
def trained(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on classes named in French and Korean; the data stand beside it."""
    root, random = tmp_path_factory.mktemp("names"), np.random.default_rng(0)
    for name in ("été", "강아지"):
        (root / "d" / name).mkdir(parents=True)
        for number in range(8):
            pixels = random.integers(0, 255, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(root / "d" / name / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEDWISE_CACHE", str(cache))
        small = ("-m", "small", "--img-size", 16, "--epochs", 1, "-b", 8, "--threads", 1, "-s", "train.insight=false")
        assert call("train", root / "d", *small, "-o", root / "run") == 0
    return root


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp949"])
def test_verbs_say_names_in_any_encoding(said: Said, trained: Path, encoding: str) -> None:
    code, out, err = said(encoding, "predict", trained / "run", trained / "d" / "été" / "0.png")
    assert (code, err) == (0, b"")
    text = out.decode(encoding)
    for name in ("été", "강아지"):
        assert json.loads(f'"{text.strip()}"'.replace("\t", " ")).count(name) >= 1, text
    code, out, err = said(encoding, "evaluate", trained / "run")
    assert code == 0 and b"worst classes" in out
    code, out, err = said(encoding, "evaluate", trained / "run", "--json")
    assert {each["name"] for each in json.loads(out.decode(encoding))["classes"]} == {"été", "강아지"}


def test_stderr_and_help_too(said: Said) -> None:
    code, out, err = said("ascii", "predict", "né", "x.png")
    assert (code, out) == (2, b"") and b"n\\xe9" in err and b"Traceback" not in err
    assert said("ascii", "train", "--help")[0] == 0


def test_seedwise_alone_shows_its_help_and_groups_alone_list_on_lines_of_their_own(said: Said) -> None:
    code, out, err = said("utf-8")
    assert (code, out) == (2, b"") and b"\\n" not in err
    assert b"\nCommands:\n" in err and b"see `" not in err
    for words in (("recipes",), ("techniques",), ("cache",)):
        code, out, err = said("utf-8", *words)
        assert (code, err) == (0, b"") and out.count(b"\n") >= 1 and b"\\n" not in out


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", b"\xc3\xa9 \xe9\xff \\ud800 \xf0\x9f\x90\xb6"),
        ("ascii", b"\\u00e9 \xe9\xff \\ud800 \\ud83d\\udc36"),
        ("latin-1", b"\xe9 \xe9\xff \\ud800 \\ud83d\\udc36"),
    ],
)
def test_bytes_that_are_no_text_stay_bytes_and_all_else_is_escaped_as_in_json(
    encoding: str, expected: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding, write_through=True))
    _show_any_name()
    print("é \udce9\udcff \ud800 🐶", end="")
    assert out.getvalue() == expected


def test_a_way_that_was_asked_for_is_kept(said: Said, trained: Path) -> None:
    code, out, _ = said("ascii", "evaluate", trained / "run", errors="replace")
    assert code == 0 and b"?t?" in out


def test_the_live_progress_too(monkeypatch: pytest.MonkeyPatch) -> None:
    err = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(err, "ascii", write_through=True))
    _show_any_name()
    with Live(Console(stderr=True, force_terminal=True, highlight=False)) as shown:
        shown.on_phase("reading été", 1, 2)
    assert b"reading \\xe9t\\xe9" in err.getvalue()


@pytest.mark.slow
def test_a_locale_without_utf_8_changes_no_file(trained: Path) -> None:
    plain = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    Path("r.yaml").write_text('name: "été"\nmodel: {name: small}\ntrain: {epochs: 1, image_size: 16}\n', "utf-8")
    arguments = command("train", trained / "d", "-r", "r.yaml", "-s", "compute.threads=1", "-o", "run")
    done = subprocess.run(arguments, env={**os.environ, **plain}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("recipe.yaml", "record.json", "config.json", "train.log", "report.html"):
        content = Path("run", name).read_bytes().decode("utf-8")
        assert "été" in content or name == "train.log"
