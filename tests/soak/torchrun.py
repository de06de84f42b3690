"""A run of two processes under torchrun, of which all or one are killed."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forks import HERE, Ended, environment

PATIENCE_SECONDS = 180
COUNT = "calls"


@dataclass(frozen=True)
class Pair:
    """The command, in a folder; `plan` is of the first process, which alone writes."""

    shim: Path
    folder: Path
    arguments: Sequence[Any]
    plan: Mapping[str, Any] | None

    def run(self, after: float | None) -> Ended:
        """Run it; kill -9 after so many seconds to all processes, or to one of the two."""
        began = time.monotonic()
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", HERE / "hooks.py"]
        with (self.folder / "stdout").open("w+") as out, (self.folder / "stderr").open("w+") as err:
            process = subprocess.Popen(
                [sys.executable, *map(str, (*command, *self.arguments))],
                cwd=self.folder, env=self._variables(), stdout=out, stderr=err, start_new_session=True,
            )  # fmt: skip
            whole = self._kill(process, after)
            try:
                code = process.wait(PATIENCE_SECONDS)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                while not gone(process.pid):
                    time.sleep(0.05)
            texts = [(out.seek(0), out.read())[1], (err.seek(0), err.read())[1]]
        died = whole or "death" in (self.plan or {}) or after is not None
        code = -signal.SIGKILL if code and died else code
        count = self.folder / COUNT
        notes = {"calls": int(count.read_text())} if count.exists() else {}
        return Ended(code, *texts, time.monotonic() - began, notes)  # type: ignore[arg-type, call-arg]

    def _variables(self) -> dict[str, str]:
        variables = environment(self.shim) | {"SEEDWISE_CACHE": str(self.folder / "cache")}
        if self.plan is None:
            return variables
        plan = {"SOAK_PLAN": json.dumps(self.plan), "SOAK_ROOT": str(self.folder), "SOAK_RANK": "0"}
        return variables | plan | ({} if self.plan else {"SOAK_COUNT": str(self.folder / COUNT)})

    def _kill(self, process: "subprocess.Popen[bytes]", after: float | None) -> bool:
        """Whether all of them were killed."""
        if after is None:
            return False
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            victims = [process.pid, *map(int, workers)]
            victim = random.Random(after).choice(victims)
            if victim == process.pid:
                os.killpg(process.pid, signal.SIGKILL)
                return True
            os.kill(victim, signal.SIGKILL)
        return False


def gone(group: int) -> bool:
    """Whether no process of it is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False
