"""The verbs about finished runs as functions, for the command line and as `seedwise.compare`, ….

What needs no tensors imports none.
"""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from seedwise.base.errors import UserError
from seedwise.base.files import demand_writable, discard, make_new_folder, write_text
from seedwise.base.nearest import demand_folder
from seedwise.records.run import RECORD, STUDY, write_checked

if TYPE_CHECKING:
    from seedwise.audits.findings import Findings
    from seedwise.audits.judged import Judgements
    from seedwise.ensembles.model import Ensemble
    from seedwise.inference.predict import Classified
    from seedwise.records.evaluations import Evaluation
    from seedwise.run.run import Run
    from seedwise.study.compare import Compared
    from seedwise.study.outcome import Study

VOTES, SELECTIONS = ("soft", "hard", "weighted"), ("all", "greedy")
FOLDS = 5
"""Networks that an audit of labels trains with a run."""
Progress = Callable[[str, int, int], None]
"""Called with (what is done, how far, of how many)."""


def _nothing(label: str, done: int, total: int) -> None:
    """A progress callback that ignores its calls."""


def to_stderr(line: str) -> None:
    """Print a line on stderr."""
    print(line, file=sys.stderr, flush=True)


def load(folder: str | Path) -> "Run | Ensemble | Study":
    """The run, the ensemble or the study in this folder; a UserError when it is none of them or is damaged."""
    place = Path(folder)
    demand_folder(place, "a run's, a study's or an ensemble's")
    if (place / STUDY).is_file():
        from seedwise.study.outcome import load_study

        return load_study(place)
    from seedwise.ensembles.model import load as load_voters

    return load_voters(place)


def compare(
    folders: "Iterable[str | Path | Run | Ensemble | Study] | str | Path",
    *,
    margin: float | None = None,
    split: str = "test",
    classes: bool = False,
) -> "Compared":
    """Say whether the others are really better or worse than the first, and how sure that is.

    `folders`: runs, studies, ensembles, or folders that hold runs; a study alone compares its arms. `margin`: the least
    difference that matters, in points; by default the study's, else 0.5. `classes`: by class too. Raises UserError.
    """
    from seedwise.study.compare import compare as compare_folders
    from seedwise.study.request import demand_margin

    if split not in ("test", "val"):
        raise UserError(f"--split {split}: give test or val")
    demand_margin(margin)
    fraction = None if margin is None else margin / 100
    return compare_folders(_folders(folders), split=split, margin=fraction, classes=classes)


def ensemble(
    folders: "Iterable[str | Path | Run | Study] | str | Path",
    *,
    vote: str = "soft",
    voters: str = "all",
    out: str | Path | None = None,
    say: Callable[[str], None] = to_stderr,
) -> "Ensemble":
    """Let runs vote, from the answers that they have stored; the ensemble's folder tells what that gains.

    `folders`: runs, or folders that hold them; a study gives all its finished runs. `vote`: soft, hard or weighted.
    `voters`: all, or greedy, those that help on validation. `out`: by default `runs/ensemble-<vote>-<time>`. `say` is
    told what is left out. Raises UserError.
    """
    from seedwise.ensembles.build import build
    from seedwise.ensembles.model import Ensemble
    from seedwise.records.ensemble import Selection, Vote
    from seedwise.records.finished import find_finished
    from seedwise.reports import leave_report

    for option, given, known in (("vote", vote, VOTES), ("voters", voters, SELECTIONS)):
        if given not in known:
            raise UserError(f"--{option} {given}: give {', '.join(known[:-1])} or {known[-1]}")
    members = []
    for folder in _folders(folders):
        demand_folder(folder, "a run's, a study's, or one that holds runs")
        found, unfinished = find_finished(folder)
        members += found
        for path in unfinished:
            say(f"left out, not finished: {path}")
    place = Path(out) if out is not None else Path("runs") / f"ensemble-{vote}-{time.strftime('%Y%m%d-%H%M%S')}"
    make_new_folder(place)
    try:
        build(members, place, vote=cast(Vote, vote), select=cast(Selection, voters))
    finally:
        if not (place / RECORD).exists():
            discard(place)
    leave_report(place)
    return Ensemble(place)


