"""docs/reliability.md: what was broken on purpose, how often, on which machine, and what came of it."""

import shlex
from collections.abc import Mapping, Sequence

from parts import Outcome

INTRODUCTION = """\
# What happens when something breaks

seedwise promises that nothing is lost and nothing runs twice. Here it is broken on purpose: killed, with full disks,
with files that are wrong, by many processes at once. Every count is of the command beside it, and every random choice
follows from its seed.
"""
ABOUT = {
    "kills": """\
A work is ended by SIGKILL up to three times in a row, at a random moment or inside of a write (before the call, after a
half of its bytes, after it), and then completed by the same command or by `seedwise resume`. Weights, predictions,
metrics and records then equal, bit for bit, those of the same work that nobody disturbed; times are left out. Trials
that were finished have the weights' file that they had; others go on at their checkpoint; each epoch stands once.""",
    "writes": """\
Between seedwise and the C library, calls that write fail: from a chosen one on the disk is full (ENOSPC), read-only
(EROFS), or closed to us (EACCES). Each way to each write is chosen: by operation and the lines of seedwise that lead to
it. What comes of it is one line that says what to do and exit code 2, or, where a file can be spared (a compiled
kernel, a report), the same result as without the fault. Then the same command completes with the same bits. The last
row counts the lines of seedwise's source that write; one that no fault meets fails the soak.""",
    "mutants": """\
Sound files are made wrong: cut, with flipped bits, with parts overwritten, repeated and swapped, with huge numbers,
deep nesting and hostile names, some records with a checksum that fits again. They are read by the commands that read
them. What can't be read is refused with exit code 2; nothing else may happen: no traceback, no file outside of
where the command writes, no more than 2 GB of address space, no more than a minute.""",
    "crowd": """\
Processes start the same command at the same moment, with an empty cache. One works; the others wait or are told to.
Then everything is there once, with the bits of a single process.""",
}


def table(outcome: Outcome) -> str:
    """A part's counts, in Markdown."""
    columns = list(dict.fromkeys(column for row in outcome.rows.values() for column in row))
    lines = [f"\n## {outcome.title[0].upper()}{outcome.title[1:]}\n", _row(["", *columns])]
    lines.append("|---|" + "---:|" * len(columns))
    for name, row in outcome.rows.items():
        lines.append(_row([name, *(str(row[column]) if row[column] else "" for column in columns)]))
    if len(outcome.rows) > 1 and not any(column.startswith("most") for column in columns):
        sums = [sum(row[column] for row in outcome.rows.values()) for column in columns]
        lines.append(_row(["all", *map(str, sums)]))
    failed = len(outcome.failures)
    return "\n".join([*lines, f"\nFailures: {failed}. Time: {outcome.seconds / 60:.0f} min."])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def page(outcomes: Mapping[str, Outcome], arguments: Sequence[str], before: str = "") -> str:
    """The whole page: these parts, each with its command and machine, and from `before` the parts that did not run."""
    from seedwise.base import machine

    given = [each for each in arguments if each != "--write"]
    options = f' SOAK="{shlex.join(given)}"' if given else ""
    facts, versions = machine.facts(), machine.versions()
    where = f"{machine.describe(facts)}, {facts['memory_gb']} GB; torch {versions['torch']}, {facts['system']}"
    kept = {title: text for text in before.split("\n## ")[1:] if (title := text.partition("\n")[0])}
    parts = {}
    for name, about in ABOUT.items():
        if (outcome := outcomes.get(name)) is not None:
            head, _, counts = table(outcome).lstrip("\n").partition("\n\n")
            title = head.removeprefix("## ")
            parts[title] = f"{title}\n\n{about}\n\n```\nmake soak{options}\n```\n\n{counts} Machine: {where}."
    return "\n\n## ".join(text.strip("\n") for text in (INTRODUCTION, *(kept | parts).values())) + "\n"
