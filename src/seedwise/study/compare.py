"""Compares runs, studies, ensembles and folders with the first of them: pairs by seed where they match."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedwise.base.errors import UserError
from seedwise.base.nearest import demand_folder
from seedwise.base.notebook import html_table
from seedwise.config.section import diff, load
from seedwise.recipe.schema import Recipe
from seedwise.records.ensemble import EnsembleRecord
from seedwise.records.finished import Finished, Judged, demand_same_images, find_finished, judged, read_finished
from seedwise.records.predictions import Predictions
from seedwise.records.run import RECIPE, RECORD, STUDY, DataRecord, RunRecord, check_files
from seedwise.stats import SHARE, Comparison, Ratio, compare_arms, compare_classes, ratio, summarize
from seedwise.study.advice import advise, caveat, general, impatient, too_short
from seedwise.study.arms import MARGIN
from seedwise.study.progress import looked
from seedwise.study.record import BASE, StudyRecord, read_study
from seedwise.study.setting import Setting, holds, setting, together, verdict_notes

SEEDLESS = -1
"""Stands for the seed of an ensemble whose members were trained one by one."""


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: runs of one recipe over seeds, or an ensemble."""

    name: str
    members: Mapping[int, Finished]
    """By seed."""
    weights: Judged = "averaged"
    """Those that it is judged by; `raw` for the arms of a study that says so."""

    @property
    def averaged(self) -> bool:
        """Whether it is judged by averaged weights (optim.ema, optim.swa)."""
        records = (member.record for member in self.members.values())
        return any(isinstance(record, RunRecord) and judged(record, self.weights)[1] for record in records)


@dataclass
class Compared:
    """The result of `compare`; fractions and seconds throughout."""

    split: str
    margin: float
    """The least difference that matters, a fraction."""
    base: str
    arms: list[Arm]
    correct: dict[str, dict[int, NDArray[np.bool_]]]
    """Arm -> seed -> bool[images]: right or not."""
    comparisons: dict[str, Comparison]
    family: int
    """Number of comparisons that p and intervals are corrected for, with those of arms without a finished run."""
    planned_margin: float | None
    """The margin that a study given, or one that holds a folder given, fixed before its first trial; None without."""
    times: dict[str, Ratio | None]
    """Ratio of training times to the base's; None where one isn't known or another machine measured it."""
    differs: dict[str, list[str]] = field(default_factory=dict)
    """Arm -> options in which its recipe differs from the base's, seed and name apart; none for an ensemble."""
    holds: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Arm -> the `Setting` of base and arm."""
    advice: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Arm -> what to do next: `seedwise.study.advice`."""
    classes: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    """Arm -> `classes` and `superclasses` -> differences, if asked for."""
    skipped: list[Path] = field(default_factory=list)
    """Runs left out because they are not finished, or not where their study had them."""

    def top1(self, arm: str) -> dict[int, float]:
        """Top-1 by seed."""
        return {seed: float(right.mean()) for seed, right in self.correct[arm].items()}

    def to_dict(self) -> dict[str, Any]:
        """All results as JSON data, in full precision."""
        return {
            "split": self.split,
            "margin": self.margin,
            "base": self.base,
            "family": self.family,
            "arms": {arm.name: self._arm(arm) for arm in self.arms},
            "comparisons": {name: self._comparison(name, each) for name, each in self.comparisons.items()},
            "skipped": [str(path) for path in self.skipped],
        }

    def table(self) -> list[dict[str, Any]]:
        """A row for each arm, the base first, with the columns of `seedwise.study.outcome.Study.table`; fractions."""
        rows = []
        for arm in self.arms:
            of, found = self._arm(arm), self.comparisons.get(arm.name)
            low, high = of["ci95"] or (None, None)
            least, most = (found and found.ci95) or (None, None)
            row = {"arm": arm.name} | {name: of[name] for name in ("n", "mean", "sd")} | {"low": low, "high": high}
            row |= {"difference": found and found.mean, "difference_low": least, "difference_high": most}
            rows.append(row | {"p_holm": found and found.p_holm, "verdict": found and found.verdict})
        return rows

    def _repr_html_(self) -> str:
        lines = [f"{name}: {each.sentence}" for name, each in self.comparisons.items()]
        lines += verdict_notes(self.holds.values())
        return html_table(self.table(), f"{self.split} top-1, differences from {self.base}", lines)

    def _comparison(self, name: str, found: Comparison) -> dict[str, Any]:
        return {
            self.split: found.to_json(),
            "time": _ratio_json(self.times[name]),
            "differs": self.differs[name],
            "holds": self.holds[name],
            "advice": self.advice[name],
            **self.classes.get(name, {}),
        }

    def _arm(self, arm: Arm) -> dict[str, Any]:
        values = self.top1(arm.name)
        summary = summarize(list(values.values()), SHARE)
        return {
            "folders": [str(member.folder) for member in arm.members.values()],
            "kind": next(iter(arm.members.values())).record.kind,
            "weights": "averaged" if arm.averaged else "raw",
            "seeds": [None if seed == SEEDLESS else seed for seed in values],
            "top1": list(values.values()),
            "n": summary.n,
            "mean": summary.mean,
            "sd": summary.sd,
            "ci95": None if summary.ci95 is None else list(summary.ci95),
        }


