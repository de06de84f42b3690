"""Runs a trial on another machine: a request goes there, and the run's files, or an error, come back.

No torch until the process is prepared for it, and no Ray: what is Ray's comes in as a callable.
"""

import hashlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from seedwise.base.errors import Interrupted, UserError, in_words
from seedwise.base.files import LOCK, FolderHeld, cache_root, make_folder, sole_writer, write_bytes
from seedwise.base.machine import prepare_process
from seedwise.records.run import RECORD, RunRecord, read_record, write_record
from seedwise.study.data_archive import DataArchive, unpack

if TYPE_CHECKING:
    from seedwise.recipe.schema import Recipe
    from seedwise.study.trial import RunTrial  # imports torch

HELD_SECONDS = 120.0
"""Seconds to wait for a folder that the process of a trial's last attempt may still hold, on a node that is dying."""
THREAD_LIMIT = "OMP_THREAD_LIMIT"


@dataclass(frozen=True)
class TrialRequest:
    """A trial's request: all that decides it, and what a node compares itself with."""

    arm: str
    seed: int
    key: str
    """The trial's hash, which names its folder on a node's own disk."""
    recipe: str
    """The resolved recipe, as JSON."""
    data: str
    data_dir: str | None
    """`data` and `data_dir` as in study.json."""
    fingerprint: str
    environment: Mapping[str, str]
    """`seedwise.run.folder.environment` of the study's trials."""
    folder: str
    """The run folder, for nodes that see the study's."""
    token: tuple[str, str] | None
    """A file of the study's folder and its content, which show a node that it sees the folder; None: none may write."""
    elsewhere: bool
    """Whether to run where other bits come out, and mark them."""
    report_seconds: float
    """Seconds between two reports of progress."""


State = Literal["finished", "failed", "stopped", "refused", "dataless"]


@dataclass(frozen=True)
class RemoteResult:
    """The result of a trial's request."""

    state: State
    error: str = ""
    began: bool = True
    """As in `seedwise.study.schedule.Ended`."""
    files: dict[str, bytes] | None = None
    """The run's files; None where they are in the study's folder."""


def work(
    order: TrialRequest,
    data_archive: DataArchive | None,
    report: Callable[[float], None],
    run: "RunTrial | None" = None,
) -> RemoteResult:
    """Train or complete the trial on this node; SIGINT, by which Ray cancels, writes a checkpoint and stops it."""
    prepare_process()  # before torch
    from seedwise.engine.control import RunControl
    from seedwise.recipe.schema import Recipe
    from seedwise.study.local_runner import Reporter
    from seedwise.study.trial import Task, run_trial

    recipe = Recipe.model_validate_json(order.recipe)
    folder, shared = _place(order)
    try:
        with _stopping() as stop:
            control = RunControl(Reporter(report, order.report_seconds), stop.is_set)
            differences = _differences(order, recipe)
            if differences and not order.elsewhere:
                return RemoteResult("refused", "; ".join(differences))
            found = _find(order, recipe, data_archive)
            if found is None:
                return RemoteResult("dataless")
            task = Task(order.arm, order.seed, folder, recipe, *found, order.elsewhere)
            _alone(lambda: (run or run_trial)(task, control), stop)
            _correct(order, folder, differences)
            return RemoteResult("finished", files=None if shared else _take(folder))
    except Interrupted as error:
        return RemoteResult("stopped", str(error))
    except Exception as error:
        began = (folder / RECORD).exists() and read_record(folder).status == "failed"
        if not (began or isinstance(error, UserError)):
            raise
        return RemoteResult("failed", in_words(error), began, None if shared or not began else _take(folder))


