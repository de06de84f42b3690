"""Asks questions of Python processes that run on a CUDA driver without a GPU: null_cuda.c says what is real there.

A question is a function of a test module, with arguments and a result that JSON can hold. Starting torch takes
seconds, so a list of questions shares one process, which is forked for each before anything has touched CUDA; each has
its own machine.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SOURCES = sorted(HERE.glob("null_*.[ch]"))
HEADERS = ("nvidia/cu13/include", "nvidia/cudnn/include", "triton/backends/nvidia/include")
"""Folders that torch's own dependencies bring along; triton has CUDA's `crt/`."""
SECONDS = 300


@dataclass(frozen=True)
class Machine:
    """What the process finds."""

    gpus: Sequence[int] = (90,)
    """Compute capability of each GPU, times ten."""
    gpu_bytes: int | None = None
    """Memory of each; None: 16 GB."""
    old_driver: bool = False
    """NVML sees the GPUs, CUDA does not."""

    def environment(self) -> dict[str, str]:
        found = {"NULL_GPUS": ",".join(map(str, self.gpus))}
        found |= {"NULL_BYTES": str(self.gpu_bytes)} if self.gpu_bytes is not None else {}
        return found | ({"NULL_OLD_DRIVER": "1"} if self.old_driver else {})


@dataclass(frozen=True)
class Question:
    """A call of a module's function on a machine."""

    function: Callable[..., Any]
    arguments: Sequence[Any] = ()
    machine: Machine = Machine()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What came of a question."""

    result: Any
    """What the function returned."""
    error: str | None
    """The traceback of what it raised."""
    out: str
    err: str
    counts: dict[str, int]
    """By the names in null_cuda.c, since the question began or `null_counts.reset()`."""
    waits: dict[str, int]
    """How often something waited for the device, by what it was and the line of seedwise."""

    def demand(self) -> Any:
        """The result; fails with what was raised."""
        assert self.error is None, self.error + self.err
        return self.result


class NullDriver:
    """The compiled driver."""

    def __init__(self, libraries: Sequence[Path]) -> None:
        self._libraries = libraries

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer the questions in order, each in a process of its own."""
        asked = [
            {
                "path": sys.path,
                "module": Path(each.function.__code__.co_filename).stem,
                "function": each.function.__name__,
                "arguments": each.arguments,
                "environment": {**each.machine.environment(), **each.environment},
            }
            for each in questions
        ]
        command = [sys.executable, str(HERE / "null_process.py")]
        environment = self.environment()
        done = subprocess.run(
            command,
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        return [Answer(**each) for each in json.loads(done.stdout.splitlines()[-1])]

    def environment(self, machine: Machine | None = None) -> dict[str, str]:
        """The environment of a process on this driver, for what has to be started otherwise, as torchrun is."""
        alone = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
        shim = {"LD_PRELOAD": ":".join(map(str, self._libraries)), "TORCH_CUDNN_V8_API_DISABLED": "1"}
        return {**os.environ, **alone, **shim, **(machine.environment() if machine is not None else {})}


def compiled(folder: Path) -> NullDriver:
    """The driver, compiled once for its text and torch's headers; skips the test where that can't be."""
    compiler, site = shutil.which("gcc"), Path(sysconfig.get_path("platlib"))
    if sys.platform != "linux" or compiler is None:
        pytest.skip("the null CUDA driver needs Linux and gcc")
    if missing := [path for path in HEADERS if not (site / path).is_dir()]:
        pytest.skip(f"the null CUDA driver needs the headers of torch's wheel for CUDA 13: no {missing[0]}")
    text = b"".join(path.read_bytes() for path in SOURCES)
    version = hashlib.sha256(text + site.as_posix().encode()).hexdigest()[:12]
    includes = [f"-I{site / path}" for path in HEADERS]
    found = []
    for name, own in (("libcuda.so.1", includes), ("libnvidia-ml.so.1", ["-DNVML"])):
        library = folder / f"{name}-{version}"
        if not library.exists():  # torch finds either by its soname
            part = library.with_suffix(f".{os.getpid()}")
            flags = ["-O1", "-w", "-shared", "-fPIC", f"-Wl,-soname,{name}", *own, "-o", str(part)]
            subprocess.run([compiler, *flags, str(HERE / "null_cuda.c"), "-lpthread"], check=True)
            part.replace(library)
        found.append(library)
    return NullDriver(found)
