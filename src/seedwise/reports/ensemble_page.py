"""Builds the page of an ensemble."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedwise.ensembles.metrics import by_size, disagreements
from seedwise.ensembles.votes import Floats, combine, log_probabilities, predicted_classes
from seedwise.records.ensemble import EnsembleRecord, Gain, HeldOut, Vote
from seedwise.records.predictions import Predictions, score
from seedwise.records.run import Scores, tells_top5
from seedwise.reports.ensemble_charts import MEMBERS_SHOWN, gains, growth, members
from seedwise.reports.read_ensemble import EnsembleFiles, read_ensemble_files
from seedwise.reports.shared import calibrated, difference_said, provenance
from seedwise.reports.words import Words
from seedwise.stats import decide, over_images
from seedwise.stats.calibration import calibration
from seedwise.stats.convergence import gap_noise

Context = dict[str, Any]

MOST_ANSWERS = 20_000_000
"""Members × images × classes up to which votes of fewer members are computed: above, it would take minutes."""


def ensemble_context(folder: Path, words: Words) -> Context:
    """Build the variables of `ensemble.html` from an ensemble's folder."""
    files = read_ensemble_files(folder)
    record, names = files.record, short_names([member.folder for member in files.record.members])
    held: HeldOut | None = getattr(record, files.split)
    log_p = {
        split: np.stack([log_probabilities(it.logits) for it in given]) for split, given in files.predictions.items()
    }
    return {
        "kind": "ensemble",
        "title": words("ensemble.title", n=record.networks, data=record.data.name),
        "record": record,
        "missing": files.missing,
        "leaks": files.leaks,
        "split": files.split,
        "split_name": words(f"split.{files.split}"),
        "architectures": ", ".join(dict.fromkeys(member.architecture for member in record.members)),
        "held": held,
        "said": _said(held, files.split, words),
        "gains": _gains(held, words),
        "gains_chart": gains(record, names, words),
        "scores": _scores(files, log_p, words),
        "top5": tells_top5(len(record.data.classes)),
        "members": _members(record, names),
        "members_chart": members(record, names, files.split, words),
        "gap": _gap(record),
        "overfit": _overfit(record),
        "growth": growth(_growth(files, log_p), words),
        "disagreement": _disagreement(files, log_p, names),
        "families": _families(files),
        "calibration": calibrated(files.held, words),
        "facts": _facts(record, words),
        "provenance": _provenance(files, words),
        "commands": _commands(files),
    }


def short_names(folders: Sequence[str]) -> list[str]:
    """The folders without the leading parts that they share."""
    parts = [folder.split("/") for folder in folders]
    shared = 0
    while all(len(each) > shared + 1 for each in parts) and len({each[shared] for each in parts}) == 1:
        shared += 1
    return ["/".join(each[shared:]) or "." for each in parts]


def _said(held: HeldOut | None, split: str, words: Words) -> str | None:
    """A sentence on the vote's accuracy against the mean of its members and the best of them."""
    if held is None:
        return None
    over_mean = difference_said(held.gain_over_mean.mean, held.gain_over_mean.ci95, words)
    said = words(
        "ensemble.said",
        top1=words.percent(held.scores.top1, 2),
        split=words(f"split.{split}"),
        gain=over_mean,
        mean=words.percent(held.mean_of_members.top1, 2),
    )
    if held.best_member is None or held.gain_over_best is None:
        return words("ensemble.said_alone", said=said)
    over_best = difference_said(held.gain_over_best.mean, held.gain_over_best.ci95, words)
    best = words.percent(held.best_member.top1, 2)
    return words("ensemble.said_best", said=said, gain=over_best, best=best)


def _gains(held: HeldOut | None, words: Words) -> list[Context]:
    """Whether the vote is better than the mean of its members, and than the best of them, as far as images tell."""
    if held is None:
        return []
    rows = [("mean", held.gain_over_mean)]
    rows += [("best", held.gain_over_best)] if held.gain_over_best is not None else []
    return [
        {
            "against": against,
            "short": _verdict(gain),
            "name": words(f"ensemble.against_{against}"),
            "word": words(f"ensemble.{_verdict(gain)}"),
            "said": difference_said(gain.mean, gain.ci95, words)
            + (f", p {words.p(gain.p)}" if gain.p is not None else ""),
        }
        for against, gain in rows
    ]


