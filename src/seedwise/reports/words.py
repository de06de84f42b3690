"""The texts of a report in the reader's language, and its formats of numbers."""

import re
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

from seedwise.base.errors import UserError
from seedwise.config.yaml12 import read
from seedwise.reports.svg import number, shortened
from seedwise.stats import Scale

LANGUAGES = ("en", "ko")
NARROW = 24
"""Length of a name at the edge of a matrix."""


@cache
def _table(language: str) -> dict[str, str]:
    name = f"{language}.yaml"
    source = files("seedwise.reports").joinpath("text", name).read_text(encoding="utf-8")
    return {str(key): str(value) for key, value in read(source, name).value.items()}


class Words:
    """The strings of `text/<language>.yaml`: `words("run.title", name="demo")`. A missing key is a KeyError."""

    def __init__(self, language: str) -> None:
        if language not in LANGUAGES:
            raise UserError(f"--lang {language}: choose from {', '.join(LANGUAGES)}")
        self.language = language

    def __call__(self, key: str, **values: Any) -> str:
        """The text of a key with values filled in."""
        text = self.table[key]
        return text.format(**values) if values else text

    def known(self, text: str) -> str:
        """Translate the words of a record, which are English: `known.<words>`, where # is a number and * anything;
        unchanged where the table lacks them."""
        for pattern, said in self._known:
            if match := pattern.fullmatch(text):
                return said.format(*(re.sub(r" and (\d+) more\b", r" (+\1)", part) for part in match.groups()))
        return text

    @cached_property
    def _known(self) -> list[tuple[re.Pattern[str], str]]:
        """Patterns of known words, the most specific first."""
        known = {key.removeprefix("known."): said for key, said in self.table.items() if key.startswith("known.")}
        fixed = sorted(known, key=lambda key: (len(key.replace("*", "").replace("#", "")), key), reverse=True)
        parts = {"\\#": r"(\d[\d,]*)", "\\*": "(.*?)"}
        shape = {key: re.sub(r"\\[#*]", lambda it: parts[it[0]], re.escape(key)) for key in fixed}
        return [(re.compile(shape[key], re.DOTALL), known[key]) for key in fixed]

    @property
    def table(self) -> dict[str, str]:
        """All texts by key."""
        return _table(self.language)

    def short(self, name: str) -> str:
        """A name shortened for a narrow place."""
        return shortened(name, NARROW)

    def percent(self, share: float | None, decimals: int = 1) -> str:
        """A fraction in percent, without the sign."""
        return "–" if share is None else number(share * 100, decimals)

    def signed(self, share: float) -> str:
        """A difference of fractions in percentage points, with its sign."""
        return number(share * 100, 2, signed=True)

    def interval(self, interval: tuple[float, float]) -> str:
        """The interval of a difference of fractions, in points; an end that rounds to 0 reads `>0` or `<0`."""
        low, high = (Scale().end(value, 2, interval[0] > 0 or interval[1] < 0) for value in interval)
        return f"[{low}, {high}]"

    def fixed(self, value: float | None, decimals: int = 3) -> str:
        """A number with this many decimals."""
        if value is None:
            return "–"
        return number(value, decimals) if abs(value) < 1e9 else f"{value:.3g}"

    def p(self, value: float | None) -> str:
        """A p-value."""
        return "–" if value is None else "< 0.0001" if value < 0.0001 else f"{value:.4f}"

    def brief(self, value: float) -> str:
        """A number with up to three digits, without needless zeros."""
        return (f"{value:.3g}" if abs(value) < 1e5 else f"{value:.0f}" if value < 1e15 else f"{value:.3g}").replace(
            "-", "−"
        )

    def duration(self, seconds: float) -> str:
        """A wall time in words."""
        if seconds < 60:
            return self("time.seconds", s=f"{seconds:.1f}")
        minutes, rest = divmod(round(min(seconds, 1e15)), 60)
        if minutes < 60:
            return self("time.minutes", m=minutes, s=rest)
        return self("time.hours", h=minutes // 60, m=minutes % 60)
