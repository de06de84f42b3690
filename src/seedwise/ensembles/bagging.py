"""Bagging: trains members on bootstrap samples, and lets them vote by mean probability, all in one folder."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from seedwise.base import machine
from seedwise.base.errors import UserError
from seedwise.base.files import LOCK, discard, sole_writer
from seedwise.base.rng import draw_seeds
from seedwise.config.options import plain
from seedwise.data.find import KNOWN_NAMES, find_source
from seedwise.engine.control import RunControl, phase_progress
from seedwise.ensembles.build import build
from seedwise.recipe.schema import Recipe
from seedwise.records.ensemble import EnsembleRecord
from seedwise.records.finished import is_ensemble, read_finished
from seedwise.records.run import (
    BAGGING,
    RECORD,
    RecordPart,
    Seed,
    Timed,
    damaged,
    read_checked,
    read_record,
    write_checked,
)
from seedwise.run import resolve
from seedwise.run.folder import ELSEWHERE, demand_free, demand_same_data
from seedwise.run.rehearsal import fitted
from seedwise.run.train import run

OnMember = Callable[[str, int, int, int], None]
"""Called with (member, seed, number from 1, count) before a member is trained."""


class BaggingRecord(RecordPart):
    """bagging.json: the configuration of the members' training; the ensemble's own record follows when it is done."""

    schema_version: int = 1
    kind: Literal["bagging"] = "bagging"
    data: str
    """Where to find the data again: a known name, or an absolute path."""
    data_dir: str | None
    seed: Seed
    """The master seed of the members' seeds."""
    count: int = Field(ge=2)
    timed: Timed | None = None
    """The `--time` given for all members; null without it."""
    recipes: list[dict[str, Any]] = Field(min_length=1)
    """Resolved recipes that the members take in turn."""

    def recipe(self, member: int) -> Recipe:
        """The resolved recipe of a member, counted from 0."""
        return Recipe.model_validate_json(json.dumps(self.recipes[member % len(self.recipes)]))


def members_recipes(recipe: Recipe, models: Sequence[str], augments: Sequence[Recipe]) -> list[Recipe]:
    """The recipes that members take in turn: on bootstrap samples, with these models and these recipes' augmentation.

    They are as many as it takes for both lists to come round together with the members: models and augmentations each
    go round for themselves. A UserError where a model and an augmentation contradict.
    """
    content = plain(recipe)
    content["data"]["bootstrap"] = True
    made = []
    for number in range(max(1, len(models)) * max(1, len(augments))):
        changed = dict(content)
        if models:
            changed["model"] = content["model"] | {"name": models[number % len(models)]}
        if augments:
            changed["augment"] = plain(augments[number % len(augments)])["augment"]
        try:
            made.append(Recipe.model_validate_json(json.dumps(changed)))
        except ValidationError as error:
            words = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise UserError(f"--bagging-models, --bagging-augment: {words}") from error
    return made


