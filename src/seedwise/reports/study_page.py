"""Builds the page of a study."""

from pathlib import Path
from typing import Any

from seedwise.config.options import plain
from seedwise.config.section import diff
from seedwise.records.finished import judged
from seedwise.reports.place import advice_rows, beside, place, too_short
from seedwise.reports.read_study import StoredComparison, StudyFiles, read_study_files
from seedwise.reports.shared import difference_said, options, provenance, techniques
from seedwise.reports.study_charts import cost, forest, learning, seeds_chart
from seedwise.reports.words import Words
from seedwise.stats import ClassDifference, Verdict, compare_classes, worth_deciding
from seedwise.study.progress import averaged_arms

Context = dict[str, Any]

SHORT: dict[Verdict, str] = {
    "helps": "helps",
    "hurts": "hurts",
    "no difference that matters": "no-difference",
    "real but too small to matter": "too-small",
    "undecided": "undecided",
}
"""A verdict's name in data-verdict and in the keys of the texts."""
CLASSES_SHOWN, SEEDS_SHOWN = 100, 12
"""Largest numbers of an arm's rows by class, and of columns by seed."""


def study_context(folder: Path, words: Words) -> Context:
    """Build the variables of `study.html` from a study's folder."""
    study = read_study_files(folder)
    runs, record = study.runs, study.record
    margin = record.margin
    first = runs[0] if runs else None
    by_class = _by_class(study)
    compared = {name: arm.compared for name, arm in study.arms.items() if arm.compared}
    return {
        "kind": "study",
        "title": words("study.title", recipe=record.recipe(study.base).name, data=record.data.rsplit("/", 1)[-1]),
        "study": study,
        "first": first,
        "finished": len(runs),
        "trials": len(study.statuses),
        "margin": margin,
        "provisional": bool(getattr(record, "provisional", False)),
        "verdicts": [_verdict(name, found, margin, words) for name, found in compared.items()],
        "width": _width(compared, len(study.arms) - 1, words),
        "level": _level(compared),
        "place": next((place(found.holds.base, words) for found in compared.values() if found.holds), ""),
        "base_summary": study.arms[study.base].summary.get(study.split),
        "forest": forest(study, words, margin),
        "compared": compared,
        "seeds_chart": seeds_chart(study, words),
        "seed_columns": [(str(seed), True) for seed in record.seeds[:SEEDS_SHOWN]],
        "arms": _arms(study),
        "learning": learning(study, words),
        "cost": cost(study, words),
        "by_superclass": by_class["superclasses"],
        "by_class": by_class["classes"],
        "techniques": _techniques(study, words),
        "runs": _runs(study),
        "plan": _plan(study, margin, words),
        "provenance": provenance(runs, words) if runs else [],
        "made_by": record.commands,
        "commands": ["seedwise resume .", "seedwise report ."],
        "options": options(record.recipe(study.base)),
    }


def _verdict(arm: str, found: StoredComparison, margin: float | None, words: Words) -> Context:
    """The verdict in words: its kind, its size, and what would decide it."""
    short = SHORT[found.verdict]
    said = difference_said(found.mean, found.ci95_simultaneous, words)
    if margin is not None and short in ("too-small", "no-difference"):
        said += words(f"verdict.why_{short}", margin=f"{margin * 100:g}")
    if short == "undecided":
        said += _what_would_decide(found, words)
    said += too_short(found, words)
    return {
        "arm": arm,
        "short": short,
        "word": words(f"verdict.{short}"),
        "said": said,
        "own": beside(found, words),
        "advice": advice_rows(found, words),
    }


def _level(compared: dict[str, StoredComparison]) -> str | None:
    """Confidence level of the look's intervals in percent, if above 95."""
    alpha = next((found.alpha for found in compared.values()), 0.05)
    return f"{100 * (1 - alpha):.6g}" if alpha < 0.05 else None


def _width(compared: dict[str, StoredComparison], arms: int, words: Words) -> str:
    """What widens the intervals of the verdicts: the number of arms, and several looks."""
    level = _level(compared)
    kind = ("both" if arms > 1 else "look") if level else ("arms" if arms > 1 else "alone")
    return words(f"verdict.width_{kind}", level=level, n=arms)


