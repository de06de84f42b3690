"""Describes data before training: images, classes, parts, what was passed over, doubts."""

import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence

from seedwise.data.source import PARTS, PassedOver, Survey, visible

WIDTH = 98
"""Largest number of columns of a line; a dry run puts "# " before it."""
SHOWN_DOUBTS, SHOWN_REASONS, LONGEST_NAME, LONGEST_REASON = 8, 8, 24, 40
NAMED_CLASSES = 4
"""Largest number of classes that are all named; of more only the first and the last."""


def data_lines(classes: Sequence[str], splits: Mapping[str, int], given: Sequence[str], survey: Survey) -> list[str]:
    """Describe the data in a run's first lines, of at most `WIDTH` columns.

    `splits`: images by part; `given`: the parts that the data have themselves, the others were drawn from train.
    """
    splits = {part: count for part, count in splits.items() if count}
    count = f"{counted(sum(splits.values()), 'images')} in {_classes(classes)}"
    lines = _wrapped(f"{count}, {'parts ' if len(splits) > 1 else 'all in '}{_parts(splits, given)}")
    lines += passed_over_lines(survey.passed_over)
    doubts = survey.doubts
    lines += [line for doubt in doubts[:SHOWN_DOUBTS] for line in _wrapped(f"doubt: {visible(doubt)}")]
    if len(doubts) > SHOWN_DOUBTS:
        lines.append(f"doubt: {len(doubts) - SHOWN_DOUBTS} more, which stand in record.json and in the report")
    return lines


def passed_over_lines(passed_over: Sequence[PassedOver]) -> list[str]:
    """`passed over: 14 files (.heic 9, no image 5), 1 folder (@eaDir)`; no line when nothing was."""
    by_kind: dict[str, list[PassedOver]] = defaultdict(list)
    for each in passed_over:
        by_kind[each.kind].append(each)
    words = []
    for kind, found in by_kind.items():
        count = sum(each.count for each in found)
        several = len(found) > 1
        reasons = [_shortened(it.reason, LONGEST_REASON) + (f" {it.count:,}" if several else "") for it in found]
        if len(reasons) > SHOWN_REASONS:
            reasons = [*reasons[: SHOWN_REASONS - 1], f"{len(reasons) - SHOWN_REASONS + 1} reasons more"]
        words.append(f"{counted(count, kind)} ({', '.join(reasons)})")
    return _wrapped(f"passed over: {', '.join(words)}") if words else []


def counted(count: int, kind: str) -> str:
    """A number before a noun in the plural: `1 class`, `3 classes`."""
    singular = {"classes": "class", "copies": "copy"}.get(kind, kind.removesuffix("s"))
    return f"{count:,} {singular if count == 1 else kind}"


def _classes(names: Sequence[str]) -> str:
    shown = [_shortened(name) for name in names]
    named = ", ".join(shown) if len(shown) <= NAMED_CLASSES else f"{shown[0]} … {shown[-1]}"
    return f"{counted(len(names), 'classes')} ({named})"


def _parts(splits: Mapping[str, int], given: Sequence[str]) -> str:
    sizes = " / ".join(f"{part} {splits[part]:,}" for part in PARTS if part in splits)
    own = [part for part in PARTS if part in splits and part in given]
    drawn = [part for part in PARTS if part in splits and part not in given]
    if len(own) == 1:
        return f"{sizes} ({' and '.join(drawn)} drawn from train)" if drawn else sizes
    return f"{sizes} (given: {', '.join(own)}{f'; {drawn[0]} drawn from train' if drawn else ''})"


def _shortened(name: str, longest: int = LONGEST_NAME) -> str:
    text = visible(name)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(
        line, WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=True, drop_whitespace=True
    )


def bytes_in_words(count: int) -> str:
    """A number of bytes: `1.3 GB`, `12 MB`, `0.4 MB`."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e7 else f"{count / 1e6:.1f} MB"
