"""Runs trials on many machines, as Ray tasks. Only what runs here imports Ray; no torch."""

import logging
import os
import re
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedwise.base import machine
from seedwise.base.errors import Interrupted, UserError, first_sentence
from seedwise.base.files import write_text
from seedwise.data.find import find_source
from seedwise.records.run import RECORD, read_record
from seedwise.study.data_archive import DataArchive, pack
from seedwise.study.record import BASE, StudyRecord
from seedwise.study.remote_trial import RemoteResult, TrialRequest, receive, work
from seedwise.study.schedule import TrialResult

if TYPE_CHECKING:
    from seedwise.engine.control import RunControl
    from seedwise.study.trial import RunTrial, Task  # imports torch

DEFAULT_CPUS = 2
RETRIES = 4
"""Number of times that Ray restarts a trial when its worker or node has died."""
POLL_SECONDS = 0.2
LOOK_SECONDS = 5.0
"""Seconds between two updates of which nodes there are."""
GRACE_SECONDS = 60.0
"""As in `seedwise.study.local_runner`."""
REPORTS_PER_SECOND = 100
"""Largest number of progress reports per second, of all trials together."""
SHOWN = 4
"""Number of trials whose progress is shown one by one."""
CONNECT_SECONDS = 5.0
EXTRA = 'pip install "seedwise[ray]"'

log = logging.getLogger("seedwise")


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and the resources of a trial on it."""

    address: str = "auto"
    """HOST:PORT of its head; `auto`: the cluster of this machine, else one is started here."""
    cpus: int | None = None
    """CPUs reserved for a trial; None: the study's threads, for a new one `DEFAULT_CPUS`."""
    gpus: float = 0.0
    """GPUs reserved for a trial; fractions share one."""
    shared: bool = True
    """Whether nodes that see the study's folder train there; False: every node on its own disk."""

    def check(self) -> None:
        """Raise a UserError for what can't work, as far as that is known before anything is opened."""
        spec = find_spec("ray")
        if spec is None or spec.origin is None:  # a folder that happens to have this name has no origin
            raise UserError(f"--on ray: Ray is not installed here; {EXTRA} brings it")
        if self.address.startswith("ray://"):
            raise UserError(f"--address {self.address}: give HOST:PORT of the head, on a machine of the cluster")
        if self.address != "auto" and not re.fullmatch(r"[^\s:/]+:\d{1,5}", self.address):
            raise UserError(f"--address {self.address}: give auto, or HOST:PORT of the cluster's head, such as n1:6379")


