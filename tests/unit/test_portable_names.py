"""Names that every system takes, and files that somebody else has open for a moment, as Windows has them."""

from pathlib import Path

import pytest

from seedwise.base import files
from seedwise.base.errors import UserError
from seedwise.study.arms import read_study_file
from seedwise.study.grid import _folder_name


@pytest.mark.parametrize("name", ["lr=1e-3", "no cutmix", "강아지", "console", "com", "com10", ".x", "a.b", "nullable"])
def test_names_that_all_take(name: str) -> None:
    assert files.not_portable(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "a:b",
        "a?",
        "a*",
        "<a",
        'a"',
        "a|b",
        "a\\b",
        "a\n",
        "con",
        "CON",
        "nul.txt",
        "aux .b",
        "com1",
        "lpt9.x",
        "a.",
        "a ",
    ],
)
def test_names_that_windows_refuses(name: str) -> None:
    assert files.not_portable(name) is not None


def test_a_sweep_makes_names_that_all_take() -> None:
    for words in (["custom=mod:fn"], ["weights=C:\\nets\\a.pth"], ["x=a?", "y=."]):
        assert files.not_portable(_folder_name(words)) is None


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        ("'a:b': {optim.lr: 0.1}", "Windows has no ':' in names"),
        ("con: {optim.lr: 0.1}", "con is a device on Windows"),
        ("Base: {optim.lr: 0.1}", "differs from base in capitals alone"),
    ],
)
def test_a_study_file_with_such_an_arm_is_refused(arms: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"data: digits\nbase: lite\narms:\n  {arms}\n", encoding="utf-8")
    with pytest.raises(UserError, match=rf"study.yaml:4:3: .*{said}"):
        read_study_file(path)


def test_a_file_that_is_held_for_a_moment_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, refusals = Path.replace, [1, 1]

    def replace(self: Path, target: Path) -> Path:
        if refusals:
            refusals.pop()
            raise PermissionError(13, "a virus scanner reads it")
        return real(self, target)

    monkeypatch.setattr(files, "WINDOWS", True)
    monkeypatch.setattr(Path, "replace", replace)
    files.write_text(tmp_path / "a", "whole")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "whole" and not refusals
