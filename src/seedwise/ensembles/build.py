"""Builds an ensemble's folder from finished runs."""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedwise.base.distribution import distribution
from seedwise.base.errors import UserError
from seedwise.base.files import LOCK, sha256_of, sole_writer
from seedwise.ensembles.metrics import disagreement
from seedwise.ensembles.selection import select_greedy
from seedwise.ensembles.votes import Floats, combine, fit_weights, log_probabilities, predicted_classes
from seedwise.records.ensemble import EnsembleRecord, Gain, HeldOut, Member, OutOfBag, Selection, Vote, write_ensemble
from seedwise.records.finished import Finished, demand_same_images, is_ensemble, read_ensemble
from seedwise.records.predictions import (
    Files,
    Originals,
    Predictions,
    read_originals,
    read_predictions,
    score,
    write_predictions,
)
from seedwise.records.run import PREDICTIONS, RECORD, STUDY, WEIGHTS, RunRecord, Scores, demand_final
from seedwise.stats import mcnemar, over_images
from seedwise.stats.calibration import calibration

ELSEWHERE = "choose another folder with -o"


def build(
    members: Sequence[Finished],
    folder: Path,
    *,
    vote: Vote = "soft",
    select: Selection = "all",
    seed: int | None = None,
) -> EnsembleRecord:
    """Let finished runs vote, and write their ensemble into a folder; leaves the same ensemble as it is. A UserError
    for runs that can't vote together, or a folder of something else."""
    answered = _demand_members(members)
    if not members[0].data.splits["val"] and (vote == "weighted" or select == "greedy"):
        option = "--vote weighted" if vote == "weighted" else "--voters greedy"
        raise UserError(f"{option}: needs validation images, and these runs have none; take --vote soft or hard")
    _demand_free(folder)
    with sole_writer(folder):
        before = read_ensemble(folder) if (folder / RECORD).exists() else None
        asked = (vote, select, [_files(member) for member in members])
        if before is not None and (before.vote, before.select, [member.files for member in before.members]) == asked:
            return before
        if before is not None and (seed is None or before.seed != seed):
            raise UserError(f"{folder}: holds another ensemble; {ELSEWHERE}")
        return _write(members, folder, vote, select, seed, answered, reads=before.test_evaluations if before else 0)


def _demand_members(members: Sequence[Finished]) -> dict[str, list[Predictions]]:
    """The members' predictions by split; a UserError unless they are different runs scored on the same images."""
    runs: dict[Path, Path] = {}
    for member in members:
        if not isinstance(member.record, RunRecord):
            raise UserError(f"{member.folder}: is an ensemble itself; give its members")
        if (real := member.folder.resolve()) in runs:
            raise UserError(f"{member.folder}: is given twice (as {runs[real]}); give each run once")
        runs[real] = member.folder
    if len(runs) < 2:
        raise UserError("an ensemble needs two runs or more; give their folders, or a study's")
    first = members[0]
    splits = [split for split in ("val", "test") if first.data.splits[split]]
    if not splits:
        raise UserError(f"{first.folder}: has neither validation nor test images to judge an ensemble by")
    answered = {split: [member.predictions(split) for member in members] for split in splits}
    for split, given in answered.items():
        for member, predictions in zip(members, given, strict=True):
            demand_same_images(first, member, split, given[0], predictions)
    return answered


def _demand_free(folder: Path) -> None:
    if (folder / STUDY).exists() or ((folder / RECORD).exists() and not is_ensemble(folder)):
        raise UserError(f"{folder}: holds a {'study' if (folder / STUDY).exists() else 'run'}; {ELSEWHERE}")
    if folder.is_dir() and not any((folder / name).exists() for name in (LOCK, RECORD)):
        other = next((path.name for path in folder.iterdir() if not path.name.startswith(".")), None)
        if other is not None:
            raise UserError(f"{folder}: holds other files ({other}); choose a new or an empty folder with -o")