@dataclass
class OnRay:
    """A runner on a Ray cluster; submits a few more trials than fit, so that no node waits for this process.

    What is written into the study's folder comes from one process a trial: the node's if it sees the folder, under the
    run folder's lock, else this one, from what the node sends back.
    """

    control: "RunControl"
    cluster: Cluster
    study: StudyRecord
    folder: Path
    total: int
    """Number of trials, for display."""
    run: "RunTrial | None" = None
    """A replacement for `run_trial`."""
    slots: int = 0
    _running: dict[Any, "Task"] = field(default_factory=dict)
    _refused: dict[str, str] = field(default_factory=dict)
    """Reason of refusal, by node."""
    _progress: dict[str, float] = field(default_factory=dict)
    _result: int = 0
    _stopping: bool = False
    _archive: tuple[str, list[Any]] | None = None
    _looked: float = -LOOK_SECONDS
    _asked: Any = None

    def __post_init__(self) -> None:
        recipe = self.study.recipe(BASE)
        self.cpus = self.cluster.cpus or int(recipe.compute.threads)
        kind = recipe.compute.device.split(":")[0]
        if (kind == "cuda") != (self.cluster.gpus > 0):
            advice = "give --gpus-per-trial 1" if kind == "cuda" else "drop it, or start where there is a GPU"
            raise UserError(f"--gpus-per-trial {self.cluster.gpus:g}: the study trains on {kind}; {advice}")
        self.ray = _ray()
        self._ours = _connect(self.ray, self.cluster.address)
        self._token = (self.folder / f".ray-{secrets.token_hex(8)}.tmp", secrets.token_hex(16))
        if self.cluster.shared:
            write_text(*self._token)
        self._keys = {(trial.arm, trial.seed): str(trial.hash) for trial in self.study.trials}
        self._reference: dict[str, dict[str, str]] = {}
        self._board = _board(self.ray)
        try:
            self._look()
        except UserError:
            self.close()
            raise

    def start(self, task: "Task") -> None:
        """Submit the trial to Ray."""
        threads = str(task.recipe.compute.threads)
        variables = {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",
        }
        options = {
            "num_cpus": self.cpus,
            "num_gpus": self.cluster.gpus,
            "max_retries": RETRIES,
            "runtime_env": {"env_vars": variables},
            "name": f"seedwise: {task}",
        }
        if self._refused:
            from ray.util.scheduling_strategies import NodeLabelSchedulingStrategy, NotIn

            options["scheduling_strategy"] = NodeLabelSchedulingStrategy(hard={"ray.io/node-id": NotIn(*self._refused)})
        remote = self.ray.remote(_on_node).options(**options)
        self._running[remote.remote(self._request(task), self._archive, self._board, self.run)] = task

    def wait(self) -> TrialResult:
        """Wait for a trial to end, showing progress."""
        while True:
            if self.control.should_stop():
                self._stop()
                raise Interrupted("stopped")
            self._look()
            ready, _ = self.ray.wait(list(self._running), num_returns=1, timeout=POLL_SECONDS)
            for ref in ready:
                if (result := self._end(ref)) is not None:
                    self._result += 1
                    return result
            self._show()

    def close(self) -> None:
        """Stop running trials as by Ctrl-C, and kill those that don't stop."""
        self._stop()
        self._token[0].unlink(missing_ok=True)
        self.ray.kill(self._board)
        if self._ours:
            self.ray.shutdown()

    def _request(self, task: "Task") -> TrialRequest:
        return TrialRequest(
            arm=task.arm,
            seed=task.seed,
            key=self._keys[task.arm, task.seed],
            recipe=task.recipe.model_dump_json(),
            data=self.study.data,
            data_dir=self.study.data_dir,
            fingerprint=self.study.fingerprints[task.arm],
            environment=self._environment(task),
            folder=str(task.folder.absolute()),
            token=(str(self._token[0].absolute()), self._token[1]) if self.cluster.shared else None,
            elsewhere=task.elsewhere,
            report_seconds=max(1.0, self.slots / REPORTS_PER_SECOND),
        )

    def _environment(self, task: "Task") -> dict[str, str]:
        """Everything that decides the bits of the study's trials: as in its first one, else as here."""
        if task.arm not in self._reference:
            from seedwise.run.folder import environment, recorded_environment

            began = (self.folder / trial.folder for trial in self.study.trials if trial.status != "planned")
            first = next((read_record(path) for path in began if (path / RECORD).exists()), None)
            known = {} if first is None else recorded_environment(first)
            self._reference[task.arm] = {name: known.get(name, now) for name, now in environment(task.recipe).items()}
        return self._reference[task.arm]

    def _end(self, ref: Any) -> TrialResult | None:
        """The end of a trial; None when it was submitted again."""
        task = self._running.pop(ref)
        self._progress.pop(str(task), None)
        try:
            node, address, outcome = self.ray.get(ref)
        except self.ray.exceptions.RayError as error:
            return TrialResult(task, f"Ray: {first_sentence(getattr(error, 'cause', None) or error)}")
        try:
            if outcome.files is not None:
                receive(task.folder, outcome.files)
        except UserError as error:
            return TrialResult(task, str(error))
        if outcome.state in ("refused", "dataless") and not self._stopping:
            if outcome.state == "refused":
                self._refuse(node, address, outcome.error)
            elif self._archive is None:
                self._archive = self._send()
            self.start(task)
            return None
        return TrialResult(task, None if outcome.state == "finished" else outcome.error or outcome.state, outcome.began)

    def _refuse(self, node: str, address: str, why: str) -> None:
        if node in self._refused:
            return
        self._refused[node] = f"{address}: {why}"
        log.warning(
            "node %s can't give the study's bits (%s) and is left out; --elsewhere takes and marks it", address, why
        )
        self._looked = -LOOK_SECONDS
        self._look()

    def _send(self) -> tuple[str, list[Any]]:
        study = self.study
        data_dir = Path(study.data_dir) if study.data_dir else None
        data, chunks = pack(study.data, find_source(study.data, data_dir, study.recipe(BASE).data))
        return data, [self.ray.put(chunk) for chunk in chunks]

    def _look(self) -> None:
        """Update how many trials fit on the nodes of the cluster."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        nodes = [node for node in self.ray.nodes() if node["Alive"]]
        fit = sum(self._fitting(node["Resources"]) for node in nodes if node["NodeID"] not in self._refused)
        if fit == 0 and len(self._refused) > 0:
            raise UserError(f"no node can give the study's bits: {next(iter(self._refused.values()))}; see --elsewhere")
        if fit == 0 and self.slots == 0:
            largest = max((node["Resources"].get("CPU", 0) for node in nodes), default=0)
            gpus = f" and {self.cluster.gpus:g} GPUs" if self.cluster.gpus else ""
            raise UserError(
                f"--on ray: no node has {self.cpus} CPUs{gpus} for a trial (the largest: {largest:g} CPUs); "
                "give fewer with --cpus-per-trial"
            )
        self.slots = max(1, fit + -(-fit // 4))

    def _fitting(self, resources: dict[str, float]) -> int:
        fits = resources.get("CPU", 0) // self.cpus
        if self.cluster.gpus:
            fits = min(fits, resources.get("GPU", 0) // self.cluster.gpus)
        return int(fits)

    def _show(self) -> None:
        if self._asked is None:
            self._asked = self._board.drain.remote()
        elif self.ray.wait([self._asked], timeout=0)[0]:
            self._progress |= self.ray.get(self._asked)
            self._asked = None
        running = {name: self._progress.get(name, 0.0) for name in map(str, self._running.values())}
        parts = [f"{name} {done:.0%}" for name, done in list(running.items())[:SHOWN]]
        more = [f"{len(running) - SHOWN} more"] if len(running) > SHOWN else []
        self.control.observer.on_phase(f"on Ray {', '.join(parts + more)}; trials", self._result, self.total)

    def _stop(self) -> None:
        self._stopping = True
        for ref in self._running:
            self.ray.cancel(ref)
        deadline = time.monotonic() + GRACE_SECONDS
        while self._running and time.monotonic() < deadline:
            for ref in self.ray.wait(list(self._running), num_returns=1, timeout=POLL_SECONDS)[0]:
                self._end(ref)  # one that has finished meanwhile is kept
        for ref in self._running:
            self.ray.cancel(ref, force=True)
        self._running.clear()


class _Board:
    """A Ray actor that collects the progress of trials."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}

    def put(self, trial: str, done: float) -> None:
        self._seen[trial] = done

    def drain(self) -> dict[str, float]:
        seen, self._seen = self._seen, {}
        return seen


