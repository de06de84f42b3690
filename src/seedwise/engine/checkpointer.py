"""When a run's progress is saved while it goes on, by whom it is written, and how a stopped run gets it back."""

import json
import threading
import time
from dataclasses import asdict
from types import TracebackType
from typing import Any

from pydantic import TypeAdapter
from torch import Tensor

from seedwise.base import devices, durations
from seedwise.base.errors import UserError, first_sentence
from seedwise.engine import checkpoint
from seedwise.engine.setup import Setup, State


class Checkpointer:
    """Keeps a run's state, and saves it: copies it between two steps, and writes the copy in a thread of its own.

    The training goes on while a checkpoint is written; the one before it counts until the new one is whole. There is
    never more than one being written. What goes wrong in the thread is raised by the next call, or at the block's end.
    """

    def __init__(self, setup: Setup) -> None:
        """`setup`: what is trained, where checkpoints lie and how often one is due."""
        self._setup = setup
        every = setup.config.checkpoint_every
        self._steps = every if isinstance(every, int) else None
        self._seconds = durations.seconds(every) if isinstance(every, str) else 0.0
        self._saved = time.monotonic()
        self._writer: threading.Thread | None = None
        self._failure: BaseException | None = None
        self.state = State()
        self.best: dict[str, Tensor] = {}
        """The best weights so far; empty unless they are wanted."""

    def __enter__(self) -> "Checkpointer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._join()
        if error is None:
            self._demand_written()

    @property
    def by_time(self) -> bool:
        """Whether time decides when the next one is due, not steps and epochs."""
        return self._steps is None

    def due(self) -> bool:
        """Whether progress should be saved now; never while a checkpoint is still being written, if time decides."""
        self._demand_written()
        if self._steps is not None:
            return self.state.step % self._steps == 0
        busy = self._writer is not None and self._writer.is_alive()
        return not busy and time.monotonic() - self._saved >= self._seconds

    def save(self) -> None:
        """Save the progress as it is now: returns once it is copied. Process 0 writes, the others do nothing."""
        setup, state = self._setup, self.state
        self._saved = time.monotonic()
        if not setup.world.is_first:
            return
        self._join()
        self._demand_written()
        tensors = checkpoint.model_tensors(setup.model, "model") | checkpoint.optimizer_tensors(setup.optimizer)
        tensors |= setup.averaged_tensors() | {f"best/{name}": value for name, value in self.best.items()}
        content = {"loop": asdict(state), "augment": setup.augment.state()}
        content |= {name: meter.state() for name, meter in setup.meters.items()}
        content = json.loads(json.dumps(content, allow_nan=False))  # a copy: the counts go on
        step, copied = state.step, devices.copied_to_host(tensors)

        def write() -> None:
            try:
                checkpoint.save(setup.folder, step, copied(), content)
            except BaseException as error:  # raised where the training can end
                self._failure = error

        self._writer = threading.Thread(target=write, name="checkpoint")
        self._writer.start()

    def save_whole(self) -> None:
        """Save the progress, and return once it is written."""
        self.save()
        self._join()
        self._demand_written()

    def expected(self, seconds: float) -> int:
        """How many checkpoints a whole training of so many seconds writes."""
        if self._steps is None:
            return int(seconds / self._seconds) + 1
        return self._setup.total_steps // self._steps + self._setup.config.epochs

    def _join(self) -> None:
        if self._writer is not None:
            self._writer.join()
            self._writer = None

    def _demand_written(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def restore(self) -> None:
        """Put the folder's checkpoint, if it has one, into the model and all that is trained with it."""
        found = checkpoint.load(self._setup.folder)
        if found is None:
            return
        try:
            self._restore(*found)
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError) as error:
            # the file is whole, but not what this version of seedwise writes for this run
            raise UserError(
                f"{self._setup.folder / checkpoint.POINTER}: of another run or version ({first_sentence(error)}); "
                f"{checkpoint.ADVICE}"
            ) from error

    def _restore(self, tensors: dict[str, Tensor], content: dict[str, Any]) -> None:
        setup = self._setup
        json.dumps(content, allow_nan=False)  # 1e999 is read as infinity, which nothing of ours writes
        state = TypeAdapter(State).validate_python(asdict(State(**content["loop"])))
        into = state.step - len(state.epochs) * setup.steps_per_epoch
        if not 0 <= into <= setup.steps_per_epoch:
            raise ValueError(f"step {state.step} is none of epoch {len(state.epochs) + 1}")
        if into and not (state.images > 0 and state.epoch_seconds > 0):
            raise ValueError(f"{into} steps into its epoch, of {state.images} images in {state.epoch_seconds} s")
        setup.model.load_state_dict(checkpoint.under(tensors, "model"))
        if setup.average is not None:
            setup.average.module.load_state_dict(checkpoint.under(tensors, "ema"))
        checkpoint.restore_optimizer(setup.optimizer, tensors)
        setup.augment.load_state(content["augment"])
        for name, meter in setup.meters.items():
            meter.load_state(content[name])
        self.state, self.best = state, checkpoint.under(tensors, "best")