def _write(
    members: Sequence[Finished],
    folder: Path,
    vote: Vote,
    select: Selection,
    seed: int | None,
    answered: dict[str, list[Predictions]],
    reads: int,
) -> EnsembleRecord:
    log_p = {split: np.stack([log_probabilities(it.logits) for it in given]) for split, given in answered.items()}
    picks, weights = _weights(log_p, answered, len(members), vote, select)
    best = None
    if "val" in answered:  # never by test
        on_val = [score(it) for it in answered["val"]]
        best = max(range(len(members)), key=lambda i: (on_val[i].top1, -on_val[i].loss, -i))
    combined = {
        split: Predictions(
            given[0].ids, given[0].targets, combine(log_p[split], weights, vote).astype(np.float32), _names(given)
        )
        for split, given in answered.items()
    }
    held = {split: _held(combined[split], answered[split], log_p[split], best, weights > 0) for split in combined}
    shares = weights / weights.sum()
    rows = [_member(member, folder, int(n), float(share)) for member, n, share in zip(members, picks, shares)]
    voting = [row for row in rows if row.weight > 0]
    alike = len({(row.architecture, row.image_size) for row in voting}) == 1
    write_predictions(folder / PREDICTIONS, combined, _originals_of(members))
    record = EnsembleRecord(
        vote=vote,
        select=select,
        seed=seed,
        members=rows,
        best=best,
        data=members[0].data,
        val=held.get("val"),
        test=held.get("test"),
        oob=_out_of_bag(members, weights, vote),
        parameters=sum(row.parameters for row in voting),
        networks=len(voting),
        relative_time=float(len(voting)) if alike else None,
        seconds={"train": sum(row.train_seconds for row in voting)},
        test_evaluations=reads + ("test" in combined),
        versions={"seedwise": distribution()[1], "numpy": np.__version__},
        files={PREDICTIONS: sha256_of(folder / PREDICTIONS)},
    )
    write_ensemble(folder, record)
    return record


def _weights(
    log_p: dict[str, Floats], answered: dict[str, list[Predictions]], count: int, vote: Vote, select: Selection
) -> tuple[NDArray[np.int64], Floats]:
    """How often each member is picked, int64[m], and the weight of its vote, float64[m] (for a hard vote its votes)."""
    picks = np.ones(count, np.int64)
    if select == "greedy":
        picks = select_greedy(log_p["val"], answered["val"][0].targets, "soft" if vote == "weighted" else vote)
    weights = picks.astype(np.float64)
    if vote == "weighted":
        chosen = picks > 0
        weights[chosen] = fit_weights(log_p["val"][chosen], answered["val"][0].targets)
    return picks, weights


def _held(
    together: Predictions, apart: Sequence[Predictions], log_p: Floats, best: int | None, voting: NDArray[np.bool_]
) -> HeldOut:
    """Scores of the vote and of the members, bool[m] `voting`, that it is made of; `best` may be another one."""
    best_member = None if best is None else score(apart[best])
    over_best = None if best is None else mcnemar(together.correct(), apart[best].correct())
    apart, log_p = [it for it, votes in zip(apart, voting, strict=True) if votes], log_p[voting]
    right, rights = together.correct(), np.stack([it.correct() for it in apart])
    scores = [score(it) for it in apart]
    mean = {name: float(np.mean([getattr(it, name) for it in scores])) for name in Scores.model_fields}
    over_mean = over_images(right, rights.mean(axis=0))
    differing, error = disagreement(predicted_classes(log_p)), 1 - mean["top1"]
    return HeldOut(
        scores=score(together),
        ece=calibration(together.logits, together.targets, right).ece,
        mean_of_members=Scores(**mean),
        ece_of_members=float(
            np.mean([calibration(it.logits, it.targets, hit).ece for it, hit in zip(apart, rights, strict=True)])
        ),
        best_member=best_member,
        gain_over_mean=Gain(mean=over_mean.mean, ci95=over_mean.interval(), p=over_mean.p_t),
        gain_over_best=over_best and Gain(mean=over_best.mean, ci95=over_best.ci95, p=over_best.p),
        disagreement=differing,
        disagreement_ratio=differing / error if error > 0 else None,
    )


