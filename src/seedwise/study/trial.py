"""One trial: trains a resolved recipe on data with a seed into a run folder, wherever it is called."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from seedwise.engine.control import RunControl
from seedwise.recipe.schema import Recipe
from seedwise.records.run import Timed
from seedwise.run.train import run


@dataclass(frozen=True)
class Task:
    """A trial to run; can be sent to another process."""

    arm: str
    seed: int
    folder: Path
    """The run folder."""
    recipe: Recipe
    """The resolved recipe."""
    data: str
    data_dir: Path | None
    elsewhere: bool = False
    """As in `seedwise.run.train.resume`."""
    timed: Timed | None = None
    """As in `seedwise.run.train.run`."""

    def __str__(self) -> str:
        return f"{self.arm}, seed {self.seed}"


RunTrial = Callable[[Task, RunControl], object]


def run_trial(task: Task, control: RunControl) -> None:
    """Train or complete the trial's run."""
    place = (task.folder, task.recipe, task.data, task.seed, task.data_dir)
    run(*place, control, elsewhere=task.elsewhere, timed=task.timed)
