"""Advice after a verdict: the command for more seeds, or for a longer schedule, with its time. No torch."""

import math
import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from seedwise.base.rng import draw_seeds
from seedwise.recipe.schema import Recipe
from seedwise.recipe.techniques import TECHNIQUES
from seedwise.run.convergence import FEW_STEPS
from seedwise.stats import worth_deciding
from seedwise.study.progress import complete_seeds
from seedwise.study.record import StudyRecord
from seedwise.study.setting import Setting
from seedwise.study.toggles import TOGGLES

SHORT = 30
"""Number of epochs below which a schedule is short for techniques that need a long one. Those come from trainings of
200 and more; `no` from `seedwise.run.convergence` makes any schedule short."""
LONGER, LEAST = 3, 10
"""The longer schedule to propose: a factor on the epochs, and a least number."""


def impatient(base: Recipe, arm: Recipe) -> dict[str, bool]:
    """Techniques that an arm switches and that need long schedules, by their card -> whether the arm adds them."""
    names = [technique.name for technique in TECHNIQUES if technique.needs_epochs and technique.name in TOGGLES]
    has = {name: [TOGGLES[name].patch(recipe)[0] for recipe in (base, arm)] for name in names}
    return {name: after for name, (before, after) in has.items() if before != after}


def too_short(switched: Mapping[str, bool], verdict: str, base: Setting) -> list[str]:
    """Those of `impatient` without a gain, where the schedule may be the reason."""
    if base.epochs is None or (base.epochs >= SHORT and base.converged != "no"):
        return []
    return [name for name, added in switched.items() if verdict != ("helps" if added else "hurts")]


def caveat(names: Sequence[str], base: Setting) -> str:
    """The part of a verdict's sentence about them; empty without any."""
    if not names:
        return ""
    which = " and ".join(names)
    epochs = f"{base.epochs} epoch{'' if base.epochs == 1 else 's'}"
    return f"; short schedules hurt {which} (says the card), and {epochs} are short"


def longer(base: Setting) -> int:
    """Epochs of the longer schedule to propose; at least enough that the steps aren't few."""
    epochs = base.epochs or 1
    enough = math.ceil(FEW_STEPS * epochs / base.steps) if base.steps else 0
    return max(LEAST, LONGER * epochs, enough)


def seeds_wanted(found: Mapping[str, Any]) -> int | None:
    """Number of seeds that an undecided comparison should have; None if it is decided, or not worth deciding.

    Without a spread (one seed, or equal differences) nobody can count them: five, or twice as many.
    """
    if found["verdict"] != "undecided":
        return None
    if found["ci95_simultaneous"] is None:
        return 5
    if all(end in (found["mean"], 0.0) for end in found["ci95_simultaneous"]):
        return 2 * int(found["n"])
    more = found["seeds_to_decide"]
    return int(more) if worth_deciding(more) else None


def advise(
    study: StudyRecord, found: Mapping[str, Any], names: Sequence[str], base: Setting, seconds: float | None
) -> list[dict[str, Any]]:
    """Advice on one verdict of a study, as JSON data: kind (`seeds` or `epochs`), how many, seconds, command.

    seconds: of all arms with one seed, one after the other. Nothing where trials that are planned may decide it.
    """
    advice = []
    command = _latest(study)
    made = _latest(study, names[0]) or command if names else None
    wanted = seeds_wanted(found)
    if wanted is not None and not (complete_seeds(study) < len(study.seeds) >= wanted):
        more = max(wanted - len(study.seeds), 1)
        time = None if seconds is None else more * seconds / max(study.jobs, 1)
        asked = command and with_option(command, "--seeds", str(_count(study, more)))
        advice.append(_advice("seeds", len(study.seeds) + more, time, asked))
    if names:
        epochs = longer(base)
        time = seconds and len(study.seeds) * seconds * epochs / (base.epochs or 1) / max(study.jobs, 1)
        advice.append(_advice("epochs", epochs, time, made and _longer(made, epochs), techniques=list(names)))
    return advice


def _latest(study: StudyRecord, word: str = "") -> list[str] | None:
    """The latest of a study's commands that contains this word."""
    return next((shlex.split(it) for it in reversed(study.commands) if word in it), None)


def general(
    found: Mapping[str, Any], names: Sequence[str], base: Setting, seconds: float | None
) -> list[dict[str, Any]]:
    """`advise` for arms whose command is unknown. seconds: of one seed of both."""
    advice, wanted = [], seeds_wanted(found)
    if wanted is not None:
        more = max(wanted - int(found["n"]), 1)
        said = f"train both with --seeds {int(found['n']) + more}"
        time = seconds and more * seconds
        advice.append(_advice("seeds", int(found["n"]) + more, time, None, said=_timed(said, time, " more")))
    if names:
        epochs = longer(base)
        time = seconds and int(found["n"]) * seconds * epochs / (base.epochs or 1)
        said = _timed(f"train both with -s train.epochs={epochs}", time)
        advice.append(_advice("epochs", epochs, time, None, techniques=list(names), said=said))
    return advice


def with_option(command: Sequence[str], option: str, value: str) -> list[str]:
    """Set an option of a command, wherever it stood before."""
    return [*_without(command, option), option, value]


def joined(command: Sequence[str]) -> str:
    """Quote a command for a shell; a leading `~/` stays open to it."""
    return " ".join(f"~/{shlex.quote(it[2:])}" if it.startswith("~/") and it[2:] else shlex.quote(it) for it in command)


def in_time(seconds: float) -> str:
    """A duration of so many seconds: `4 min`, `1.3 h`, `26 h`."""
    if seconds < 3570:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h" if seconds < 10 * 3600 else f"{min(seconds, 1e12) / 3600:,.0f} h"


def _said(kind: str, count: int, seconds: float | None) -> str:
    """Advice in words: `for 26 seeds, about 25 min more`, `with 10 epochs, about 16 min`."""
    if kind == "seeds":
        return _timed(f"for {count} seeds", seconds, " more")
    return _timed(f"with {count} epochs", seconds)


def _timed(said: str, seconds: float | None, after: str = "") -> str:
    return said if seconds is None else f"{said}, about {in_time(seconds)}{after}"


def _advice(kind: str, count: int, seconds: float | None, command: Sequence[str] | None, **more: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "count": count,
        "seconds": seconds,
        "command": None if command is None else joined(command),
        "said": _said(kind, count, seconds),
        **more,
    }


def _count(study: StudyRecord, more: int) -> int:
    """The `--seeds` that gives a study `more` new seeds: it may have begun with seeds of its own choice."""
    known = set(study.seeds)
    drawn = draw_seeds(study.master_seed, len(known) + more)
    return [place for place, seed in enumerate(drawn, 1) if seed not in known][more - 1]


def _longer(command: Sequence[str], epochs: int) -> list[str]:
    """The command with more epochs and a new folder, since a study keeps its arms."""
    kept = _without(_without(command, "--epochs"), "-s", "train.epochs=")
    place = next((value for name, value in pairwise(command) if name == "-o"), None)
    folder = [] if place is None else ["-o", f"{place.rstrip('/')}-{epochs}-epochs"]
    return [*_without(kept, "-o"), "-s", f"train.epochs={epochs}", *folder]


def _without(command: Sequence[str], option: str, start: str = "") -> list[str]:
    """Remove an option from a command, where its value begins with `start`."""
    kept: list[str] = []
    rest = iter(command)
    for word in rest:
        if word != option:
            kept.append(word)
        elif not (value := next(rest, "")).startswith(start):
            kept += [word, value]
    return kept
