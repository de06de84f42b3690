"""Prints a study's arms; without tensors or statistics, which study.json holds already."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from seedwise.cli.output import print_named, print_table
from seedwise.study.progress import StudyLike, averaged_arms, complete_seeds, looked

if TYPE_CHECKING:
    from seedwise.study.outcome import Study
    from seedwise.study.record import StudyRecord


def print_done(done: "Study", as_json: bool, go_on: str | None = None) -> int:
    """Print a study after its trials and return the exit code; failures raise a UserError at the end.

    `go_on`: the command that completes it, if that isn't `seedwise resume`.
    """
    from seedwise.cli.print_run import print_places, say_cut, say_inert, say_leaks, say_unconverged

    study, finished = done.record, [trial for trial in done.record.trials if trial.status == "finished"]
    if as_json:
        print(study.model_dump_json(indent=2))
    else:
        print_arms(study) if len(study.arms) > 1 else print_seeds(study)
    if finished:
        say_leaks(done.folder / finished[0].folder, as_json=as_json)
    if not as_json:
        say_cut(study.timed)
        say_unconverged(study)
        if done.left:
            n, seeds = complete_seeds(study), len(study.seeds)
            go_on = go_on or f"seedwise resume {done.folder}"
            print(f"stopped by the budget after {n} of {seeds} seeds; go on with: {go_on}")
        print_places(done.folder)
    done.demand_complete()
    return say_inert([trial.inert for trial in finished])


def print_seeds(study: "StudyRecord") -> None:
    """Print top-1 of each seed of a study without arms, then mean, SD and interval."""
    from seedwise.stats import SHARE, summarize
    from seedwise.study.outcome import SPLITS
    from seedwise.study.record import BASE

    splits, rows = study.summary.get(BASE, {}), [["seed", *SPLITS, " top-1"]]
    tops = {name: iter(splits[name]["top1"]["values"]) for name in SPLITS if name in splits}
    for trial in study.trials:
        done = trial.status == "finished"
        cells = [f"{next(tops[name]):.4f}" if name in tops else "-" for name in SPLITS] if done else [trial.status]
        rows.append([str(trial.seed), *cells])
    print_table(rows, right=range(4))
    if splits:
        split = next(name for name in reversed(SPLITS) if name in splits)
        print(f"{split} top-1 {summarize(splits[split]['top1']['values'], SHARE)}")


def print_arms(study: StudyLike) -> None:
    """Print arm, n, mean ± SD, difference to the base with its interval, corrected p; then every verdict in words."""
    split = study.primary.split
    rows = [("arm", "n", f"{split} top-1", "difference, 95% interval", "p (Holm)")]
    for arm in study.arms:
        top1 = study.summary.get(arm, {}).get(split, {}).get("top1")
        if top1 is None:
            rows.append((arm, "0", "-", "", ""))
            continue
        spread = f" ± {top1['sd']:.4f}" if top1["sd"] is not None else ""
        found = study.comparisons.get(arm, {}).get(split)
        rows.append((arm, str(top1["n"]), f"{top1['mean']:.4f}{spread}", *_difference(found)))
    print_table(rows)
    if averaged := averaged_arms(study):
        print(by_average(averaged))
    found = {arm: of[split] for arm, of in study.comparisons.items() if split in of}
    if not found:
        return
    first = next(iter(found.values()))
    print("".join(f"\n{line}" for line in place_lines(first.get("holds"))))
    print_named(
        (arm, verdict_lines(each["sentence"], each.get("holds"), each.get("advice", ()))) for arm, each in found.items()
    )
    print(_footnote(study, first))


def by_average(arms: Sequence[str]) -> str:
    """A line on the arms that are judged by averaged weights."""
    return f"by their averaged weights: {', '.join(arms)}"


def place_lines(holds: dict[str, Any] | None) -> list[str]:
    """Lines on the setting that all verdicts hold for; empty where an older record doesn't say."""
    if holds is None:
        return []
    from seedwise.study.setting import holds_said

    return textwrap.wrap(f"holds for: {holds_said(holds)[0]}", 110)


def verdict_lines(sentence: str, holds: dict[str, Any] | None, advice: Sequence[dict[str, Any]]) -> list[str]:
    """Lines of a verdict, its arm's differences, and advice: a command has its own line, to be copied."""
    from seedwise.study.setting import holds_said

    own = "" if holds is None else holds_said(holds)[1]
    lines = textwrap.wrap(f"{sentence}{f' (this arm: {own})' if own else ''}", 100)
    for each in advice:
        lines.append(f"{each['said']}:" if each["command"] else each["said"])
        lines += [f"  {each['command']}"] if each["command"] else []
    return lines


def _difference(found: dict[str, Any] | None) -> tuple[str, str]:
    if found is None:
        return "", ""
    text = f"{100 * found['mean']:+.2f}"
    if found["ci95"] is not None:
        text += " [{:+.2f}, {:+.2f}]".format(*(100 * end for end in found["ci95"]))
    p = found["p_holm"]
    return text.replace("-", "−"), "" if p is None else f"{p:.3f}" if p >= 0.001 else "<0.001"


def _footnote(study: StudyLike, found: dict[str, Any]) -> str:
    words = "verdicts" if looked(study) else "so far, not yet verdicts"
    family = f"{len(study.arms) - 1} arms together" if len(study.arms) > 2 else "one arm"
    look = len(study.looks) + (0 if looked(study) else 1)
    level = f"the sentences' of {100 * (1 - found['alpha']):.6g}%, this look's level"
    return (
        f"({words}: look {look}, {family}, p below {found['alpha']:g}; margin {100 * (study.margin or 0):g} points; "
        f"the table's intervals are each arm's alone, {level}{', for all arms at once' * (len(study.arms) > 2)})"
    )


def print_trials(study: StudyLike, progress: dict[str, str]) -> None:
    """Print a line for each seed: the state of each arm's trial."""
    rows = [("seed", *study.arms)]
    for seed in study.seeds:
        words = {trial.arm: progress[trial.folder] for trial in study.trials if trial.seed == seed}
        rows.append((str(seed), *(words.get(arm, "") for arm in study.arms)))
    print_table(rows, right=(0,))
