"""Seedwise and timm as their users have them, making a training step or scoring images on embedded pictures."""

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from interleaved import Work, peak_bytes

if TYPE_CHECKING:
    from torch import nn

CLASSES = 100
PARTS = ("data", "forward", "backward", "optimizer")
"""Of a step; `data` reads and augments, the loss belongs to `backward`."""

TIMM = ("timm fp32", "timm fp32 channels_last", "timm bf16 channels_last")
COMPILED = tuple(f"{name} compiled" for name in TIMM)
SIDES = ("seedwise", *TIMM, *COMPILED)


def works(options: argparse.Namespace) -> dict[str, Work]:
    """What a worker of the side `options.worker` can be asked for."""
    if options.worker == "seedwise":
        from seedwise.base.machine import prepare_process

        prepare_process()
    import torch

    torch.set_num_threads(options.threads)
    made = seedwise_works(options) if options.worker == "seedwise" else timm_works(options)
    return {**made, "memory": peak_bytes}


class Clock:
    """Marks where one part of a step ends and the next begins."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def mark(self, *_: object) -> None:
        """Now; the arguments are those of a hook."""
        self.marks.append(time.perf_counter())

    def timed(self, read: Work, train: Callable[[Any], None]) -> Work:
        """A step that answers with the seconds of its PARTS; `train` marks the ends of forward and backward."""

        def step() -> list[float]:
            self.marks.clear()
            self.mark()
            batch = read()
            self.mark()
            train(batch)
            self.mark()
            return [after - before for before, after in pairwise(self.marks)]

        return step


def seconds(work: Work) -> Work:
    """The same, answered by how long it took."""

    def run() -> list[float]:
        began = time.perf_counter()
        work()
        return [time.perf_counter() - began]

    return run


def seedwise_works(options: argparse.Namespace) -> dict[str, Work]:
    """Seedwise's own step and evaluation, at exactly `options.batch` images."""
    import numpy as np
    import torch

    from seedwise.data.open import open_data
    from seedwise.engine.loop import make_batch
    from seedwise.engine.step import training_step
    from seedwise.models.build import build_model
    from seedwise.recipe import library
    from seedwise.run import resolve
    from seedwise.run import train as training

    settings = {
        "model.name": options.model,
        "model.weights": "none",
        "train.image_size": options.size,
        "train.batch_size": options.batch,
        "compute.threads": options.threads,
        **dict(text.split("=", 1) for text in options.set),
    }
    recipe = resolve.resolve(library.read("lite", [f"{key}={value}" for key, value in settings.items()]))
    dataset = open_data("digits", recipe.data, **resolve.storage_resolution(recipe))
    built = build_model(recipe.model, num_classes=CLASSES, seed=0)
    setup = training.prepare(Path(), recipe, 0, dataset, built, num_classes=CLASSES)
    positions = np.arange(options.batch)
    scored = dataset.train.take(np.arange(options.scored) % len(dataset.train.ids))  # more than there are: again
    clock = Clock()
    setup.optimizer.register_step_pre_hook(clock.mark)

    def loss(logits: torch.Tensor, targets: torch.Tensor, teacher: torch.Tensor | None = None) -> torch.Tensor:
        clock.mark()
        return setup.loss(logits, targets, teacher)

    def train(batch: Any) -> None:
        if not setup.model.training:  # a visit to every module, which loops make once an epoch
            setup.model.train()
        training_step(setup.model, loss, setup.optimizer, [batch], placement=setup.placement, clip_norm=None).tolist()

    def evaluate() -> None:
        setup.predict(scored)

    return {"step": clock.timed(lambda: make_batch(setup, positions, 0), train), "evaluate": seconds(evaluate)}


def timm_works(options: argparse.Namespace) -> dict[str, Work]:
    """timm's model, loader (without workers: they would take the cores from the step) and optimizer."""
    import torch
    from timm.optim._optim_factory import create_optimizer_v2
    from torch.nn.functional import cross_entropy

    bf16, channels_last = "bf16" in options.worker, "channels_last" in options.worker
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = timm_model(options).to(memory_format=layout)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=1e-3)
    if "compiled" in options.worker:
        model.compile()
    batches = timm_batches(options)
    clock = Clock()
    optimizer.register_step_pre_hook(clock.mark)

    def read() -> Any:
        images, targets = next(batches)
        return images.contiguous(memory_format=layout), targets

    def train(batch: Any) -> None:
        if not model.training:
            model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(batch[0])
            clock.mark()
            loss = cross_entropy(logits, batch[1], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()

    images = torch.randn(options.scored, 3, options.size, options.size).contiguous(memory_format=layout)

    def evaluate() -> None:
        model.eval()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            for chunk in torch.split(images, 256):
                model(chunk)

    return {"step": clock.timed(read, train), "evaluate": seconds(evaluate)}


def timm_model(options: argparse.Namespace) -> "nn.Module":
    """The same architecture as a user of timm builds it."""
    import timm

    from seedwise.models.config import TIMM_NAMES

    name = TIMM_NAMES[options.model].split(".")[0]
    model: nn.Module = timm.create_model(name, num_classes=CLASSES, drop_rate=0.2)
    return model


def timm_batches(options: argparse.Namespace) -> Iterator[Any]:
    """timm's own loader over the same images, without end: pad, crop and flip at 32 px, then bicubic."""
    import numpy as np
    import torch
    from PIL import Image
    from timm.data.loader import create_loader

    from seedwise.data.config import DataConfig
    from seedwise.data.open import open_data

    train = open_data("digits", DataConfig(), short_side=options.size).train
    pixels, _ = train.gather(np.arange(len(train)))
    pictures = [(Image.fromarray(p.transpose(1, 2, 0)), int(t)) for p, t in zip(pixels, train.targets, strict=True)]

    class Pictures(torch.utils.data.Dataset):  # type: ignore[type-arg]
        transform: Any

        def __len__(self) -> int:
            return len(pictures)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            picture, target = pictures[index]
            return self.transform(picture), target

    loader = create_loader(
        cast("Any", Pictures()),
        input_size=(3, options.size, options.size),
        batch_size=options.batch,
        is_training=True,
        use_prefetcher=False,
        train_crop_mode="rkrc",
        interpolation="bicubic",
        num_workers=0,
        persistent_workers=False,
    )
    while True:
        yield from loader
