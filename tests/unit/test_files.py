"""Atomic writes where more than one thing goes wrong."""

import errno
import os
from pathlib import Path

import pytest

from seedwise.base.errors import UserError
from seedwise.base.files import write_text
from seedwise.run.writer import log, logging_to


def test_a_temporary_file_that_cannot_be_removed_does_not_hide_why_nothing_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def read_only(self: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        patch.setattr(Path, "unlink", read_only)
        with pytest.raises(UserError, match=r"it: can't be written: the disk is full; free some space"):
            write_text(tmp_path / "it", "new")
        patch.undo()
        patch.setattr(Path, "unlink", read_only)
        write_text(tmp_path / "it", "new")
    assert (tmp_path / "it").read_text() == "new"


def test_a_log_that_cannot_be_written_to_its_end_does_not_hide_what_the_disk_refused(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("a device that is always full is Linux's")
    (tmp_path / "train.log").symlink_to(full)
    with pytest.raises(UserError, match="the disk is full"), logging_to(tmp_path / "train.log"):
        log.info("a line")
        raise UserError("record.json: can't be written: the disk is full; free some space")