def receive(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a run's files into its folder, the record last; a finished run there is left as it is.

    Raises a UserError when their checksums are not the record's.
    """
    with sole_writer(folder):
        if (folder / RECORD).exists() and read_record(folder).status == "finished":
            return
        for name, checksum in (json.loads(files[RECORD])["files"] if RECORD in files else {}).items():
            if hashlib.sha256(files.get(name, b"")).hexdigest() != checksum:
                raise UserError(f"{folder / name}: did not arrive from the node as it was written there")
        for name in sorted(files, key=lambda name: name == RECORD):
            path = folder / name
            if not path.resolve().is_relative_to(folder.resolve()):
                raise UserError(f"{folder}: a node sent a file named {name}, which would lie outside it")
            make_folder(path.parent)
            write_bytes(path, files[name])


def _place(order: TrialRequest) -> tuple[Path, bool]:
    """The folder that the trial is trained in, and whether it is the study's own."""
    if order.token is not None:
        path, content = order.token
        try:
            if Path(path).read_text(encoding="utf-8") == content:
                return Path(order.folder), True
        except OSError:
            pass
    return cache_root() / "ray" / "trials" / order.key, False


def _differences(order: TrialRequest, recipe: "Recipe") -> list[str]:
    """Reasons why this node computes other bits than the study's trials."""
    from seedwise.run.folder import environment

    threads, limit = int(recipe.compute.threads), os.environ.get(THREAD_LIMIT, "")
    then = dict(order.environment) | {"threads": str(threads)}
    here = environment(recipe) | {"threads": limit if limit.isdecimal() and int(limit) < threads else str(threads)}
    return [f"{name} {then.get(name)} -> {now}" for name, now in here.items() if then.get(name) != now]


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    stop = threading.Event()
    before = signal.signal(signal.SIGINT, lambda number, frame: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _alone(run: Callable[[], object], stop: threading.Event) -> None:
    deadline = time.monotonic() + HELD_SECONDS
    while True:
        try:
            run()
            return
        except FolderHeld:
            if time.monotonic() > deadline:
                raise
            if stop.wait(1.0):
                raise Interrupted("stopped before it began") from None


def _find(order: TrialRequest, recipe: "Recipe", data_archive: DataArchive | None) -> tuple[str, Path | None] | None:
    """Name and data_dir: the data's own path if it leads to the study's data, else unpacked; None if not sent yet."""
    own = order.data, Path(order.data_dir) if order.data_dir else None
    with suppress(UserError):  # it isn't here
        if _fingerprint(*own, recipe) == order.fingerprint:
            return own
    if data_archive is None:
        return None
    folder = unpack(data_archive, cache_root() / "ray" / "data" / order.fingerprint[:16])
    sent = data_archive.inside(folder)
    if _fingerprint(*sent, recipe) != order.fingerprint:
        raise UserError(f"{order.data}: what arrived at the node is not the study's data; clear {folder} there")
    return sent


def _fingerprint(data: str, data_dir: Path | None, recipe: "Recipe") -> str:
    from seedwise.run.data import open_for

    local = recipe.model_copy(update={"data": recipe.data.model_copy(update={"download": False})})
    return open_for(local, data, data_dir=data_dir).fingerprint


def _correct(order: TrialRequest, folder: Path, differences: list[str]) -> None:
    """Set the data's name in the record to the study's, and mark where the bits are others."""
    if not (folder / RECORD).exists():
        return
    record = read_record(folder)
    if record.status != "finished":
        return
    corrected = _corrected(record, order, differences)
    if corrected != record:
        with sole_writer(folder):
            write_record(folder, corrected)


def _corrected(record: RunRecord, order: TrialRequest, differences: list[str]) -> RunRecord:
    data = record.data.model_copy(update={"source": order.data, "data_dir": order.data_dir})
    before = record.machine.get("moved")
    changes = list(before) if isinstance(before, list) else []
    changes += [line for line in (f"before epoch 1: {each}" for each in differences) if line not in changes]
    machine = record.machine | ({"moved": changes} if changes else {})
    return record.model_copy(update={"data": data, "machine": machine})


def _take(folder: Path) -> dict[str, bytes]:
    """Read the run's files and remove them from here."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != LOCK and not name.startswith("checkpoint") and not path.name.endswith(".tmp"):
            files[name] = path.read_bytes()
    shutil.rmtree(folder, ignore_errors=True)
    return files