def compare(
    paths: Sequence[Path], *, split: str = "test", margin: float | None = None, classes: bool = False
) -> Compared:
    """Compare the runs in these folders with the first, as one family; a UserError where that is impossible.

    margin: a fraction, by default that of the first study given, else half a point. A study alone is compared as it
    does it itself, at the level of its latest look.
    """
    studies = [read_study(path) for path in paths if (path / STUDY).is_file()]
    around = _studies_around(paths)
    planned = next((study.margin for study in (*studies, *around) if study.margin is not None), None)
    margin = (MARGIN if planned is None else planned) if margin is None else margin
    designs = around or (studies if len(paths) == len(studies) == 1 else [])
    look = max((_look(study) for study in designs if len(study.arms) > 1), default=None)
    arms, family, skipped = _arms(paths)
    family = max(family, *(len(study.arms) - 1 for study in around), 1)
    if len(arms) < 2:
        raise UserError(f"{paths[0]}: holds one arm ({arms[0].name}); give another run, study or folder to compare")
    answers = _answers(arms, split)
    base = arms[0].name
    correct = {arm: {seed: it.correct() for seed, it in of_arm.items()} for arm, of_arm in answers.items()}
    top1 = {arm: {seed: float(right.mean()) for seed, right in of_arm.items()} for arm, of_arm in correct.items()}
    found = compare_arms(top1, base, margin=margin, look=look, correct=correct, size=family, bounds=SHARE)
    compared = Compared(
        split=split,
        margin=margin,
        base=base,
        arms=arms,
        correct=correct,
        comparisons=_without_seeds_as_names(found),
        family=family,
        planned_margin=planned,
        times={arm.name: _time(arm, arms[0]) for arm in arms[1:]},
        skipped=skipped,
    )
    alone = studies[0] if len(paths) == len(studies) == 1 else None
    settings = {arm.name: [setting(member.record) for member in arm.members.values()] for arm in arms}
    for arm in arms[1:]:
        compared.holds[arm.name] = holds(settings[base], settings[arm.name])
        _next(compared, arm, together(settings[base]), alone)
    if classes:
        first = next(iter(arms[0].members.values()))
        labels = next(iter(answers[base].values())).targets
        for arm in arms[1:]:
            compared.classes[arm.name] = _by_class(
                correct[arm.name], correct[base], labels, first.data, found[arm.name].alpha, family
            )
    return compared


def _studies_around(paths: Sequence[Path]) -> list[StudyRecord]:
    """The studies that folders of arms and trials lie in: what they planned holds for whoever takes these out."""
    inside = {
        parent
        for path in paths
        if not (path / STUDY).is_file()
        for parent in list(path.resolve().parents)[:3]
        if (parent / STUDY).is_file()
    }
    return [read_study(folder) for folder in sorted(inside)]


