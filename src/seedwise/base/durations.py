"""Reads and writes spans of time as people write them."""

import re
from datetime import timedelta

from seedwise.base.errors import UserError

_UNITS = {
    "d": (86400.0, "d|days?"),
    "h": (3600.0, "h|hrs?|hours?"),
    "m": (60.0, "m|mins?|minutes?"),
    "s": (1.0, "s|secs?|seconds?"),
}
_NUMBER = r"\d{1,9}(?:\.\d+)?"
_PARTS = (rf"(?:(?P<{unit}>{_NUMBER})(?:{names}))?" for unit, (_, names) in _UNITS.items())
_SPAN = re.compile("".join(_PARTS), re.ASCII)
_BARE = re.compile(_NUMBER, re.ASCII)

FORMS = "15min, 90s, 2h or 1h30m; a bare number is minutes"
"""Forms of a duration, for help and errors."""


def seconds(text: str) -> float:
    """Convert `15min`, `90s`, `2h`, `1h30m` or `1.5 hours` to seconds; a bare number counts minutes.

    A ValueError says what may be given.
    """
    plain = "".join(text.split()).lower()
    if _BARE.fullmatch(plain):
        return 60 * float(plain)
    match = _SPAN.fullmatch(plain)
    if not match or not plain:
        raise ValueError(f"give a time such as {FORMS}")
    return sum(float(number) * _UNITS[unit][0] for unit, number in match.groupdict().items() if number)


def seconds_of(option: str, given: str | float | None) -> float | None:
    """Convert an option's duration to seconds: text as `seconds` reads it; a number, from Python, is seconds already. A
    UserError names the option."""
    if given is None or not isinstance(given, str):
        return given
    try:
        return seconds(given)
    except ValueError as error:
        raise UserError(f"{option} {given}: {error}") from None


def in_words(span: float) -> str:
    """A span of seconds for people: `54.0 s`, `3 min 5 s`, `2 h 5 min`."""
    if round(span, 1) < 60:
        return f"{span:.1f} s"
    minutes, rest = divmod(round(span), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def clock(span: float) -> str:
    """`1:02:03`: a span of seconds in hours, minutes and seconds."""
    return str(timedelta(seconds=round(span)))


def short(span: float) -> str:
    """A span of seconds as an option takes it: `2m`, `2.5m` or `75s`."""
    return f"{span / 60:g}m" if span % 30 == 0 else f"{span:g}s"
