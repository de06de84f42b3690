"""docs/results/reference-ablation.md from the records of studies/reference.yaml, its ensembles and its bagging.

    seedwise ablate studies/reference.yaml --data-dir DIR -j 2 -o RUNS/reference
    seedwise ensemble RUNS/reference/runs/base --vote soft -o RUNS/soft
    seedwise ensemble RUNS/reference/runs/base --vote hard -o RUNS/hard
    seedwise train cifar100 -r RUNS/base.yaml --data-dir DIR --bagging 5 -o RUNS/bagging
    python benchmarks/ablation_page.py RUNS [-o docs/results/reference-ablation.md]

RUNS/base.yaml is the base's recipe, resolved: RUNS/reference/runs/base/seed-*/recipe.yaml. No number is typed in: they
are those of the records.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from seedwise.base import machine
from seedwise.records.ensemble import EnsembleRecord, Gain, HeldOut
from seedwise.records.finished import read_ensemble
from seedwise.records.run import RunRecord, demand_final, read_record
from seedwise.study.progress import trial_folder
from seedwise.study.record import BASE, StudyRecord, read_study

OUT = Path(__file__).parent.parent / "docs" / "results" / "reference-ablation.md"
THEIRS = {
    "no-crop": "kept: it generalises",
    "no-flip": "kept",
    "no-rotation": "kept: about +0.5 points, \u201cperhaps within the margin of error\u201d",
    "no-cutmix": "kept: about +2 points",
    "bilinear": "rejected: little or no gain",
    "color_jitter": "rejected: worse",
    "drop_path": "rejected: little difference",
    "progressive": "rejected: hard and slow to try",
    "large-lr": "a larger rate was worse",
    "annealing": "not tried",
}
"""What the student team said of it, about the technique itself, not about taking it out."""
HEAD = """# The student team's ablations, with six seeds and a verdict

This page is made from records by `python benchmarks/ablation_page.py RUNS`; how they were made stands in that file and
below. How a verdict is reached: [statistics.md](../statistics.md). The study's own report, one file to download and
open: [reference-ablation-report.html](reference-ablation-report.html).
"""
REDUCED = """## What the reduction means

The team fine-tuned EfficientNetV2-S at 224 px on all 50,000 images for 25 epochs. Here a machine without a GPU trains
{model} at {size} px on {images:,} images for {epochs} epochs, because {trials} trials had to fit into an evening. What
follows from that, plainly:

- The verdicts hold for **this** setting. They are evidence about the team's setting only as far as the technique acts
  alike in both; none of them repeats or refutes the team's 0.8667.
- {epochs} epochs are short. What regularizes (CutMix, color jitter, stochastic depth, progressive learning) slows a
  short training down before it can pay; the team itself writes that the paper trains about 350 epochs. A *hurts* here
  does not say that it hurts in 25 epochs or 350.
- {size} px and a small network overfit less than V2-S at 224 px, so there is less for a regularizer to mend.
- What acts on every step from the first one (rate, schedule, crop, flip, interpolation) is less bound to the size.
- The schedule keeps its proportion, two drops in all, but a drop to 0.9 is so little that this stays a training
  at an almost constant rate, as theirs.
