"""Sound bytes and records made wrong: cut, flipped, swapped, nested, with huge numbers and hostile names."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

HUGE = ("9" * 400, "1e999", "-1", "18446744073709551616", "NaN", "-0.0", "1e308", "4294967295", "0x7fffffff")
NAMES = (
    *(
        "../evil",
        "../../evil",
        "/etc/passwd",
        "..",
        ".",
        "",
        "a\nb",
        "a\x00b",
        "x" * 5000,
        "caf\udce9",
        "\x1b[2J",
        "%s%n",
    ),
    *("a/../../evil", "C:\\evil", "~", "-o", "🙂", "\u2028", "con", " ", "$(id)", "{0}", "__proto__"),
)
ODD: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 10**30, 2**63, 2**64, -(10**40), 0.5, 1e308, float("nan"), float("inf")),
    *("1", "finished", "running", "planned", [], {}, [[]], {"a": {}}, [None], [1e400], "null", *NAMES),
)


def damaged(content: bytes, draws: Random) -> bytes:
    """Bytes with one to three wrongs."""
    found = bytearray(content)
    for _ in range(draws.randint(1, 3)):
        found = draws.choice(WRONGS)(found, draws)
    return bytes(found)


def _cut(content: bytearray, draws: Random) -> bytearray:
    return content[: draws.randrange(len(content) + 1)]


def _flip(content: bytearray, draws: Random) -> bytearray:
    for _ in range(draws.randint(1, 8) if content else 0):
        content[_place(content, draws)] ^= 1 << draws.randrange(8)
    return content


def _overwrite(content: bytearray, draws: Random) -> bytearray:
    start, size = _place(content, draws), draws.choice((1, 2, 4, 8, 64))
    filled = draws.choice((b"\x00" * size, b"\xff" * size, draws.randbytes(size), b"\x7f" + b"\xff" * (size - 1)))
    content[start : start + size] = filled[: max(0, len(content) - start)]
    return content


def _insert(content: bytearray, draws: Random) -> bytearray:
    start = _place(content, draws)
    words = draws.choice((draws.randbytes(9), *(text.encode("utf-8", "surrogateescape") for text in (*HUGE, *NAMES))))
    content[start:start] = words
    return content


def _drop(content: bytearray, draws: Random) -> bytearray:
    start = _place(content, draws)
    del content[start : start + draws.choice((1, 2, 16, 512))]
    return content


def _swap(content: bytearray, draws: Random) -> bytearray:
    size = draws.choice((1, 4, 32, 256))
    one, other = sorted((_place(content, draws), _place(content, draws)))
    first, second = content[one : one + size], content[other : other + size]
    if one + size <= other and len(first) == len(second):
        content[one : one + size], content[other : other + size] = second, first
    return content


def _repeat(content: bytearray, draws: Random) -> bytearray:
    start = _place(content, draws)
    part = content[start : start + draws.choice((8, 64, 1024))]
    content[start:start] = part * draws.choice((1, 2, 50))
    return content


def _number(content: bytearray, draws: Random) -> bytearray:
    places = [at for at, byte in enumerate(content[:20_000]) if 48 <= byte <= 57]
    if places:
        at = draws.choice(places)
        content[at : at + 1] = draws.choice(HUGE).encode()
    return content


WRONGS: tuple[Callable[[bytearray, Random], bytearray], ...] = (
    *(_cut, _flip, _flip, _overwrite, _insert, _drop, _swap, _repeat, _number),
)


def _place(content: bytearray, draws: Random) -> int:
    """Anywhere, and as often at the ends, where headers and directories are."""
    if not content:
        return 0
    near = min(len(content), 256)
    return draws.choice(
        (draws.randrange(len(content)), draws.randrange(near), len(content) - 1 - draws.randrange(near))
    )


def changed(content: Any, draws: Random) -> Any:
    """A copy of a record with one to three values replaced, swapped, dropped, added or nested."""
    found = json.loads(json.dumps(content))
    for _ in range(draws.randint(1, 3)):
        holder, key = _somewhere(found, draws)
        if holder is None:
            break
        what = draws.choice(("odd", "odd", "odd", "drop", "add", "nest", "swap"))
        if what == "drop":
            del holder[key]
        elif what == "add" and isinstance(holder, dict):
            holder[draws.choice(NAMES)] = draws.choice(ODD)
        elif what == "swap":
            other, where = _somewhere(found, draws)
            if other is not None:
                holder[key], other[where] = json.loads(json.dumps([other[where], holder[key]]))
        elif what == "nest":
            holder[key] = nested(draws)
        else:
            holder[key] = draws.choice(ODD)
    return found


def nested(draws: Random) -> Any:
    """Lists or mappings in one another, as deep as Python writes them."""
    value: Any = 1
    for _ in range(draws.choice((3, 60, 400))):
        value = [value] if draws.random() < 0.5 else {"a": value}
    return value


def _somewhere(content: Any, draws: Random) -> tuple[Any, Any]:
    """A mapping or list within, and a key of it; None without any."""
    at = content
    while isinstance(at, dict | list) and at:
        key = draws.choice(sorted(at)) if isinstance(at, dict) else draws.randrange(len(at))
        if not isinstance(at[key], dict | list) or not at[key] or draws.random() < 0.3:
            return at, key
        at = at[key]
    return None, None


def written(content: Any) -> bytes:
    """As JSON, whatever it holds."""
    return json.dumps(content).encode("utf-8", "surrogatepass")
