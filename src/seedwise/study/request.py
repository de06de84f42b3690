"""Requests of an ablation or a sweep: from words, or from a study file. No torch."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seedwise.base.errors import UserError
from seedwise.recipe.library import default_recipe
from seedwise.study.arms import Arms, read_study_file, toggled
from seedwise.study.grid import Grid, grid
from seedwise.study.record import parse_seeds


@dataclass(frozen=True)
class StudyRequest:
    """The request of an ablation."""

    data: str
    arms: Arms
    seeds: tuple[int, ...]
    folder: Path
    """The study's folder by default: the same words find it again."""
    margin: float | None = None
    """As a fraction; None: the study's own, or the usual one."""


@dataclass(frozen=True)
class SweepRequest:
    """The request of a sweep."""

    grid: Grid
    seeds: tuple[int, ...]
    folder: Path
    """The study's folder by default, as in `StudyRequest`."""


def ablation(
    data: str,
    base: str | None,
    toggle: str | Sequence[str] | None,
    seeds: str | None,
    margin: float | None,
    settings: Sequence[str],
) -> StudyRequest:
    """Parse the request of `seedwise ablate`: data, base and toggles, or a study file in place of the data.

    `margin`: in points. Raises UserError for what contradicts itself or isn't known.
    """
    demand_margin(margin)
    if Path(data).suffix in (".yaml", ".yml"):
        if base is not None or toggle is not None:
            raise UserError(f"{data}: a study file names its base and arms; drop {'-r' if base else '--toggle'}")
        file, arms = read_study_file(Path(data), settings)
        wanted = seeds or (str(file.seeds) if isinstance(file.seeds, int) else f"{','.join(map(str, file.seeds))},")
        margin, name, data = file.margin if margin is None else margin, Path(data).stem, file.data
    else:
        if toggle is None:
            raise UserError("--toggle: say which techniques to compare, such as cutmix,rotation; or give a study file")
        words = toggle.split(",") if isinstance(toggle, str) else toggle
        names = [word.strip() for word in words if word.strip()]
        arms = toggled(default_recipe(data) if base is None else base, settings, names)
        wanted, name = seeds or "6", arms.base.name
    fraction = None if margin is None else margin / 100
    folder = _folder(f"{Path(data).name}-{name}", "ablation")
    return StudyRequest(data, arms, parse_seeds(wanted, arms.base.seed), folder, fraction)


def swept(data: str, recipe: str | None, seeds: str | None, settings: Sequence[str]) -> SweepRequest:
    """Parse the request of `seedwise sweep`: some settings have several values, `optim.lr=1e-4,4e-4`."""
    made = grid(default_recipe(data) if recipe is None else recipe, settings)
    base = made.arms.base
    folder = _folder(f"{Path(data).resolve().name}-{base.name}", "sweep")
    return SweepRequest(made, parse_seeds(seeds or "3", base.seed), folder)


def demand_margin(margin: float | None) -> None:
    """Raise a UserError unless `margin` is a number of points in range, or None."""
    if margin is not None and not 0 < margin < 100:
        raise UserError(f"--margin {margin:g}: give points of accuracy between 0 and 100, such as 0.5")


def seeds_said(seeds: int | str | Sequence[int] | None) -> str | None:
    """Seeds as `--seeds` takes them: a count, or a list; text as it is."""
    if seeds is None or isinstance(seeds, str):
        return seeds
    return str(seeds) if isinstance(seeds, int) else "".join(f"{seed}," for seed in seeds)


def _folder(name: str, kind: str) -> Path:
    return Path("runs") / (re.sub(r"[^\w.-]+", "_", name) + f"-{kind}")