def _what_would_decide(found: StoredComparison, words: Words) -> str:
    interval = found.ci95_simultaneous
    if interval is None:
        return words("verdict.single")
    if all(end in (found.mean, 0.0) for end in interval):
        return words("verdict.same", n=found.n)
    if found.seeds_to_decide is None:
        return words("verdict.never")
    return words(
        "verdict.more" if worth_deciding(found.seeds_to_decide) else "verdict.not_worth", n=found.seeds_to_decide
    )


def _arms(study: StudyFiles) -> list[Context]:
    base = study.record.recipe(study.base)
    rows = []
    for name, arm in study.arms.items():
        outcomes = arm.outcomes(study.split)
        rows.append(
            {
                "name": name,
                "summary": arm.summary.get(study.split),
                "by_seed": [outcomes.get(seed) for seed in study.record.seeds[:SEEDS_SHOWN]],
                "differs": [] if name == study.base else diff(base, study.record.recipe(name)),
                "is_base": name == study.base,
            }
        )
    return rows


def _runs(study: StudyFiles) -> list[Context]:
    rows = []
    for (name, seed), status in study.statuses.items():
        run = study.arms[name].runs.get(seed)
        final = run.final if run is not None else None
        held = (final.test or final.val) if final else None
        # Averaged weights are shown no training images.
        train = None if run is None or not final or judged(run, study.record.primary.weights)[1] else final.train.top1
        rows.append(
            {
                "arm": name,
                "seed": seed,
                "status": status,
                "train": train,
                "val": final.val.top1 if final and final.val else None,
                "test": final.test.top1 if final and final.test else None,
                "gap": train - held.top1 if train is not None and held else None,
                "seconds": run.seconds.get("train") if run is not None else None,
                "speed": run.images_per_second if run is not None else None,
            }
        )
    return rows


def _techniques(study: StudyFiles, words: Words) -> list[Context]:
    """Measurements of techniques in each arm's first finished run; the other seeds' differ only by chance."""
    rows = []
    for name, arm in study.arms.items():
        for run in list(arm.runs.values())[:1]:
            rows += [{"arm": name, **row} for row in techniques(run, words)]
    return rows


def _by_class(study: StudyFiles) -> dict[str, list[Context]]:
    """Differences to the base by superclass and by class, the most certain first."""
    found: dict[str, list[Context]] = {"superclasses": [], "classes": []}
    base = study.right(study.base) if len(study.arms) > 1 else None
    if base is None:
        return found
    data = next(iter(study.arms[study.base].runs.values())).data
    families: dict[str, Any] = {"classes": (data.classes, None)}
    if data.superclasses and data.superclass_of is not None:
        families["superclasses"] = (data.superclasses, data.superclass_of)
    size = (len(study.arms) - 1) * sum(len(names) for names, _ in families.values())
    for name in study.arms:
        mine = study.right(name) if name != study.base else None
        if mine is None or mine[1].tolist() != base[1].tolist():
            continue
        compared = study.arms[name].compared
        alpha = 0.05 if compared is None else compared.alpha
        for family, (names, superclass_of) in families.items():
            rows = compare_classes(
                mine[0], base[0], base[2], names, superclass_of=superclass_of, alpha=alpha, size=size
            )
            found[family] += [{"arm": name, "row": row} for row in sorted(rows, key=_interest)[:CLASSES_SHOWN]]
    return found


def _interest(row: ClassDifference) -> tuple[float, float, float]:
    return row.p_holm, row.p, -abs(row.mean)


def _plan(study: StudyFiles, margin: float | None, words: Words) -> list[tuple[str, str]]:
    record = study.record
    rows = [
        (words("plan.arms"), ", ".join(record.arms)),
        (words("plan.base"), study.base),
        (words("plan.seeds"), ", ".join(map(str, record.seeds))),
        (words("plan.master"), str(record.master_seed)),
        (words("plan.outcome"), words("plan.top1", split=words(f"split.{study.split}"))),
        *((words("plan.averaged"), ", ".join(arms)) for arms in [averaged_arms(record)] if arms),
    ]
    if margin is not None:
        rows.append((words("plan.margin"), words("plan.points", n=f"{margin * 100:g}")))
    for look in plain(getattr(record, "looks", None) or []):
        rows.append((words("plan.look", n=look["look"]), words("plan.looked", **look)))
    for added in plain(getattr(record, "additions", None) or []):
        what = ", ".join(map(str, [*added["arms"], *added["seeds"]]))
        rows.append((words("plan.added", n=added["after_look"]), what))
    return rows
