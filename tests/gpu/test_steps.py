"""Training steps on a GPU: nothing waits for it between two looks at the loss."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from null_driver import Machine, NullDriver, Question
from torch import Tensor

from seedwise.augment.config import TECHNIQUES

BASE = (
    *("data.limit=600", "data.val=20", "data.test=20", "model.name=small", "model.weights=none", "train.epochs=1"),
    *("train.batch_size=20", "train.image_size=32", "train.checkpoint_every=100000", "train.insight=false"),
    *("warm_start=null", "compute.threads=1"),
)
REFERENCE = (
    *("augment.random_crop=default", "augment.horizontal_flip=default", "augment.rotation=default"),
    *("augment.cutmix=default", "augment.color_jitter=default"),
)
OWN = "augment.custom={function: 'test_steps:darker'}"
TOGETHER = [name for name, config in TECHNIQUES.items() if config.replaces is None]
VARIANTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "reference": REFERENCE,
    "RandAugment": ("augment.rand_augment=default", "augment.mixup=default", "augment.random_erasing=default"),
    "clipped": ("optim.clip_norm=1.0",),
    "averaged": ("optim.ema=default",),
    "averaged at the end": ("optim.swa={start: 0.5}",),
    "sharpness-aware": ("optim.sam=default",),
    "accumulated": ("train.accumulate=2", "train.batch_size=10"),
    "noise": ("model.dropout=0.2", "model.drop_path=0.1"),
    "weighted": ("loss.class_weights=balanced", "loss.smoothing=0.1"),
    "binary": ("loss.kind=bce", *REFERENCE),
    "sgd": ("optim.algorithm=sgd",),
    "repeated": ("train.repeats=2",),
    "frozen": ("model.freeze=1",),
    "progressive": ("progressive=[{until: 0.5, image_size: 16}, {image_size: 32}]",),
    "fp16": ("compute.precision=fp16", *REFERENCE),
    "tf32": ("compute.precision=tf32",),
    "custom": (OWN,),
    "everything": (
        *("optim.ema=default", "optim.sam=default", "optim.clip_norm=1.0", "optim.layer_decay=0.8"),
        *("loss.distill={teacher: TEACHER}", "model.dropout=0.1", "model.drop_path=0.1", "train.accumulate=2"),
        *(f"augment.{name}=default" for name in TOGETHER if name != "custom"),
        OWN,
    ),
}


def darker(images: Tensor, draws: Tensor) -> Tensor:
    """A user's own technique."""
    return images >> (draws[:, :1, None, None] < 0.5).to(torch.uint8)


SAVED = ("train.checkpoint_every=1", "optim.ema=default", *REFERENCE)


def waits(folder: str, *settings: str) -> dict[str, int]:
    """Waits of a training's steps by place, but for those of the looks themselves; the first look is left out."""
    import null_counts

    from seedwise.engine import loop
    from seedwise.engine.control import RunControl
    from seedwise.engine.protocols import Observer
    from seedwise.recipe import library
    from seedwise.run.train import train

    loop.REPORT_SECONDS = 1e9
    lines, first = inspect.getsourcelines(loop._train_epoch)
    looks = [first + number for number, line in enumerate(lines) if "torch.stack(pending)" in line]
    found: dict[str, int] = {}

    class Looking(Observer):
        seen = 0

        def on_step(self, epoch: int, step: int, *rest: float) -> None:
            for place, count in null_counts.waits().items() if self.seen else ():
                if not place.endswith(f"engine/loop.py:{looks[0]}"):
                    found[place] = found.get(place, 0) + count
            self.seen += 1
            null_counts.reset()

    if any("TEACHER" in setting for setting in settings):
        teacher = Path(folder) / "teacher"
        train(library.read("demo", [*BASE]), "digits", seed=3, out=teacher)
        settings = tuple(setting.replace("TEACHER", str(teacher)) for setting in settings)
    control = RunControl(Looking())
    train(library.read("demo", [*BASE, *settings]), "digits", seed=3, out=Path(folder) / "run", control=control)
    return found


def test_no_step_waits_for_the_device(null_driver: NullDriver, tmp_path: Path) -> None:
    fast = ("plain", "reference", "fp16")
    check(null_driver, tmp_path, fast)


def test_a_checkpoint_is_copied_without_waiting(null_driver: NullDriver, tmp_path: Path) -> None:
    """A save comes with a look, when the device has nothing left to do: counts are read then, weights behind it."""
    (answer,) = null_driver.ask([Question(waits, (str(tmp_path), *SAVED), Machine((80,)))])
    assert {place.rpartition(":")[0] for place in answer.demand()} == {
        "d2h at augment/measure.py",
        "d2h at models/dropout_meter.py",
        "event_syncs at engine/checkpointer.py",  # in the thread that writes
    }


@pytest.mark.slow
def test_no_variant_of_a_step_waits_for_the_device(null_driver: NullDriver, tmp_path: Path) -> None:
    check(null_driver, tmp_path, [name for name in VARIANTS if name not in ("plain", "reference", "fp16")])


def check(null_driver: NullDriver, folder: Path, names: Any) -> None:
    questions = []
    for name in names:
        (folder / name).mkdir()
        questions.append(Question(waits, (str(folder / name), *VARIANTS[name]), Machine((80,))))
    answers = null_driver.ask(questions)
    assert {name: answer.demand() for name, answer in zip(names, answers, strict=True)} == {name: {} for name in names}
