"""What a command has left, without what depends on time: two sound ends of the same work have the same."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VOLATILE = {"seconds", "images_per_second", "sha256", "time", "metrics.jsonl", "train_seconds"}
"""Keys of records whose values are times, or checksums of what holds times."""
IGNORED = {".lock", "train.log", "lock", "report.html"}
SEALED = {"record.json", "study.json", "bagging.json", "audit.json", "meta.json"}


def bits(folder: Path, root: Path | None = None) -> dict[str, str]:
    """By path: a digest of each file below a folder, and of records of all but times.

    Reports are left out: whether there is one depends on the command that ended the work. `root`: of the case, another
    folder each time, which records may name; by default the folder's own.
    """
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in IGNORED)
    return {path.relative_to(folder).as_posix(): _digest(path, root or folder.parent) for path in files}


def _digest(path: Path, root: Path) -> str:
    content = path.read_bytes()
    if path.name in SEALED:
        content = json.dumps(steady(json.loads(content))).replace(str(root), "").encode()
    elif path.suffix == ".jsonl":
        rows = {json.dumps(steady(json.loads(line))) for line in content.splitlines()}
        content = "\n".join(sorted(rows)).encode()
    elif path.suffix == ".html":
        return "a page" if b"</html>" in content else "half a page"
    return hashlib.sha256(content).hexdigest()


def steady(value: Any) -> Any:
    """A record's content without times."""
    if isinstance(value, dict):
        return {key: steady(inner) for key, inner in value.items() if key not in VOLATILE}
    if isinstance(value, list):
        return [steady(inner) for inner in value]
    return value


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """The paths at which two ends differ, in words."""
    words = []
    for name in sorted({*expected, *found}):
        if name not in found:
            words.append(f"{name} is missing")
        elif name not in expected:
            words.append(f"{name} should not be there")
        elif expected[name] != found[name]:
            words.append(f"{name} differs")
    return words


def runs_in(folder: Path) -> Iterator[Path]:
    """The run folders below a folder, itself included."""
    for record in sorted(folder.rglob("record.json")):
        if json.loads(record.read_text()).get("kind", "run") == "run":
            yield record.parent


def finished(folder: Path) -> dict[Path, tuple[int, int]]:
    """Of the runs that are finished: which file their weights are, and since when. Training again would change it."""
    found = {}
    for run in runs_in(folder):
        if json.loads((run / "record.json").read_text())["status"] == "finished":
            state = (run / "model.safetensors").stat()
            found[run] = state.st_ino, state.st_mtime_ns
    return found


def checkpoints(folder: Path) -> dict[Path, int]:
    """Of the runs that aren't: the step of their checkpoint."""
    found = {}
    for run in runs_in(folder):
        pointer = run / "checkpoint.json"
        if json.loads((run / "record.json").read_text())["status"] != "finished" and pointer.exists():
            found[run] = int(json.loads(pointer.read_text())["file"].split("-")[1])
    return found


def epochs_twice(folder: Path) -> list[str]:
    """Runs whose metrics.jsonl hasn't each epoch once, in order."""
    wrong = []
    for run in runs_in(folder):
        rows = [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        epochs = [row["epoch"] for row in json.loads((run / "record.json").read_text())["epochs"]]
        if rows != list(range(1, len(rows) + 1)) or rows != epochs:
            wrong.append(f"{run.name}: its epochs are {rows}")
    return wrong
