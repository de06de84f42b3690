"""Control of a run: who observes it, and who may stop it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from seedwise.base import machine
from seedwise.base.errors import Interrupted
from seedwise.data.dataset import Dataset
from seedwise.engine.protocols import Observer


@dataclass(frozen=True)
class RunControl:
    """An observer of a run, and a callback that asks it to stop: it then writes a checkpoint and raises Interrupted."""

    observer: Observer = field(default_factory=Observer)
    should_stop: Callable[[], bool] = lambda: False
    began: float | None = None
    """`time.monotonic()` in seconds when the command began, for `--time`; None: when training was asked for."""


def announce(control: RunControl, dataset: Dataset) -> Dataset:
    """Tell the observer which data are trained on; returns them."""
    control.observer.on_data(dataset.lines())
    return dataset


def phase_progress(control: RunControl) -> Callable[[str, int, int], None]:
    """A progress callback for phases outside the loop, which raises Interrupted when the run is asked to stop."""

    def report(name: str, done: int, total: int) -> None:
        control.observer.on_phase(name, done, total)
        if machine.processes() == 1 and control.should_stop():  # several processes agree on it at the next step
            raise Interrupted(f"stopped during {name}")

    return report
