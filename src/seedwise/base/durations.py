"""Spans of time as people write them, read and written in one place."""

import re

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
"""What may be given, for help and errors."""


def seconds(text: str) -> float:
    """The seconds of `15min`, `90s`, `2h`, `1h30m` or `1.5 hours`; a bare number counts minutes.

    Anything else is a ValueError that says what may be given.
    """
    plain = "".join(text.split()).lower()
    if _BARE.fullmatch(plain):
        return 60 * float(plain)
    match = _SPAN.fullmatch(plain)
    if not match or not plain:
        raise ValueError(f"give a time such as {FORMS}")
    return sum(float(number) * _UNITS[unit][0] for unit, number in match.groupdict().items() if number)


def seconds_of(option: str, given: str | float | None) -> float | None:
    """The seconds of a duration that was given to an option; a number, from Python, is seconds; None where none was."""
    if given is None or not isinstance(given, str):
        return given
    try:
        return seconds(given)
    except ValueError as error:
        raise UserError(f"{option} {given}: {error}") from None


def in_words(span: float) -> str:
    """`54.0 s`, `3 min 5 s`, `2 h 5 min`: a span of seconds for people."""
    if round(span, 1) < 60:
        return f"{span:.1f} s"
    minutes, rest = divmod(round(span), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def short(span: float) -> str:
    """`2m`, `2.5m` or `75s`: a span of seconds as an option takes it."""
    return f"{span / 60:g}m" if span % 30 == 0 else f"{span:g}s"