def evaluate(
    run: "str | Path | Run | Ensemble",
    data: str | Path | None = None,
    *,
    settings: Sequence[str] = (),
    data_dir: str | Path | None = None,
    split: str | None = None,
    ema: bool = False,
    tta: str | None = None,
    device: str | None = None,
    out: str | Path | None = None,
    progress: Progress = _nothing,
    say: Callable[[str], None] = to_stderr,
) -> "Evaluation":
    """Score a finished run or ensemble again: on its own data, or on any data with classes that it knows.

    The evaluation is noted in the run's evaluations.jsonl, so that every look at the test images is counted.
    `settings`: how other data are read. `ema`: score the average of the weights. `tta`: flip, five or ten, test-time
    augmentation. `device`: by default the run's own, or what there is where that is not here. `out`: a JSON file too.
    `say` is told what other data hold, and what computes where the run's device is not here. Raises UserError.
    """
    from seedwise.recipe.tta_config import SHORTHANDS
    from seedwise.records.evaluations import append_evaluation, demand_appendable

    for option, value, known in (("--split", split, ("val", "test")), ("--tta", tta, SHORTHANDS)):
        if value is not None and value not in known:
            raise UserError(f"{option}: there is no {value!r}; give {' or '.join(known)}")
    if out is not None:
        demand_writable(Path(out), "a JSON file")
    (folder,) = _folders([run])
    demand_folder(folder, "a run's or an ensemble's")
    if (folder / RECORD).exists():
        demand_appendable(folder)
    voters = _loaded(run)
    from seedwise.inference.evaluate import evaluate as score_again
    from seedwise.inference.evaluate import moves

    options: dict[str, Any] = {"split": split, "weights": "ema" if ema else "raw", "tta": tta, "settings": settings}
    for line in moves(voters) if device is None else ():
        say(line)
    other, where = None if data is None else str(data), None if data_dir is None else Path(data_dir)
    told = lambda lines: say("\n".join(lines))  # noqa: E731
    found = score_again(voters, other, data_dir=where, progress=progress, on_data=told, device=device, **options)
    append_evaluation(voters.folder, found)
    if out is not None:
        write_text(Path(out), found.model_dump_json(indent=2) + "\n")
    return found


def predict(
    run: "str | Path | Run | Ensemble",
    images: Iterable[str | Path] | str | Path,
    *,
    top: int = 5,
    explain: bool = False,
    device: str | None = None,
    out: str | Path | None = None,
) -> "Classified":
    """Classify files and folders of images, prepared as in the run's own evaluation; what can't be read is listed.

    `top`: most probable classes of each image. `explain`: write a picture an image into `out`, by default `explained`:
    where the network looked. `device`: as for `evaluate`, in fp32. For arrays and pictures in memory there is
    `seedwise.load(folder).predict`.
    """
    if out is not None and not explain:
        raise UserError(f"-o {out}: is the folder for the pictures of --explain; add it, or drop -o")
    voters = _loaded(run)
    from seedwise.inference.predict import Classified, classify

    paths = [images] if isinstance(images, str | Path) else images
    pictures = Path(out or "explained") if explain else None
    return Classified.of(classify(voters, map(str, paths), top=top, explained=pictures, device=device))