"""


def points(value: float, digits: int = 2) -> str:
    """A fraction as signed points."""
    return f"{100 * value:+.{digits}f}".replace("-", "\u2212")


def interval(ends: Sequence[float] | None) -> str:
    """An interval in points."""
    return "" if ends is None else f"[{points(ends[0])}, {points(ends[1])}]"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def arms(study: StudyRecord, runs: dict[str, list[RunRecord]]) -> str:
    """The verdicts."""
    base = study.summary[BASE]["test"]["top1"]
    base_gap = mean(gaps(runs[BASE]))
    rows = [[BASE, f"{base['mean']:.4f} ± {base['sd']:.4f}", "", "", "", f"{100 * base_gap:.1f}", ""]]
    for arm, by_split in study.comparisons.items():
        found, top1 = by_split["test"], study.summary[arm]["test"]["top1"]
        rows.append(
            [
                f"{arm}",
                f"{top1['mean']:.4f} ± {top1['sd']:.4f}",
                f"{points(found['mean'])} {interval(found['ci95_simultaneous'])}",
                f"{found['p_holm']:.4f}" if found["p_holm"] >= 0.001 else "<0.001",
                interval(found["ci95_images"]),
                f"{100 * mean(gaps(runs[arm])):.1f}",
                f"**{found['verdict']}**",
            ]
        )
    head = ["arm", "test top-1", "difference, simultaneous interval", "p (Holm)"]
    return table([*head, "with test images random too", "train-test gap", "verdict"], rows)


def sentences(study: StudyRecord) -> str:
    """Every verdict in words, beside the team's."""
    rows = [[arm, found["test"]["sentence"], THEIRS.get(arm, "")] for arm, found in study.comparisons.items()]
    return table(["arm", "verdict", "the team, of the technique"], rows)


def in_words(study: StudyRecord) -> str:
    """What the verdicts say of the techniques themselves: an arm `no-x` that helps says that x hurts."""
    said: dict[str, list[str]] = {}
    for arm, found in study.comparisons.items():
        verdict, without = found["test"]["verdict"], arm.startswith("no-")
        turned = {"helps": "hurts", "hurts": "helps"}.get(verdict, verdict) if without else verdict
        said.setdefault(turned, []).append(arm.removeprefix("no-"))
    lines = [f"- *{verdict}*: {', '.join(names)}" for verdict, names in said.items()]
    alpha = study.looks[-1].alpha if study.looks else 0.05
    head = (
        f"A difference is real where p is below {alpha:g}, what this look may spend. An arm is compared with the base, "
    )
    head += "so where `no-x` *helps*, x itself hurts. Of the techniques, in this setting:"
    return "\n".join([head, "", *lines, ""])


def gaps(runs: Iterable[RunRecord]) -> list[float]:
    """Top-1 on the images a run was trained on, without augmentation, minus top-1 on test."""
    finals = [demand_final(Path("run"), run) for run in runs]
    return [final.train.top1 - final.test.top1 for final in finals if final.train and final.test]


def cost(study: StudyRecord, runs: dict[str, list[RunRecord]]) -> str:
    """Seconds of training beside the base's, pair by pair."""
    rows = []
    for arm in study.arms:
        seconds = [run.seconds["train"] for run in runs[arm]]
        ratios = [mine / base.seconds["train"] for mine, base in zip(seconds, runs[BASE], strict=True)]
        spread = "" if arm == BASE else f"{median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
        rows.append([arm, f"{median(seconds):.0f} s", spread])
    return table(["arm", "training, median", "in times the base's, pair by pair"], rows)


def gain(found: Gain | None) -> str:
    """A gain of an ensemble in points."""
    return "" if found is None else f"{points(found.mean)} {interval(found.ci95)}"


def voters(records: dict[str, EnsembleRecord]) -> str:
    """The ensembles on test."""
    rows = []
    for name, record in records.items():
        held: HeldOut | None = record.test
        assert held is not None
        gap = mean(member.gap for member in record.members if member.gap is not None)
        rows.append(
            [
                *(name, f"{len(record.members)}", f"{held.mean_of_members.top1:.4f}", f"{100 * gap:.1f}"),
                *(f"{held.scores.top1:.4f}", gain(held.gain_over_mean), gain(held.gain_over_best)),
                *(f"{held.disagreement:.3f}", f"{held.ece_of_members:.3f}", f"{held.ece:.3f}"),
            ]
        )
    head = [
        "ensemble",
        "members",
        "their mean test top-1",
        "their mean train-test gap",
        "ensemble",
        "gain over their mean",
    ]
    return table([*head, "gain over the best by validation", "disagreement", "members' ECE", "ECE"], rows)