def train_bagging(
    recipes: Sequence[Recipe],
    data: str,
    count: int,
    folder: Path,
    *,
    seed: int,
    data_dir: Path | None,
    control: RunControl,
    on_member: OnMember,
    seconds: float | None = None,
) -> EnsembleRecord:
    """Train `count` members that take these recipes in turn, and let them vote; completes a folder that holds a part.

    `seconds`: what all members may take; epochs, and an image size that is `auto`, are chosen to fit. More members can
    be added to a folder; fewer leave it as it is. A UserError for a folder of another bagging.
    """
    _demand_one_process()
    if not (folder / BAGGING).exists():
        demand_free(folder, study=False)
        if (folder / RECORD).exists():
            what = "another ensemble" if is_ensemble(folder) else "a single run"
            raise UserError(f"{folder}: holds {what}; {ELSEWHERE}")
    source = find_source(data, data_dir, recipes[0].data)
    if (folder / BAGGING).exists():
        resolved, timed = [read_bagging(folder).recipe(member) for member in range(len(recipes))], None
    else:
        base, timed = fitted(recipes[0], data, data_dir=data_dir, control=control, seconds=seconds, trials=count)
        resolved = [resolve.adopt(recipe, base) for recipe in recipes]
    wanted = BaggingRecord(
        data=data if data in KNOWN_NAMES else str(source.path),
        data_dir=str(source.path) if data in KNOWN_NAMES and source.path is not None else None,
        seed=seed,
        count=count,
        timed=timed,
        recipes=[plain(recipe) for recipe in resolved],
    )
    with sole_writer(folder):
        if (folder / BAGGING).exists():
            before = read_bagging(folder)
            _demand_same(folder, before, recipes, seed)
            first = _member_folder(folder, 0)
            if (first / RECORD).exists():
                record, report = read_record(first), phase_progress(control)
                known, finished = record.data, record.status == "finished"
                where = (folder, known.source, known.fingerprint)
                demand_same_data(*where, resolved[0], data, data_dir, report, finished=finished)
            kept = {"recipes": before.recipes, "timed": before.timed}
            wanted = wanted.model_copy(update=kept | {"count": max(count, before.count)})
        write_checked(folder / BAGGING, wanted)
        try:
            _train_members(folder, wanted, data_dir, control, on_member, elsewhere=False)
        except UserError:
            if not any((_member_folder(folder, k) / RECORD).exists() for k in range(wanted.count)):
                discard(folder / "runs")
                discard(folder, BAGGING, LOCK)  # it never began: a typo leaves no trace
            raise
    return _vote(folder, wanted)


def resume_bagging(
    folder: Path, *, data_dir: Path | None, control: RunControl, on_member: OnMember, elsewhere: bool = False
) -> EnsembleRecord:
    """Train the missing members of a folder that `train_bagging` began, and let all vote."""
    _demand_one_process()
    with sole_writer(folder):
        bagging = read_bagging(folder)
        data_dir = data_dir or (Path(bagging.data_dir) if bagging.data_dir else None)
        _train_members(folder, bagging, data_dir, control, on_member, elsewhere=elsewhere)
    return _vote(folder, bagging)


def read_bagging(folder: Path) -> BaggingRecord:
    """Read bagging.json; a UserError says what is damaged."""
    bagging = read_checked(folder / BAGGING, BaggingRecord)
    try:
        for member in range(len(bagging.recipes)):
            bagging.recipe(member)
    except ValidationError as error:
        raise damaged(folder / BAGGING, error) from error
    return bagging


def _demand_one_process() -> None:
    if machine.processes() > 1:
        raise UserError("torchrun: trains one run at a time; bagging trains its members one after the other")


def _demand_same(folder: Path, before: BaggingRecord, recipes: Sequence[Recipe], seed: int) -> None:
    if before.seed != seed:
        raise UserError(f"{folder}: holds members of seed {before.seed}, not {seed}; {ELSEWHERE}")
    if len(before.recipes) != len(recipes):
        raise UserError(f"{folder}: holds members of {len(before.recipes)} recipes, not {len(recipes)}; {ELSEWHERE}")
    for member, recipe in enumerate(recipes):
        resolve.demand_same(recipe, before.recipe(member), str(folder))


def _member_folder(folder: Path, member: int) -> Path:
    return folder / "runs" / f"member-{member + 1}"


def _train_members(
    folder: Path,
    bagging: BaggingRecord,
    data_dir: Path | None,
    control: RunControl,
    on_member: OnMember,
    *,
    elsewhere: bool,
) -> None:
    for member, seed in enumerate(draw_seeds(bagging.seed, bagging.count)):
        target = _member_folder(folder, member)
        on_member(target.name, seed, member + 1, bagging.count)
        place = (target, bagging.recipe(member), bagging.data, seed, data_dir)
        run(*place, control, elsewhere=elsewhere, timed=bagging.timed)


def _vote(folder: Path, bagging: BaggingRecord) -> EnsembleRecord:
    members = [read_finished(_member_folder(folder, member)) for member in range(bagging.count)]
    return build(members, folder, vote="soft", seed=bagging.seed)
