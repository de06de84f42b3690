"""Locks: released when their holder dies; a refusal names the holder; who looks needs no leave to write."""

import errno
import fcntl
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import pytest

from seedwise.base.errors import UserError
from seedwise.base.files import LOCK, FolderHeld, is_held, one_at_a_time, sole_writer

HOLDS = """
import os, sys, time
from pathlib import Path
from seedwise.base.files import sole_writer
with sole_writer(Path(sys.argv[1])):
    if os.fork() == 0:  # a child that outlives it
        print(os.getpid(), flush=True)
        time.sleep(60)
        os._exit(0)
    time.sleep(60)
"""


@contextmanager
def holder(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A process that holds the folder's lock, and the process id of its child."""
    with subprocess.Popen([sys.executable, "-c", HOLDS, folder], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            yield process, child
        finally:
            process.kill()
            os.kill(child, signal.SIGKILL)


def test_a_refusal_names_who_holds_it_and_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    with holder(tmp_path) as (process, _):
        who = f"process {process.pid} on {platform.node()}"
        with pytest.raises(FolderHeld) as caught, sole_writer(tmp_path):
            pass
        said = f"{tmp_path}: another process is writing this folder ({who}); wait for it, or stop it"
        assert str(caught.value) == said
        assert is_held(tmp_path)
        process.kill()
        process.wait()
        assert not is_held(tmp_path)  # though its child lives
        with sole_writer(tmp_path):
            assert str(os.getpid()) in (tmp_path / LOCK).read_text()
            assert is_held(tmp_path)
    assert not is_held(tmp_path) and (tmp_path / LOCK).read_text() == ""


def test_who_only_looks_needs_no_leave_to_write_and_writes_nothing(tmp_path: Path) -> None:
    """Which filelock can't: it opens for writing, and makes the file where there is none."""
    assert not is_held(tmp_path) and not list(tmp_path.iterdir())
    with filelock.FileLock(tmp_path / LOCK, 0):
        assert list(tmp_path.iterdir())
    script = (
        "import os, sys, filelock\nfrom pathlib import Path\nfrom seedwise.base.files import is_held\n"
        "os.getuid() or os.setuid(65534)\nfolder = Path(sys.argv[1])\n"
        "try:\n    filelock.FileLock(folder / '.lock', 0).acquire()\n"
        "except PermissionError:\n    print(is_held(folder))\n"
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "of another")
        with sole_writer(folder):
            for path, mode in ((Path(place), 0o755), (folder, 0o555), (folder / LOCK, 0o444)):
                path.chmod(mode)
            look = [sys.executable, "-c", script, str(folder)]
            assert subprocess.run(look, capture_output=True, text=True, check=True).stdout == "True\n"
            folder.chmod(0o755)
        folder.chmod(0o555)
        assert subprocess.run(look, capture_output=True, text=True, check=True).stdout == "False\n"
        folder.chmod(0o755)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that is only wasted when two do it goes on; a folder of results is refused, and nothing stale is left."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    entered = False
    with one_at_a_time(tmp_path / "a.lock"):
        entered = True
    assert entered
    with pytest.raises(UserError, match=os.strerror(number)), sole_writer(tmp_path):
        pytest.fail("wrote without a lock")
    assert not is_held(tmp_path)


def test_one_waits_for_another_and_goes_on_when_it_dies(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom seedwise.base.files import one_at_a_time\n"
        "with one_at_a_time(Path(sys.argv[1])):\n    print('in', flush=True)\n    time.sleep(float(sys.argv[2]))\n"
    )

    def start(seconds: float) -> "subprocess.Popen[str]":
        words = [sys.executable, "-c", script, str(tmp_path / "a.lock"), str(seconds)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    first = start(60)
    assert first.stdout is not None and first.stdout.readline() == "in\n"
    second = start(0)
    with pytest.raises(subprocess.TimeoutExpired):
        second.communicate(timeout=0.8)
    first.kill()
    assert second.communicate(timeout=20)[0] == "in\n"
    first.communicate()