def audit(
    data: str | Path,
    *,
    settings: Sequence[str] = (),
    out: str | Path = "audit.html",
    labels: bool = False,
    run: "str | Path | Run | None" = None,
    confirm: str | Path | None = None,
    data_dir: str | Path | None = None,
    lang: str = "en",
    progress: Progress = _nothing,
    say: Callable[[str], None] = to_stderr,
) -> "Findings":
    """Check a data set: balance, sizes, damaged files, duplicates within and across splits, doubtful labels.

    The page goes to `out`, the findings beside it as .json; they are kept for reports of runs on this data. `labels`:
    look for wrong labels too. `run`: a finished run on this data. `confirm`: pairs that were looked at, as the page
    saves them. `say` is told what takes long. Raises UserError.
    """
    from seedwise.audits.findings import AUDIT, keep
    from seedwise.recipe import library
    from seedwise.reports.words import Words

    page = Path(out)
    Words(lang)
    demand_writable(page, "an HTML file")
    if page.suffix == ".json":
        raise UserError(f"{out}: the findings go there; give an HTML file to write")
    demand_writable(page.with_suffix(".json"), "a file, as the findings go there, or another page")
    if run is not None and settings:
        raise UserError("-s and --run: give one of them; a run's data are read with the run's own options")
    recipe = library.read(library.default_recipe(str(data)), settings)
    given = {} if confirm is None else _judged(Path(confirm))
    loaded = None
    if run is not None:
        from seedwise.run.run import Run

        loaded = run if isinstance(run, Run) else Run(Path(run))
        demand_writable(loaded.folder / AUDIT, "a file")
        recipe = loaded.recipe
        if labels:
            minutes = loaded.record.seconds.get("total", 0) * (FOLDS - 1) / 60
            say(f"labels: trains {FOLDS} networks as {loaded.folder}, about {minutes:.0f} min")
    from seedwise.audits.check import audit as check
    from seedwise.reports.audit_page import write_audit

    judge = partial(_judge, given, confirm, str(data), say)
    where = None if data_dir is None else Path(data_dir)
    found = check(str(data), recipe.data, data_dir=where, run=loaded, labels=labels, judge=judge, progress=progress)
    write_audit(found.findings, found.pictures, page, lang)
    write_checked(page.with_suffix(".json"), found.findings)
    if loaded is not None:
        write_checked(loaded.folder / AUDIT, found.findings)
    try:
        keep(found.findings)
    except UserError as error:
        say(f"not kept for reports of runs on this data: {error}")
    return found.findings


def report(folder: "str | Path | Run | Ensemble | Study", *, out: str | Path | None = None, lang: str = "en") -> Path:
    """Make one HTML file that shows a run, a study or an ensemble; by default report.html in its folder.

    It needs no network and nothing beside it. Returns where it is; raises UserError.
    """
    from seedwise.reports import write_report

    return write_report(_folders([folder])[0], None if out is None else Path(out), lang)


def _folders(given: Any) -> list[Path]:
    """Paths of folders, as named or of loaded objects."""
    several = [given] if isinstance(given, str | Path) or hasattr(given, "folder") else given
    return [Path(getattr(each, "folder", each)) for each in several]


def _loaded(given: "str | Path | Run | Ensemble") -> "Run | Ensemble":
    if not isinstance(given, str | Path):
        return given
    demand_folder(Path(given), "a run's or an ensemble's")
    from seedwise.ensembles.model import load as load_voters

    return load_voters(given)


def _judged(file: Path) -> "Judgements":
    from seedwise.audits.judged import read_judged

    return read_judged(file)


def _judge(
    given: "Judgements", file: str | Path | None, data: str, say: Callable[[str], None], images: set[str]
) -> "Judgements":
    """Judgements on pairs, new and stored; stores the new ones."""
    from seedwise.audits.judged import keep_judged, kept

    if not given:
        return kept()
    elsewhere = sum(not pair <= images for pair in given)
    if elsewhere == len(given):
        raise UserError(
            f"{file}: none of its {len(given)} pairs is of images in {data}; "
            "give the file that was saved from the page of this data"
        )
    if elsewhere:
        say(f"{file}: {elsewhere} of {len(given)} pairs are not of images in {data}")
    return keep_judged(given)