def _verdict(gain: Gain) -> str:
    if gain.ci95 is None or gain.ci95[0] <= 0 <= gain.ci95[1] or (gain.p is not None and gain.p >= 0.05):
        return "undecided"
    return "helps" if gain.mean > 0 else "hurts"


def _scores(files: EnsembleFiles, log_p: dict[str, Floats], words: Words) -> list[Context]:
    """Scores of the vote, its members and the best of them by split; other votes only on validation, to choose by."""
    rows = []
    for split in ("test", "val"):
        held: HeldOut | None = getattr(files.record, split)
        if held is None:
            continue
        found: list[tuple[str, Scores, float | None]] = [
            (words(f"vote.{files.record.vote}"), held.scores, held.ece),
            (words("ensemble.mean"), held.mean_of_members, held.ece_of_members),
        ]
        found += [(words("ensemble.best"), held.best_member, None)] if held.best_member is not None else []
        if split == "val" and split in log_p:
            found += [_other(files, log_p[split], vote, words) for vote in _others(files.record.vote)]
        rows += [{"split": words(f"scores.{split}"), "name": n, "scores": s, "ece": e} for n, s, e in found]
    return rows


def _others(vote: Vote) -> list[Vote]:
    choices: tuple[Vote, ...] = ("soft", "hard")
    return [each for each in choices if each != vote]


def _other(files: EnsembleFiles, log_p: Floats, vote: Vote, words: Words) -> tuple[str, Scores, float]:
    """Scores of another vote of the same members on validation images."""
    given = files.held["val"]
    together = combine(log_p, [member.picks for member in files.record.members], vote).astype(np.float32)
    voted = Predictions(given.ids, given.targets, together)
    ece = calibration(together, given.targets, voted.correct()).ece
    return words("ensemble.instead", vote=words(f"vote.{vote}")), score(voted), ece


def _members(record: EnsembleRecord, names: Sequence[str]) -> Context:
    rows = [
        {
            "name": name,
            "best": index == record.best,
            "seed": member.seed,
            "what": f"{member.recipe}, {member.architecture}",
            "weight": member.weight,
            "picks": member.picks,
            "final": member.final,
            "gap": member.gap,
        }
        for index, (name, member) in enumerate(zip(names, record.members))
    ]
    return {
        "rows": rows,
        "differ": len({row["what"] for row in rows}) > 1,
        "hidden": max(0, len(rows) - MEMBERS_SHOWN),
    }


def _gap(record: EnsembleRecord) -> tuple[float, float] | None:
    """Least and largest train-test gap of the members that vote."""
    known = [member.gap for member in record.members if member.gap is not None and member.weight]
    return (min(known), max(known)) if known else None


def _overfit(record: EnsembleRecord) -> bool:
    """Whether every member's gap is more than noise."""
    voting = [member for member in record.members if member.gap is not None and member.weight]
    for member in voting:
        held, name = (member.final.test, "test") if member.final.test else (member.final.val, "val")
        train, count = member.final.train.top1, record.data.splits.get(name, 0)
        if held is None or not count:
            return False
        if train - held.top1 <= gap_noise(train, record.data.splits.get("train", 0), held.top1, count):
            return False
    return bool(voting)


def _growth(files: EnsembleFiles, log_p: dict[str, Floats]) -> dict[str, dict[int, list[float]]]:
    record = files.record
    if sum(each.size for each in log_p.values()) > MOST_ANSWERS or sum(votes > 0 for votes in record.votes) < 2:
        return {}
    return {
        split: by_size(log_p[split], record.votes, record.vote, files.held[split].targets)
        for split in ("test", "val")
        if split in log_p
    }


