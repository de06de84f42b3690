"""`seedwise evaluate`."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seedwise.cli.options import DataDir, DeviceAtHand, Json, Split, begin_with_run

if TYPE_CHECKING:
    from seedwise.records.evaluations import Evaluation, TtaGain

WORST = 5
NAMED = 10


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run or of an ensemble.")],
    data: Annotated[
        str | None, typer.Option(help="Other data, as for `seedwise train`; classes match by name.", show_default="own")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("-s", "--set", metavar="data.KEY=VALUE", help="How other data are read; may be repeated."),
    ] = None,
    data_dir: DataDir = None,
    split: Split = None,
    ema: Annotated[
        bool, typer.Option("--ema", help="Score the average of the weights (optim.ema, optim.swa) instead of them.")
    ] = False,
    tta: Annotated[
        str | None, typer.Option(metavar="flip|five|ten", help="Test-time augmentation: mirrored views, or crops.")
    ] = None,
    device: DeviceAtHand = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the findings as JSON to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Score a finished run again: on its own data, or on any data with classes that it knows.

    On its own data the stored scores are repeated, and it is said whether they agree. Each evaluation is noted in the
    run's evaluations.jsonl, so that every look at the test images is counted.

    Examples:

        seedwise evaluate runs/lite

        seedwise evaluate runs/lite --tta flip

        seedwise evaluate runs/lite --data ./photos --json
    """
    begin_with_run(folder, "a run's or an ensemble's", _command, [data] if data else [])
    from seedwise.cli.progress import phases
    from seedwise.inference.finished import evaluate as score_again

    options: dict[str, Any] = {"split": split, "ema": ema, "tta": tta, "settings": settings or (), "out": out}
    options["device"] = device
    with phases() as progress:
        found = score_again(folder, data, data_dir=data_dir, progress=progress, **options)
    print(found.model_dump_json(indent=2)) if as_json else _print(found)


def _command(run: str, data: Sequence[str] = ()) -> str:
    return shlex.join(["seedwise", "evaluate", run, *(("--data", data[0]) if data else ())])


def _print(found: "Evaluation") -> None:
    from seedwise.data.labels import some
    from seedwise.data.source import visible
    from seedwise.records.run import tells_top5

    scores, (low, high) = found.scores, found.top1_interval
    weights = "" if found.weights == "raw" else ", average of the weights"
    views = "" if found.tta is None else f", test-time augmentation: {found.tta}"
    print(f"{found.data}: {found.split}, {found.images} images{weights}{views}")
    print(f"top-1 {scores.top1:.4f}   95% interval over images [{low:.4f}, {high:.4f}]")
    top5 = f"top-5 {scores.top5:.4f}   " if tells_top5(len(found.classes) + len(found.missing)) else ""
    print(f"{top5}loss {scores.loss:.4f}")
    if found.trained:
        _print_trained(found, found.trained)
    if found.gain is not None:
        _print_gain(found.gain, found.images)
    worst = ", ".join(f"{visible(each.name)} {each.top1:.3f} ({each.images})" for each in found.classes[:WORST])
    print(f"worst classes: {worst}")
    if found.missing:
        print(f"without images: {some(map(visible, found.missing), NAMED)}")
    if found.agrees:
        print("agrees with the stored scores, bit for bit")
    elif found.agrees is not None:
        print(f"differs from the stored logits, by {found.largest_difference:.2g} at most")


def _print_trained(found: "Evaluation", count: int) -> None:
    """Warn that all or some of the scored images were trained on."""
    these = f"all {found.images} images are" if count == found.images else f"{count} of {found.images} images "
    these += ("is" if count == 1 else "are") * (count < found.images)
    print(
        f"trained on: {these} among those this was trained on, equal in every pixel: "
        "the score is no estimate for new images"
    )
    if found.new_top1 is not None:
        print(f"top-1 {found.new_top1:.4f} on the other {found.images - count}")


def _print_gain(gain: "TtaGain", images: int) -> None:
    """Print the gain of test-time augmentation, image by image."""
    from seedwise.stats import Scale

    said = Scale().difference((gain.won - gain.lost) / images, gain.ci95)
    print(f"without it {gain.without:.4f}: {said} (over images, p {gain.p:.4f})")
    print(f"{gain.won} of {images} images won by it, {gain.lost} lost")