def _names(given: Sequence[Predictions]) -> Files | None:
    """Names of the images, from the first member that stored them."""
    return next((it.files for it in given if it.files is not None), None)


def _originals_of(members: Sequence[Finished]) -> dict[str, Originals]:
    """Hashes of the original images by split, in train of all members; empty unless all stored them."""
    known = [read_originals(member.folder, member.record) for member in members]
    if not all("train" in it for it in known):
        return {}
    return known[0] | {"train": np.unique(np.concatenate([it["train"] for it in known]))}


def _files(member: Finished) -> dict[str, str]:
    return {name: member.record.files[name] for name in (PREDICTIONS, WEIGHTS) if name in member.record.files}


def _way(place: Path, folder: Path) -> str:
    """The path from a folder to another place; the whole path where none leads there, on another drive of Windows."""
    try:
        return Path(os.path.relpath(place, folder)).as_posix()
    except ValueError:
        return place.as_posix()


def _member(member: Finished, folder: Path, picks: int, weight: float) -> Member:
    record = member.record
    assert isinstance(record, RunRecord)
    final = demand_final(member.folder, record)
    held_out = final.test or final.val
    return Member(
        folder=_way(member.folder.resolve(), folder.resolve()),
        recipe=record.recipe,
        seed=record.seed,
        architecture=record.model.architecture,
        image_size=record.epochs[-1].image_size if record.epochs else None,
        picks=picks,
        weight=weight,
        parameters=record.parameters,
        train_seconds=record.seconds.get("train", 0.0),
        final=final,
        gap=None if held_out is None else final.train.top1 - held_out.top1,
        files=_files(member),
    )


def _out_of_bag(members: Sequence[Finished], weights: Floats, vote: Vote) -> OutOfBag | None:
    """Out-of-bag scores of training images: Breiman 1996, Out-of-bag estimation (Berkeley)."""
    given = {
        place: it
        for place, member in enumerate(members)
        if weights[place] > 0 and (it := read_predictions(member.folder, member.record, "oob").get("oob")) is not None
    }
    if not given:
        return None
    log_p = {place: log_probabilities(it.logits) for place, it in given.items()}
    position = {place: dict(zip(it.ids.tolist(), range(len(it.ids)))) for place, it in given.items()}
    target = {i: t for it in given.values() for i, t in zip(it.ids.tolist(), it.targets.tolist(), strict=True)}
    by_jury: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for image in sorted(target):
        by_jury[tuple(place for place in given if image in position[place])].append(image)
    parts, single, inverse = [], 0.0, 0.0
    for jury, images in by_jury.items():
        rows = np.stack([log_p[place][[position[place][image] for image in images]] for place in jury])
        parts.append(combine(rows, weights[list(jury)], vote))
        single += float((rows.argmax(axis=2) == [target[image] for image in images]).mean(axis=0).sum())
        inverse += len(images) / len(jury)
    order = np.array([image for images in by_jury.values() for image in images], np.int64)
    targets = np.array([target[image] for image in order.tolist()], np.int64)
    scores = score(Predictions(order, targets, np.concatenate(parts).astype(np.float32)))
    votes = sum(len(jury) * len(images) for jury, images in by_jury.items()) / len(order)
    single, inverse = single / len(order), inverse / len(order)
    grown = None if inverse == 1 else (1 - 1 / len(given)) / (1 - inverse)
    return OutOfBag(
        top1=scores.top1,
        loss=scores.loss,
        images=len(order),
        votes=votes,
        top1_of_all=None if grown is None else min(1.0, single + (scores.top1 - single) * grown),
    )
