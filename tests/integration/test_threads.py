"""Several Python threads in one process: each training has the bits that it has alone."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import seedwise
from seedwise.base.errors import Interrupted
from seedwise.base.files import sha256_of
from seedwise.cli.progress import watching
from seedwise.engine.control import RunControl
from seedwise.engine.placement import computing
from seedwise.engine.protocols import Observer
from seedwise.inference.evaluate import evaluate
from seedwise.recipe import library
from seedwise.recipe.schema import ComputeConfig
from seedwise.run.run import Run

RECIPE = library.read(
    "demo",
    [
        *("model.name=small", "train.epochs=3", "train.image_size=16", "train.batch_size=20", "compute.threads=1"),
        *("data.limit=60", "data.val=20", "data.test=20", "train.insight=false", "model.dropout=0.5"),
    ],
)


def weights(run: Run) -> str:
    return sha256_of(run.folder / "model.safetensors")


def at_once(*actions: Callable[[], Any]) -> list[Any]:
    """What the actions return, each in a thread of its own; an exception is raised here."""
    results: dict[int, Any] = {}

    def act(number: int, action: Callable[[], Any]) -> None:
        try:
            results[number] = action()
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=act, args=pair, daemon=True) for pair in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    for result in results.values():
        if isinstance(result, BaseException):
            raise result
    return [results[number] for number in range(len(actions))]


@pytest.fixture
def alone(tmp_path: Path) -> Run:
    return seedwise.train(RECIPE, "digits", seed=1, out=tmp_path / "alone")


def test_two_trainings_at_once_have_the_bits_of_each_alone(alone: Run, tmp_path: Path) -> None:
    def train(seed: int) -> Run:
        return seedwise.train(RECIPE, "digits", seed=seed, out=tmp_path / f"seed {seed}")

    first, second = at_once(lambda: train(1), lambda: train(2))
    assert weights(first) == weights(alone) != weights(second)
    for run in (first, second):  # each log is its own run's
        assert (run.folder / "train.log").read_text(encoding="utf-8").count(" finished: ") == 1


def test_a_training_is_not_disturbed_by_who_predicts_or_evaluates(alone: Run, tmp_path: Path) -> None:
    done = threading.Event()

    def train() -> Run:
        try:
            return seedwise.train(RECIPE, "digits", seed=1, out=tmp_path / "beside")
        finally:
            done.set()

    def predict() -> int:
        count = 0
        while not done.is_set():
            seedwise.load(alone.folder).predict([torch.zeros(16, 16, 3, dtype=torch.uint8).numpy()])
            count += 1
        return count

    def check() -> bool | None:
        return evaluate(Run(alone.folder)).agrees

    beside, count, agrees = at_once(train, predict, check)
    assert weights(beside) == weights(alone)
    assert agrees is True and count > 0


def test_who_waits_can_give_up_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    seen: list[str] = []

    class Looking(Observer):
        def on_phase(self, name: str, done: int, total: int) -> None:
            seen.append(name)

    def train() -> None:
        with pytest.raises(Interrupted):
            control = RunControl(Looking(), should_stop=lambda: bool(seen))
            seedwise.train(RECIPE, "digits", out=tmp_path / "given up", control=control)

    with computing(ComputeConfig(device="cpu", threads=1), "the first run"):
        at_once(train)
    assert seen == ["waiting for the first run; turns"]
    assert not (tmp_path / "given up").exists()


@pytest.mark.slow
def test_the_same_thread_may_compute_within_a_computation(alone: Run, tmp_path: Path) -> None:
    class Evaluating(Observer):
        def on_epoch(self, *rows: Any) -> None:
            assert evaluate(Run(alone.folder)).agrees
            seedwise.train(RECIPE, "digits", seed=9, out=tmp_path / "within")

    run = seedwise.train(RECIPE, "digits", seed=1, out=tmp_path / "outer", control=RunControl(Evaluating()))
    assert weights(run) == weights(alone)


def test_the_command_lines_watch_works_in_any_thread(tmp_path: Path) -> None:
    def control() -> bool:
        with watching(tmp_path) as found:
            return found.should_stop()

    assert at_once(control) == [False]