def _look(study: StudyRecord) -> int:
    """The number of the look that its comparisons are of."""
    return len(study.looks) + (0 if looked(study) else 1)


def _next(compared: Compared, arm: Arm, base: Setting, study: StudyRecord | None) -> None:
    """Note an arm's differences from the base, whether the schedule was too short for them, and advice."""
    first, sides = compared.arms[0], [next(iter(side.members.values())) for side in (compared.arms[0], arm)]
    recipes = [_recipe(side, computed=True) for side in sides if isinstance(side.record, RunRecord)]
    both = len(recipes) == 2
    compared.differs[arm.name] = diff(*recipes) if both else []
    switched = impatient(*recipes) if both else {}
    found = compared.comparisons[arm.name]
    names = too_short(switched, found.verdict, base)
    compared.comparisons[arm.name] = replace(found, sentence=found.sentence + caveat(names, base))
    if study is not None:
        compared.advice[arm.name] = advise(study, found.to_json(), names, base, _seconds(compared.arms))
    else:  # an ensemble is not trained with another seed
        compared.advice[arm.name] = general(found.to_json(), names, base, _seconds([first, arm])) if both else []


def _seconds(arms: Sequence[Arm]) -> float | None:
    """Wall seconds of one seed of all these arms, one after the other; None where one doesn't say."""
    found = [[one.record.seconds.get("total", 0.0) for one in arm.members.values()] for arm in arms]
    return sum(sum(of) / len(of) for of in found) if min(map(min, found)) > 0 else None


def _arms(paths: Sequence[Path]) -> tuple[list[Arm], int, list[Path]]:
    """The arms, the number of comparisons planned with the first one, and the runs left out."""
    arms: list[Arm] = []
    skipped: list[Path] = []
    planned = 0
    names = _names(paths)
    for path, name in zip(paths, names, strict=True):
        demand_folder(path, "a run's, a study's, an ensemble's, or one that holds runs")
        if (path / STUDY).is_file():
            study = read_study(path)
            found, unfinished = _of_study(path, name, study)
            planned += len(study.arms)
        else:
            stored, unfinished = find_finished(path)
            found = [Arm(name, _by_seed(path, stored))]
            planned += 1
        arms += found
        skipped += unfinished
    for arm in arms:
        _demand_one_recipe(arm)
    return arms, planned - 1, skipped


