"""Finds gaps in numbered files (half a data set), and copies such as `train (1)` beside `train`.

Half a training set is another training set, so what is surely incomplete is refused and what may be so is a doubt.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from seedwise.base.errors import UserError
from seedwise.data.labels import some

_TAIL = re.compile(
    r"([-_.]c\d{3})?([-.](snappy|gz|gzip|zstd|lz4|lz4raw|brotli|uncompressed))*$"
    r"|[-_](?=[0-9a-f]*[a-f])[0-9a-f]{6,}(-[0-9a-f]{4,})*(?=([-_.]c\d{3})?([-.][a-z0-9]+)*$)",
    re.IGNORECASE,
)
"""Suffixes that programs add to a numbered name: a hash, a UUID, the compression."""
_COPY = re.compile(r"(?P<name>.+?)( ?\(\d+\)| - copy( \(\d+\))?| copy( \d+)?)", re.IGNORECASE)
"""Names that browsers and file managers give to a second download or a copy."""
_MOST = 100_000
"""Least number without leading zeros that is taken for a date or time."""
_YEARS = 1000
"""Limit of a first number: one from 2 up to it may mean that earlier ones are missing."""


def demand_all(folder: Path, files: Iterable[Path]) -> list[str]:
    """Doubts about files of a folder whose numbers do not begin at 0 or 1; a UserError when some are surely missing."""
    listed, doubts = list(files), []
    _demand_no_copies(listed)
    groups: dict[str, dict[int, str]] = {}
    for file in listed:
        for pattern, digits in _numbered(file.relative_to(folder)):
            groups.setdefault(pattern, {})[int(digits)] = digits
    for pattern, written in groups.items():
        numbers, is_padded = sorted(written), any(re.match(r"0\d", digits) for digits in written.values())
        low, high = numbers[0], numbers[-1]
        if (len(numbers) == 1 and not (is_padded and low > 1)) or (high >= _MOST and not is_padded):
            continue
        lacking = sorted(set(range(low, high + 1)) - set(numbers)) if high - low < _MOST else [low + 1]
        if lacking and (is_padded or low <= 1):
            raise UserError(
                f"{folder / pattern}: numbered {low} to {high}, but {some(map(str, lacking))} "
                f"{'is' if len(lacking) == 1 else 'are'} not there: copy all of them, or name them without a gap"
            )
        if lacking:
            doubts.append(f"{pattern}: numbered {low} to {high}, without {some(map(str, lacking))}")
        elif 1 < low < _YEARS:
            doubts.append(f"{pattern}: the first number is {low}: are earlier files missing?")
    return doubts


def beside(file: Path, files: Iterable[Path]) -> list[str]:
    """Names of other files that differ from this one only in a number."""
    own = {pattern for pattern, _ in _numbered(file)}
    return [it.name for it in files if it != file and any(pattern in own for pattern, _ in _numbered(it))]


def _numbered(file: Path) -> Iterator[tuple[str, str]]:
    """Each number in a file's name, with the pattern that files share which differ only in this number."""
    stem = _TAIL.sub("", file.stem)
    tail = "" if stem == file.stem else "*"
    for match in re.finditer(r"\d+", stem):
        yield str(file.with_name(f"{stem[: match.start()]}*{stem[match.end() :]}{tail}{file.suffix}")), match[0]


def _demand_no_copies(files: list[Path]) -> None:
    known = {file.with_suffix("") for file in files}
    for file in files:
        if (match := _COPY.fullmatch(file.stem)) and (original := file.with_name(match["name"])) in known:
            raise UserError(
                f"{file}: looks like a copy of {original.name}{file.suffix} beside it: remove it, "
                "or rename it if it holds other images"
            )