def _on_node(
    order: TrialRequest, sent: tuple[str, list[Any]] | None, board: Any, run: "RunTrial | None"
) -> tuple[str, str, RemoteResult]:
    """The Ray task that runs a trial. The data's chunks are fetched only when asked for."""
    ray = _ray()
    name = f"{order.arm}, seed {order.seed}"
    data_archive = None if sent is None else DataArchive(sent[0], len(sent[1]), lambda number: ray.get(sent[1][number]))
    outcome = work(order, data_archive, lambda done: board.put.remote(name, done), run)
    return ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address(), outcome


def _board(ray: Any) -> Any:
    """Create the board on the driver's own node, which lives as long as the study runs."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(_Board).options(num_cpus=0, scheduling_strategy=here).remote()


def _ray() -> Any:
    """Import Ray, without its telemetry and its hook for uv."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    import ray

    return ray


def _connect(ray: Any, address: str) -> bool:
    """Join the cluster, or start one here; False when this process has done so before."""
    if ray.is_initialized():
        return False
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "namespace": "seedwise"}
    code = {"py_modules": [str(Path(__file__).parents[1])]}  # nodes compute with this seedwise, whatever they have
    if address != "auto":
        _demand_answer(address)
    try:
        with _signals_kept():
            ray.init(address=address, runtime_env=code, **options)
    except ConnectionError as error:
        if address != "auto":
            raise UserError(f"--address {address}: Ray can't be joined there ({first_sentence(error)})") from error
        with _signals_kept():
            ray.init(address="local", num_cpus=machine.cores(), include_dashboard=False, **options)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"--address {address}: Ray can't be joined there ({first_sentence(error)})") from error
    return True


def _demand_answer(address: str) -> None:
    """Raise a UserError where nothing answers at the address: Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--address {address}: nobody answers there ({error}); start the head with `ray start --head`, "
            "and give the address that it prints"
        ) from error


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep our handler of SIGTERM during the block: Ray's leaves no checkpoints."""
    numbers: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM)
    alone = threading.current_thread() is threading.main_thread()  # no other may set signals
    before = {number: signal.getsignal(number) for number in numbers if alone}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
