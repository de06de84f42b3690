"""Studies on a real Ray cluster: three nodes on this machine, each with a cache of its own."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from command_line import command, forked

from seedwise.base.files import sha256_of
from seedwise.records.run import read_record
from seedwise.study.record import read_study

pytestmark = [pytest.mark.slow, pytest.mark.alone]
ray_utils = pytest.importorskip("ray.cluster_utils")

CPUS = ("--cpus-per-trial", "1")
TOGGLES = ("--toggle", "cutmix,rotation,smoothing", "--seeds", "1,2,3")
TINY = (
    "train.epochs=8",
    "train.image_size=16",
    "train.batch_size=20",
    "train.checkpoint_every=4",
    "compute.kernels=stock",
)
SETTINGS = [f"-s{each}" for each in ("model.name=small", "data.limit=60", *TINY)]
STUDY = ("ablate", "digits", "--base", "demo", *TOGGLES, *SETTINGS)
"""Twelve trials of 24 steps, with a checkpoint after every fourth."""
WAIT_SECONDS = 600


class Nodes:
    """A head and two workers, of one CPU each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cluster: Any = _patiently(
            lambda: ray_utils.Cluster(
                initialize_head=True, head_node_args={"include_dashboard": False} | self._arguments("head")
            )
        )
        self.workers = [_patiently(partial(self.cluster.add_node, **self._arguments(name))) for name in ("a", "b")]

    def _arguments(self, name: str) -> dict[str, Any]:
        cache = {"SEEDWISE_CACHE": str(self.root / name), "RAY_USAGE_STATS_ENABLED": "0"}
        return {"num_cpus": 1, "object_store_memory": 80 << 20, "env_vars": cache}

    def training(self, name: str) -> list[Path]:
        """Checkpoints of the trials that run on a node's own disk."""
        return list((self.root / name / "ray" / "trials").glob("*/checkpoint.json"))

    def trial_processes(self, name: str) -> list[int]:
        """Ray's workers on a node that are in a trial."""
        found = []
        for folder in Path("/proc").iterdir():
            try:
                title = (folder / "cmdline").read_bytes() if folder.name.isdigit() else b""
                if title.startswith(b"ray::seedwise") and str(self.root / name).encode() in (
                    (folder / "environ").read_bytes()
                ):
                    found.append(int(folder.name))
            except OSError:
                continue
        return found


def _patiently(start: Callable[[], Any]) -> Any:
    """Ray gives a node 30 s to come up, which a busy machine may not keep."""
    for _ in range(5):
        try:
            return start()
        except Exception:
            time.sleep(1)
    return start()


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    monkeypatch.setenv("RAY_worker_niceness", "0")  # Ray's default, 15, gets next to nothing beside other work
    nodes = Nodes(tmp_path / "nodes")
    yield nodes
    nodes.cluster.shutdown()


def _until(what: Callable[[], Any], running: subprocess.Popen[str]) -> Any:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if found := what():
            return found
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def _begin(*arguments: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def _judged(folder: Path) -> Any:
    """What the study says, without what to do next: that has the folder's name, and the time that runs took."""
    found = read_study(folder).comparisons
    return {
        arm: {split: {key: value for key, value in it.items() if key != "advice"} for split, it in by.items()}
        for arm, by in found.items()
    }


def _weights(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in folder.glob("runs/*/*/model.safetensors")}


def test_a_study_survives_the_death_of_a_node_and_of_a_worker_with_the_bits_of_the_local_one(
    nodes: Nodes, tmp_path: Path
) -> None:
    far, near = tmp_path / "far", tmp_path / "near"
    on_ray = ("--on", "ray", "--address", nodes.cluster.address, "--own-disks")
    running = _begin(*STUDY, *on_ray, *CPUS, "-o", far)

    _until(lambda: nodes.training("a"), running)
    nodes.cluster.remove_node(nodes.workers[0], allow_graceful=False)
    _until(lambda: nodes.training("b"), running)
    killed = _until(lambda: nodes.trial_processes("b"), running)[0]
    os.kill(killed, signal.SIGKILL)
    _, err = running.communicate(timeout=WAIT_SECONDS)
    assert running.returncode == 0, err

    study = read_study(far)
    assert [trial.status for trial in study.trials] == ["finished"] * 12
    assert len({(trial.arm, trial.seed) for trial in study.trials}) == 12
    assert all(summary["test"]["top1"]["n"] == 3 for summary in study.summary.values())
    here = forked(*STUDY, "-s", "compute.threads=1", "-o", near)
    assert here.code == 0, here.err
    assert len(_weights(near)) == 12
    assert _weights(far) == _weights(near)
    assert _judged(near) == _judged(far)
    assert not list(far.glob(".ray-*"))


def test_where_nodes_see_the_folder_a_killed_trial_goes_on_and_ctrl_c_leaves_what_resume_completes(
    nodes: Nodes, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    base = folder / "runs" / "base" / "seed-1"
    on_ray = ("--on", "ray", "--address", nodes.cluster.address, *CPUS)
    running = _begin(*STUDY, *on_ray, "-o", folder)
    _until((base / "checkpoint.json").exists, running)
    os.killpg(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=WAIT_SECONDS)
    assert running.returncode == 130, err
    assert f"seedwise resume {folder}" in err
    assert read_record(base).status in ("interrupted", "finished")

    done = forked("resume", folder)
    assert done.code == 0, done.err
    assert json.loads((folder / "study.json").read_text())["summary"]["base"]["test"]["top1"]["n"] == 3
