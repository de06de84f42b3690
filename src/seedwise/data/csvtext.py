"""Parses the text of a CSV or TSV: encoding, delimiter, header and lines."""

import codecs
import csv
import io
import re
from pathlib import Path
from typing import NamedTuple

from seedwise.base.errors import UserError
from seedwise.data.describe import counted

DELIMITERS = ",;\t|"

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16's mark, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Lines(NamedTuple):
    """Column names, and the other lines as (line number, fields), all of one length."""

    names: list[str]
    lines: list[tuple[int, list[str]]]


def read_lines(path: Path) -> Lines:
    """Parse the table in a file; strips fields and drops empty lines. A UserError names the line that doesn't fit."""
    text = _text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = _delimiter(first, path)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        lines = [(reader.line_num, [field.strip() for field in line]) for line in reader]
    except csv.Error as error:
        raise UserError(f"{path}: not a readable CSV ({error}): mend or replace it") from error
    lines = [(number, line) for number, line in lines if any(line)]
    if lines and re.fullmatch(r"(?i)sep=.?", delimiter.join(lines[0][1]).strip()):  # Excel's word on the delimiter
        del lines[0]
    if len(lines) < 2:
        raise UserError(f"{path}: no lines below the header: add a line an image")
    number, names = lines[0]
    while names and not names[-1]:
        names.pop()
    width = len(names)
    for each, line in lines:
        if len(line) > width and not any(line[width:]):
            del line[width:]
        if len(line) != width:
            raise UserError(f"{path}:{each}: {counted(len(line), 'fields')}, but the header has {width}: mend it")
    named = [name for name in names if name]
    if len(set(named)) < len(named):
        raise UserError(f"{path}:{number}: two columns have the same name: rename one of {', '.join(named)}")
    return Lines(names, lines[1:])


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: not a readable CSV ({error.strerror}): mend or replace it") from error
    mark, encoding = next(((mark, name) for mark, name in _MARKS if raw.startswith(mark)), (b"", "utf-8"))
    if not mark and len(raw) > 3:
        even, odd = raw[:200:2], raw[1:200:2]
        if odd.count(0) > len(odd) // 2:
            encoding = "utf-16-le"
        elif even.count(0) > len(even) // 2:
            encoding = "utf-16-be"
    try:
        return raw[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        start = len(mark) + error.start
        line = raw[:start].count(b"\n") + 1
        called = encoding.upper().removesuffix("-LE").removesuffix("-BE")
        raise UserError(f"{path}:{line}: not {called} text at byte {start}: save it as UTF-8") from error


def _delimiter(first: str, path: Path) -> str:
    """The character that separates most fields of the first line, outside of quotes; a tab in a TSV that has one."""
    if named := re.fullmatch(r"(?i)sep=(.)", first.strip("\r\n")):
        return named[1]
    unquoted = re.sub(r'"[^"]*"', "", first)
    if path.suffix.lower() == ".tsv" and "\t" in unquoted:
        return "\t"
    return max(DELIMITERS, key=unquoted.count)
