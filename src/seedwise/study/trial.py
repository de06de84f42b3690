"""One trial: a pure function of resolved recipe, data and seed that fills a run folder, wherever it is called."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from seedwise.recipe import Recipe
from seedwise.record import Timed
from seedwise.training import run
from seedwise.watch import Watch


@dataclass(frozen=True)
class Task:
    """What a trial needs; it can be sent to another process."""

    arm: str
    seed: int
    folder: Path
    """The run folder."""
    recipe: Recipe
    """Resolved."""
    data: str
    data_dir: Path | None
    elsewhere: bool = False
    """As in `seedwise.training.resume`."""
    timed: Timed | None = None
    """As in `seedwise.training.run`."""

    def __str__(self) -> str:
        return f"{self.arm}, seed {self.seed}"


RunTrial = Callable[[Task, Watch], object]


def run_trial(task: Task, watch: Watch) -> None:
    """Train or complete the trial's run."""
    place = (task.folder, task.recipe, task.data, task.seed, task.data_dir)
    run(*place, watch, elsewhere=task.elsewhere, timed=task.timed)