def _disagreement(files: EnsembleFiles, log_p: dict[str, Floats], names: Sequence[str]) -> Context | None:
    """Shares of images on which two members differ; on the diagonal a member's error."""
    if files.split not in log_p or len(names) > MEMBERS_SHOWN:
        return None
    said = predicted_classes(log_p[files.split])
    shares = disagreements(said)
    np.fill_diagonal(shares, (said != files.held[files.split].targets).mean(axis=1))
    highest = float(shares.max()) or 1.0
    rows = [[{"count": f"{100 * s:.1f}", "shade": round(float(s) / highest, 2)} for s in row] for row in shares]
    return {"names": names, "rows": rows, "rest": False}


def _families(files: EnsembleFiles) -> list[Context]:
    """Accuracy of the vote minus its members' mean by superclass and by class, the most certain first."""
    ours, theirs, data = files.held.get(files.split), files.predictions.get(files.split), files.record.data
    if ours is None or theirs is None:
        return []
    right, mean = ours.correct().astype(np.float64), np.mean([each.correct() for each in theirs], axis=0)
    found = []
    if data.superclasses and data.superclass_of is not None:
        found.append(("superclass", data.superclasses, np.asarray(data.superclass_of)[ours.targets]))
    found.append(("class", data.classes, ours.targets))
    return [{"family": name, "rows": by_group(right, mean, groups, names)} for name, names, groups in found]


def by_group(
    right: NDArray[np.float64], mean: NDArray[np.float64], groups: NDArray[np.int64], names: Sequence[str]
) -> list[Context]:
    """Mean differences by class with images random, as in the record's gain, Holm-corrected as one family. right, mean:
    float64[m], the vote's hits and the members' mean; groups: int64[m]."""
    places = [(name, np.flatnonzero(groups == index)) for index, name in enumerate(names)]
    kept = [(name, place) for name, place in places if len(place) > 1]
    differences = [over_images(right[place], mean[place]) for _, place in kept]
    rows: list[Context] = []
    for (name, place), found, decision in zip(kept, differences, decide(differences)):
        better = "better" if found.mean > 0 else "worse"
        rows.append(
            {
                "name": name,
                "images": len(place),
                "of_mean": float(mean[place].mean()),
                "of_vote": float(right[place].mean()),
                "mean": found.mean,
                "ci95_simultaneous": decision.interval,
                "p_holm": decision.p_holm,
                "verdict": better if decision.significant else "undecided",
            }
        )
    rows.sort(key=lambda row: (row["p_holm"], -abs(row["mean"])))
    return [{"row": row} for row in rows]


def _facts(record: EnsembleRecord, words: Words) -> list[tuple[str, str]]:
    time = "–" if record.relative_time is None else words("ensemble.times", n=f"{record.relative_time:g}")
    rows = [
        (words("ensemble.vote"), words(f"vote.{record.vote}")),
        (words("ensemble.select"), words(f"select.{record.select}")),
        (words("ensemble.networks"), words("ensemble.of", n=record.networks, m=len(record.members))),
        (words("ensemble.parameters"), str(record.parameters)),
        (words("ensemble.time"), time),
        (words("from.versions"), ", ".join(f"{name} {it}" for name, it in record.versions.items())),
    ]
    return rows + ([(words("plan.master"), str(record.seed))] if record.seed is not None else [])


def _provenance(files: EnsembleFiles, words: Words) -> list[tuple[str, str]]:
    if files.runs:
        later = files.test_reads - sum(run.test_evaluations for run in files.runs)
        return provenance(files.runs, words, later)
    data = files.record.data
    return [
        (words("from.data"), data.name),
        (words("from.fingerprint"), data.originals or data.fingerprint),
        (words("from.test_reads"), str(files.test_reads)),
    ]


def _commands(files: EnsembleFiles) -> list[str]:
    if files.bagging:
        return ["seedwise resume .", "seedwise report ."]
    runs = " ".join(shlex.quote(member.folder) for member in files.record.members)
    select = "" if files.record.select == "all" else f" --voters {files.record.select}"
    return [f"seedwise ensemble {runs} --vote {files.record.vote}{select} -o again", "seedwise report ."]