def answer(records: dict[str, EnsembleRecord]) -> str:
    """To the team's question, from what was measured."""
    soft, hard, bagged = (records[name] for name in ("soft", "hard", "bagging"))
    held = [record.test for record in (soft, hard, bagged)]
    assert held[0] and held[1] and held[2]
    gap, bag_gap = (100 * mean(m.gap for m in record.members if m.gap is not None) for record in (soft, bagged))
    single = held[0].mean_of_members.top1
    against = beside(held[2].scores.top1, single, held[0].scores.top1)
    return (
        f"**Does it help to combine overfitted models?** The members score {gap:.1f} points more on their own training "
        f"images than on test. Their soft vote gains {points(held[0].gain_over_mean.mean)} points over their mean "
        f"{interval(held[0].gain_over_mean.ci95)}, the hard vote {points(held[1].gain_over_mean.mean)} "
        f"{interval(held[1].gain_over_mean.ci95)} (95% intervals, test images random). Members on bootstrap samples "
        f"have a gap of {bag_gap:.1f} points and a lower mean ({held[2].mean_of_members.top1:.4f} against "
        f"{single:.4f}: each sees about 63% of the images); their vote gains {points(held[2].gain_over_mean.mean)} "
        f"points over that mean and reaches {held[2].scores.top1:.4f}, {against}.\n"
    )


def beside(bagged: float, single: float, seeds: float) -> str:
    """How bagging stands beside one network on all images and beside seeds that vote."""
    over = "above" if bagged > single else "below"
    under = "above" if bagged > seeds else "below"
    return (
        f"{over} one network on all images ({single:.4f}) and {under} the vote of networks that differ by seed alone "
        f"({seeds:.4f})"
    )


def page(place: Path) -> str:
    """The page."""
    study = read_study(place / "reference")
    runs = {
        arm: [read_record(place / "reference" / trial_folder(arm, seed)) for seed in study.seeds] for arm in study.arms
    }
    base, recipe = runs[BASE][0], study.recipe(BASE)
    names = ("soft", "hard", "bagging")
    records = {name: read_ensemble(place / name) for name in names if (place / name / "record.json").exists()}
    reduced = {"model": "EfficientNet-Lite0", "size": recipe.train.image_size, "images": base.data.splits["train"]}
    reduced |= {"epochs": recipe.train.epochs, "trials": len(study.trials)}
    splits = ", ".join(f"{count:,} {part}" for part, count in base.data.splits.items())
    facts: dict[str, Any] = {
        "trials": f"{len(study.trials)}: {len(study.arms)} arms, seeds {', '.join(map(str, study.seeds))}",
        "frozen before the first": f"margin {100 * (study.margin or 0):g} points, outcome {study.primary.split} top-1",
        "looks": ", ".join(f"look {it.look} at {it.seeds} seeds, alpha {it.alpha:g}" for it in study.looks),
        "data": f"CIFAR-100, fingerprint `{base.data.fingerprint[:16]}`, {splits} images",
        "machine": machine.describe(base.machine),
        "versions": ", ".join(f"{name} {version}" for name, version in base.versions.items()),
        "test read": f"{sum(run.test_evaluations for of in runs.values() for run in of)} times, once a trial",
    }
    commands = [line.strip() for line in (__doc__ or "").strip().splitlines()[2:6]]
    parts = [HEAD, "\n".join(["```", *commands, "```\n"])]
    parts += ["## Verdicts\n", arms(study, runs), sentences(study)]
    parts += [in_words(study)]
    parts += [REDUCED.format(**reduced), "## What it costs\n", cost(study, runs)]
    parts += ["Two trials ran at once, a thread each. Low ends: the first seeds had other work beside some trials.\n"]
    if records:
        parts += ["## Ensembles\n", voters(records)]
    if len(records) == len(names):
        parts += [answer(records)]
    parts += ["## The study\n", table(["", ""], [[name, str(value)] for name, value in facts.items()])]
    return "\n".join(parts)


def main() -> None:
    """Read, write."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("runs", type=Path, metavar="RUNS")
    made.add_argument("-o", "--out", type=Path, default=OUT)
    options = made.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(page(options.runs), encoding="utf-8")
    print(options.out)


if __name__ == "__main__":
    main()
