"""Who looks on while a run goes, and who may stop it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from seedwise.base import machine
from seedwise.base.errors import Interrupted
from seedwise.data.dataset import Dataset
from seedwise.engine.protocols import Observer, Silent


@dataclass(frozen=True)
class RunControl:
    """Who looks on, and who may ask the run to stop (it then leaves a checkpoint and raises Interrupted)."""

    observer: Observer = field(default_factory=Silent)
    should_stop: Callable[[], bool] = lambda: False
    began: float | None = None
    """`time.monotonic()` when the command began, for `--time`; None: when the training was asked for."""


def announce(watch: RunControl, dataset: Dataset) -> Dataset:
    """Say what will be trained on; returns the data."""
    watch.observer.on_data(dataset.lines())
    return dataset


def stoppable(watch: RunControl) -> Callable[[str, int, int], None]:
    """Progress of phases outside the loop; raises Interrupted when the run shall stop."""

    def report(name: str, done: int, total: int) -> None:
        watch.observer.on_phase(name, done, total)
        if machine.processes() == 1 and watch.should_stop():  # several processes agree on it at the next step
            raise Interrupted(f"stopped during {name}")

    return report
