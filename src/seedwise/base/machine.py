"""Facts about this machine, and settings of the process for it. torch is imported only by what asks about it."""

import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

from seedwise.base.distribution import distribution

_MALLOC_TRIM_THRESHOLD, _MALLOC_MMAP_MAX = -1, -4
"""glibc's names for mallopt(3): M_TRIM_THRESHOLD, M_MMAP_MAX."""

_SPINS = 3000
"""Turns of libgomp's waiting loop before a thread sleeps; a turn is a pause instruction, 40 to 140 cycles."""

CGROUPS = Path("/sys/fs/cgroup")
"""Linux's folder of control groups, with the limits of containers and services."""


def prepare_process() -> None:
    """Set OpenMP's waiting and glibc's memory policy, before torch is imported or memory is used; may be called twice.

    - OpenMP threads sleep while they wait: spinning, a busy neighbor makes two threads many times slower than one.
      GNU's first spin for a fraction of a millisecond, as waking up takes longer than many a small layer.
    - glibc keeps freed memory: activations above 32 MB would otherwise be mapped and unmapped, page fault by page
      fault, at every step.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", str(_SPINS))
    if sys.platform == "linux" and "MALLOC_MMAP_MAX_" not in os.environ:
        import ctypes

        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:  # musl has none
            mallopt(_MALLOC_MMAP_MAX, 0)
            mallopt(_MALLOC_TRIM_THRESHOLD, 2**31 - 1)


def processes() -> int:
    """How many processes torchrun started for this run; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_processes() -> int:
    """How many of torchrun's processes run on this machine and share its cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def local_rank() -> int:
    """This process's number on this machine, from 0; also the number of its CUDA device."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def rank() -> int:
    """This process's number among all of torchrun's, from 0; only process 0 writes and prints."""
    return int(os.environ.get("RANK", "0"))


def cores() -> int:
    """CPU cores that this process may use: its affinity, cut to a container's CPU quota where there is one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, quota() or allowed))


def quota() -> int | None:
    """CPU cores that a container's or a service's quota allows, at least 1; None without a quota."""
    quotas = []
    for folder in _cgroups("cpu"):
        try:
            if (folder / "cpu.max").exists():
                allowed, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
            else:
                allowed = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8").strip()
                period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8")
            if allowed not in ("max", "-1"):
                quotas.append(max(1, round(int(allowed) / int(period))))
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return min(quotas, default=None)


def threads() -> int:
    """CPU threads of this process by default: OMP_NUM_THREADS, else its share of the cores.

    torchrun sets the variable to 1 by itself, on machines of any size, so there a 1 says nothing.
    """
    given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # "4,2" is OpenMP's for nested loops
    if given.isdecimal() and int(given) > 0 and not (given == "1" and local_processes() > 1):
        return int(given)
    return max(1, cores() // local_processes())


def load() -> float | None:
    """Average number of processes that wanted to run in the last minute; None where the system doesn't count them."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):  # Windows
        return None


def peak_bytes() -> int | None:
    """The most memory that this process has had, in bytes; None where the system doesn't tell."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def memory_bytes() -> int | None:
    """Physical memory in bytes; None where the system doesn't tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def available_memory_bytes() -> int | None:
    """Free and reclaimable memory in bytes, within a container's limit; None where the system doesn't tell."""
    left = [found for found in (_meminfo("MemAvailable"), *map(_left_in, _cgroups("memory"))) if found is not None]
    return min(left, default=None)


def out_of_memory(error: BaseException) -> str | None:
    """`out of memory` and the amount requested, where this exception (of no one type in torch) means that; else
    None."""
    words = str(error)
    if not isinstance(error, MemoryError) and not says_out_of_memory(words):
        return None
    found = re.search(r"allocate ([\d.]+) (bytes|MiB|GiB)", words)
    if not found:
        return "out of memory"
    gib = float(found[1]) / {"bytes": 2**30, "MiB": 2**10, "GiB": 1}[found[2]]
    return f"out of memory ({gib:.3g} GiB more were wanted)"


def says_out_of_memory(words: str) -> bool:
    """Whether a message, of torch's or of `out_of_memory`, is that there is no memory left."""
    return any(part in words for part in ("out of memory", "can't allocate memory", "not enough memory"))


def _meminfo(name: str) -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _left_in(cgroup: Path) -> int | None:
    """Bytes that a control group's memory limit leaves, with cached files not lately read counted as free."""
    for limit_file, used_file, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            limit, used = (int((cgroup / name).read_text(encoding="utf-8")) for name in (limit_file, used_file))
            stat = dict(line.split() for line in (cgroup / "memory.stat").read_text(encoding="utf-8").splitlines())
            return max(0, limit - used + int(stat.get(cached, 0)))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return None


def _cgroups(controller: str) -> list[Path]:
    """The control groups of this process, whose limits hold all at once: its own and those above it."""
    folders = []
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, names, inside = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        root = CGROUPS / controller if names else CGROUPS
        place = root / inside.strip("/")
        folders += [place, *(above for above in place.parents if above.is_relative_to(root))]
    return [*dict.fromkeys([*folders, CGROUPS])]


def facts() -> dict[str, Any]:
    """The machine as a run's record stores it; `cpu_capability` and the versions decide whether bits can be equal."""
    import torch

    from seedwise.base.devices import gpus

    memory = memory_bytes()
    return {
        "system": platform.platform(),
        "cpu": _cpu_name(),
        "cores": cores(),
        "processes": processes(),
        "memory_gb": None if memory is None else round(memory / 2**30, 1),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "amx": has_amx(),
        "gpus": [gpu.name for gpu in gpus()],
    }


def describe(facts: dict[str, Any]) -> str:
    """The processor in `facts`, in one line."""
    amx = "with AMX" if facts["amx"] else "no AMX"
    return f"{facts['cpu']}, {facts['cores']} cores, {facts['cpu_capability']}, {amx}"


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    from importlib.metadata import version  # slow to import, and prepare_process stands at every start

    own = {"python": platform.python_version(), "seedwise": distribution()[1]}
    return own | {name: version(name) for name in ("torch", "timm", "numpy", "scipy", "pillow")}


def has_amx() -> bool:
    """Whether the CPU multiplies bf16 matrices in hardware (Intel AMX)."""
    import torch

    # torch exposes the question only under a private name; without it the answer is no.
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe()) if probe is not None else False


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
