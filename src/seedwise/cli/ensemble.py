"""`seedwise ensemble`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seedwise.cli.options import Json
from seedwise.cli.output import print_table

if TYPE_CHECKING:
    from seedwise.records.ensemble import EnsembleRecord, Gain, HeldOut


def ensemble(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN|STUDY...", help="Runs, or folders that hold them.")],
    vote: Annotated[
        str,
        typer.Option(
            metavar="soft|hard|weighted", help="Mean probability; majority; mean by weights that are fit on validation."
        ),
    ] = "soft",
    voters: Annotated[
        str, typer.Option(metavar="all|greedy", help="Who votes: all, or those that help on validation.")
    ] = "all",
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Output folder.", show_default="runs/ensemble-<vote>-<time>"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Let runs vote, from the answers that they have stored, and say what that gains.

    A study gives all its finished runs; STUDY/runs/ARM those of one arm.

    Examples:

        seedwise ensemble runs/lite --vote soft -o runs/lite-together

        seedwise ensemble runs/a runs/b runs/c --vote weighted --voters greedy
    """
    from seedwise.inference.finished import ensemble as let_vote

    made = let_vote(folders, vote=vote, voters=voters, out=out)
    print_ensemble(made.folder, made.record, as_json)


def print_ensemble(folder: Path, record: "EnsembleRecord", as_json: bool) -> None:
    """Print members and votes, then the vote's gain, its cost, and where the files are."""
    from seedwise.cli.print_run import print_places, say_cut, say_leaks
    from seedwise.records.run import read_record

    if as_json:
        print(record.model_dump_json(indent=2))
        say_leaks(folder, as_json=True)
        return
    rows = [["member", "seed", "weight", "val", "test", "train - test", " top-1"]]
    for member in record.members:
        tops = ["-" if it is None else f"{it.top1:.4f}" for it in (member.final.val, member.final.test)]
        gap = "-" if member.gap is None else f"{member.gap:+.4f}"
        rows.append([member.folder, str(member.seed), f"{member.weight:.3f}", *tops, gap])
    print_table(rows, right=range(1, 6))
    if record.oob is not None:
        oob = record.oob
        print(f"out of bag top-1 {oob.top1:.4f} on {oob.images} training images, {oob.votes:.1f} votes each")
        if oob.top1_of_all is not None:
            times = f"{oob.votes:.1f} times here, {record.networks} times on test"
            print(f"  members vote {times}; so many votes would reach about {oob.top1_of_all:.4f}")
    for name, held in (("val", record.val), ("test", record.test)):
        if held is not None and (name == "test" or record.test is None):
            _print_held(name, held, record)
    say_leaks(folder)
    same = "" if record.relative_time is None else f", {record.relative_time:g} times one member's time"
    print(f"cost: {record.networks} networks, {record.parameters / 1e6:.2f} M trained parameters{same}")
    for timed in {str(it): it for it in (read_record(folder / each.folder).timed for each in record.members)}.values():
        say_cut(timed)
    print_places(folder)


def _print_held(name: str, held: "HeldOut", record: "EnsembleRecord") -> None:
    best = held.best_member
    print(f"{name:<24}{'top-1':>8}{'loss':>8}")
    print(f"{record.vote + ' vote':<24}{held.scores.top1:>8.4f}{held.scores.loss:>8.3f}")
    print(f"{'mean of members':<24}{held.mean_of_members.top1:>8.4f}{held.mean_of_members.loss:>8.3f}")
    if best is not None:
        print(f"{'best member (by val)':<24}{best.top1:>8.4f}{best.loss:>8.3f}")
    chosen = name == "val" and (record.vote == "weighted" or record.select == "greedy")
    caution = "; too good, for these images chose the weights" if chosen else ""
    print(f"gain over the mean of members: {_gain(held.gain_over_mean)}{caution}")
    if held.gain_over_best is not None:
        print(f"gain over the best member: {_gain(held.gain_over_best)}{caution}")
    print(f"calibration error (ECE, 15 bins): {held.ece:.4f}; members {held.ece_of_members:.4f}")
    ratio = "" if held.disagreement_ratio is None else f", {held.disagreement_ratio:.2f} of their error"
    print(f"two members disagree on {100 * held.disagreement:.1f}% of images{ratio}")


def _gain(gain: "Gain") -> str:
    from seedwise.stats import Scale

    p = "" if gain.p is None else ", p < 0.0001" if gain.p < 0.0001 else f", p {gain.p:.4f}"
    return f"{Scale().difference(gain.mean, gain.ci95)}{p} (images random, these networks)"
