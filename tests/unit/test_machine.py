"""How many threads a process takes, and what limits of containers leave of cores and memory."""

import os
from pathlib import Path
from typing import Any

import pytest

from seedwise.base import machine
from seedwise.recipe.schema import ComputeConfig, Recipe
from seedwise.run import resolve

GB = 2**30


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for control groups."""
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    for name in ("OMP_NUM_THREADS", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write(folder: Path, **files: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.mark.parametrize(
    ("given", "processes", "threads"),
    [
        (None, 1, 8),
        ("3", 1, 3),
        ("64", 1, 64),  # more than there are: the user's word
        ("4,2", 1, 4),
        (" 2 ", 1, 2),
        ("0", 1, 8),
        ("-2", 1, 8),
        ("many", 1, 8),
        ("", 1, 8),
        ("1", 1, 1),
        ("1", 2, 4),  # torchrun's own
        ("3", 2, 3),
        (None, 3, 2),
        (None, 16, 1),
    ],
)
def test_automatic_threads(
    groups: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, processes: int, threads: int
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert resolve.resolve(Recipe()).compute.threads == threads
    assert resolve.resolve(Recipe(compute=ComputeConfig(threads=5))).compute.threads == 5


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"cpu__max": "max 100000"}, None),
        ({"cpu__max": "150000 100000"}, 2),
        ({"cpu__max": "40000 100000"}, 1),  # less than half a core is still one thread, not all of them
        ({"cpu__max": "nonsense"}, None),
        ({"cpu__cfs_quota_us": "-1\n", "cpu__cfs_period_us": "100000\n"}, None),
        ({"cpu__cfs_quota_us": "300000\n", "cpu__cfs_period_us": "100000\n"}, 3),
    ],
)
def test_a_quota_of_cores(
    groups: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, Any], quota: int | None
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)))
    write(groups, **files)
    assert machine.quota() == quota
    assert machine.cores() == (quota or 16)


def test_of_nested_limits_the_tightest_holds(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Path(groups / "self")
    listed.write_text("12:cpu,cpuacct:/old\n0::/slice/job\n")
    read = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda self, **how: read(listed if str(self) == "/proc/self/cgroup" else self, **how)
    )
    write(groups / "slice" / "job", cpu__max="max 100000")
    write(groups / "slice", cpu__max="200000 100000")
    write(groups / "cpu" / "old", cpu__cfs_quota_us="700000", cpu__cfs_period_us="100000")
    assert machine.quota() == 2


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory__max": f"{3 * GB}", "memory__current": f"{2 * GB}", "memory__stat": f"inactive_file {GB}\n"}, 2 * GB),
        ({"memory__max": f"{GB}", "memory__current": f"{2 * GB}", "memory__stat": "anon 1\n"}, 0),
        (
            {
                "memory__limit_in_bytes": f"{4 * GB}",
                "memory__usage_in_bytes": f"{GB}",
                "memory__stat": "total_inactive_file 4096\n",
            },
            3 * GB + 4096,
        ),
    ],
)
def test_a_limit_of_memory(groups: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], left: int) -> None:
    monkeypatch.setattr(machine, "_meminfo", lambda name: 100 * GB)
    write(groups, **files)
    assert machine.available_memory_bytes() == left


def test_without_a_limit_the_systems_word_holds(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_meminfo", lambda name: 7 * GB)
    write(groups, memory__max="max", memory__current=f"{GB}", memory__stat="inactive_file 0\n")
    assert machine.available_memory_bytes() == 7 * GB
    monkeypatch.undo()
    available, total = machine.available_memory_bytes(), machine.memory_bytes()
    assert available is None or total is None or 0 < available <= total


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, ("passive", "3000")),
        ({"GOMP_SPINCOUNT": "0"}, ("passive", "0")),
        ({"OMP_WAIT_POLICY": "active"}, ("active", None)),
        ({"OMP_WAIT_POLICY": "passive"}, ("passive", None)),
    ],
)
def test_threads_spin_shortly_before_they_sleep_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], wanted: tuple[str, str | None]
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # so that it is as before in the end
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):  # twice does no harm
        machine.prepare_process()
        assert (os.environ["OMP_WAIT_POLICY"], os.environ.get("GOMP_SPINCOUNT")) == wanted
