"""Tables on a terminal: columns stand below each other whatever the script of the names."""

import unicodedata

import pytest

from seedwise.cli.output import print_named, print_table


def columns_before(line: str, word: str) -> int:
    """Terminal columns in front of a word."""
    return sum(2 if unicodedata.east_asian_width(it) in "WF" else 1 for it in line[: line.index(word)])


def test_a_name_of_wide_letters_takes_two_columns_a_letter(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([["arm", "n", "top-1"], ["강아지", "6", "0.9"], ["no-cutmix", "12", "0.8"]], right=(1,))
    head, wide, plain = capsys.readouterr().out.splitlines()
    assert plain == "no-cutmix  12  0.8"
    assert wide == "강아지      6  0.9"
    assert columns_before(head, "top-1") == columns_before(wide, "0.9") == columns_before(plain, "0.8")


def test_rows_may_end_early_and_no_line_ends_in_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([["seed", "base", "x"], ["1", ""], ["22"]], right=(0,))
    assert capsys.readouterr().out == "seed  base  x\n   1\n  22\n"


def test_a_name_stands_beside_the_first_of_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_named([("base", ["one", "two"]), ("x", ["three"])])
    assert capsys.readouterr().out == "base  one\n      two\nx     three\n"
