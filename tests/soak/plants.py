"""Faults planted into seedwise, in a forked process alone: a soak that doesn't find them is worth nothing."""

import json
from pathlib import Path
from typing import Any


def not_atomic() -> None:
    """Files are written over their old content, so that a kill leaves a half of the new one."""

    def replace(self: Path, target: Any) -> Path:
        Path(target).write_bytes(self.read_bytes())
        return Path(target)

    Path.replace = replace  # type: ignore[assignment, method-assign]


def forgets_checkpoints() -> None:
    """A run that goes on begins anew."""
    from seedwise.engine import checkpoint

    checkpoint.load = lambda folder: None


def shouts() -> None:
    """What a disk refuses ends in a traceback."""
    from seedwise.base import files

    def unprepared(path: Path, error: OSError) -> Exception:
        return RuntimeError(f"{path}: {error}")

    files.write_error = unprepared  # type: ignore[assignment]


def keeps_quiet() -> None:
    """What can't be brought to the disk is taken for written."""
    from seedwise.base import files

    files._sync = lambda path: None
    Path.replace = lambda self, target: Path(target)  # type: ignore[assignment, method-assign, return-value]


def trusts_everybody() -> None:
    """Whatever stands in a record is believed."""
    from seedwise.records import run

    run.read_json = lambda path, advice: json.loads(path.read_text())


def never_locks() -> None:
    """Whoever comes may write."""
    import fcntl

    fcntl.flock = lambda file, how: None  # type: ignore[assignment]