def _names(paths: Sequence[Path]) -> list[str]:
    """Names of the folders where they differ, else the paths as given."""
    short = [path.resolve().name for path in paths]
    names = [name if short.count(name) == 1 else str(path) for name, path in zip(short, paths, strict=True)]
    twice = next((path for path, name in zip(paths, names, strict=True) if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{twice}: is given twice; compare different folders")
    return names


def _of_study(path: Path, name: str, study: StudyRecord) -> tuple[list[Arm], list[Path]]:
    """The arms of a study with finished runs, the base first."""
    order = sorted(study.arms, key=lambda arm: arm != BASE)
    finished: dict[str, list[Finished]] = {arm: [] for arm in order}
    skipped = []
    for trial in study.trials:
        begun = (path / trial.folder / RECORD).is_file()
        if trial.status == "finished" and begun:
            finished[trial.arm].append(read_finished(path / trial.folder))
        elif trial.status == "finished" or begun:
            skipped.append(path / trial.folder)
    weights: Judged = study.primary.weights if len(order) > 1 else "averaged"  # of one recipe nothing was judged yet
    arms = [
        Arm(name if len(order) == 1 else f"{name}:{arm}", _by_seed(path, finished[arm]), weights)
        for arm in order
        if finished[arm]
    ]
    if not arms or not finished[order[0]]:
        raise UserError(f"{path}: no run of its arm '{order[0]}' is finished; `seedwise resume` it first")
    return arms, skipped


def _by_seed(path: Path, stored: Sequence[Finished]) -> dict[int, Finished]:
    members: dict[int, Finished] = {}
    for one in stored:
        seed = SEEDLESS if one.record.seed is None else one.record.seed
        if seed in members:
            what = "two ensembles" if seed == SEEDLESS else f"two runs with seed {seed}"
            raise UserError(
                f"{path}: holds {what} ({members[seed].folder}, {one.folder}); give the folder of one arm, or each run"
            )
        members[seed] = one
    return members


def _demand_one_recipe(arm: Arm) -> None:
    """Refuse a folder of runs with different recipes: their spread is not that of the seeds."""
    members = list(arm.members.values())
    first, known = members[0], None
    for one in members[1:]:
        if one.record.kind != first.record.kind:
            raise UserError(f"{arm.name}: holds runs and ensembles ({first.folder}, {one.folder}); give them apart")
        digests = [it.record.files.get(RECIPE) for it in (first, one)]
        if isinstance(one.record, EnsembleRecord) or digests[0] == digests[1]:
            continue
        known = known or _recipe(first)
        differences = diff(known, _recipe(one))
        if differences:
            raise UserError(
                f"{arm.name}: holds runs of different recipes ({first.folder}, {one.folder}: {differences[0]}); "
                "give the folder of each recipe"
            )


def _recipe(stored: Finished, *, computed: bool = False) -> Recipe:
    """A run's recipe without its name and master seed and, unless `computed`, without where it was computed."""
    check_files(stored.folder, stored.record, RECIPE)
    recipe = load(Recipe, stored.folder / RECIPE)
    plain = Recipe()
    compute = recipe.compute if computed else plain.compute
    return recipe.model_copy(update={"name": plain.name, "seed": plain.seed, "compute": compute})


def _answers(arms: Sequence[Arm], split: str) -> dict[str, dict[int, Predictions]]:
    answers: dict[str, dict[int, Predictions]] = {}
    base: tuple[Finished, Predictions] | None = None
    for arm in arms:
        answers[arm.name] = {}
        for seed, member in arm.members.items():
            given = member.predictions(split, arm.weights)
            base = base or (member, given)
            demand_same_images(base[0], member, split, base[1], given)
            answers[arm.name][seed] = given
    return answers


def _without_seeds_as_names(found: dict[str, Comparison]) -> dict[str, Comparison]:
    for each in found.values():
        if SEEDLESS in each.seeds:
            each.seeds.remove(SEEDLESS)
    return found


def _time(arm: Arm, base: Arm) -> Ratio | None:
    """Ratio of training times, paired by seed."""
    both = [seed for seed in base.members if seed in arm.members]
    pairs = len(both) > 1
    sides = [[side.members[seed] for seed in both] if pairs else list(side.members.values()) for side in (arm, base)]
    seconds = [[one.record.seconds.get("train", 0.0) for one in side] for side in sides]
    machines = {
        (str(one.record.machine.get("cpu")), str(one.record.machine.get("gpus")), str(one.record.machine.get("cores")))
        for side in sides
        for one in side
        if isinstance(one.record, RunRecord)
    }
    if min(map(min, seconds)) <= 0 or len(machines) > 1:
        return None
    return ratio(*seconds, pairs=pairs)


def _ratio_json(found: Ratio | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"n": found.n, "ratio": found.ratio, "ci95": found.ci95 and list(found.ci95), "p_t": found.p_t}


def _by_class(
    arm: Mapping[int, NDArray[np.bool_]],
    base: Mapping[int, NDArray[np.bool_]],
    labels: NDArray[np.int64],
    data: DataRecord,
    alpha: float,
    arms: int,
) -> dict[str, list[dict[str, Any]]]:
    grouped = data.superclasses is not None and data.superclass_of is not None
    size = arms * (len(data.classes) + (len(data.superclasses or ()) if grouped else 0))
    rows = compare_classes(arm, base, labels, data.classes, alpha=alpha, size=size)
    found = {"classes": [row.to_json() for row in rows]}
    if data.superclasses is not None and data.superclass_of is not None:
        groups, of = data.superclasses, data.superclass_of
        larger = compare_classes(arm, base, labels, groups, superclass_of=of, alpha=alpha, size=size)
        found["superclasses"] = [row.to_json() for row in larger]
    return found
