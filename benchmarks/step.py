"""Training step of seedwise against timm: pairs in one run, each side in a process of its own.

    python benchmarks/step.py [--model NAME] [--size 64] [--batch 128] [--rounds 8] [--threads N] [-o FILE]

timm is measured as its users have it (its model, loader with `num_workers=0`, and AdamW) in fp32, fp32 + channels_last
and bf16 autocast + channels_last. The sides take turns, one step each, so that a busy neighbor meets all alike; the
ratios are taken turn by turn. `model` is forward, backward and optimizer alone; `step` also reads and augments the
batch: crop, flip and bicubic resize from 32 px.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import IO, Any, cast

Times = tuple[float, float]
"""(seconds to read and augment a batch, seconds of forward, backward and optimizer)."""

SIDES = ("seedwise", "timm fp32", "timm fp32 channels_last", "timm bf16 channels_last")
CLASSES = 100


class Side:
    """A worker process that makes one training step whenever it is asked."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        command = [sys.executable, __file__, "--worker", name, "--model", options.model]
        for flag in ("size", "batch", "threads"):
            command += [f"--{flag}", str(getattr(options, flag))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def step(self) -> Times:
        """Make a step now."""
        stdin, stdout = cast("IO[str]", self.process.stdin), cast("IO[str]", self.process.stdout)
        stdin.write("step\n")
        stdin.flush()
        data, model = json.loads(stdout.readline())
        return data, model


def seedwise_step(options: argparse.Namespace) -> Callable[[], Times]:
    """One step of seedwise on embedded images."""
    from seedwise import plan, recipes, training
    from seedwise.data.open import open_data
    from seedwise.engine.loop import epoch_steps, make_batch
    from seedwise.engine.step import training_step
    from seedwise.models.build import build_model

    settings = {
        "model.name": options.model,
        "model.weights": "none",
        "train.image_size": options.size,
        "train.batch_size": options.batch,
        "compute.threads": options.threads,
    }
    recipe = plan.resolve(recipes.read("lite", [f"{key}={value}" for key, value in settings.items()]))
    dataset = open_data("digits", recipe.data, **plan.stored_sides(recipe))
    built = build_model(recipe.model, num_classes=CLASSES, seed=0)
    setup = training.prepare(Path(), recipe, 0, dataset, built, num_classes=CLASSES)
    positions = epoch_steps(setup, 0)[0]
    setup.model.train()

    def step() -> Times:
        began = time.perf_counter()
        batch = make_batch(setup, positions, 0)
        read = time.perf_counter()
        training_step(
            setup.model, setup.loss, setup.optimizer, [batch], placement=setup.placement, clip_norm=None
        ).tolist()
        return read - began, time.perf_counter() - read

    return step


def timm_batches(options: argparse.Namespace) -> Iterator[Any]:
    """timm's own loader over the same images, without end."""
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
        transform: Callable[[Image.Image], torch.Tensor]

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


def timm_step(options: argparse.Namespace, bf16: bool, channels_last: bool) -> Callable[[], Times]:
    """One step of timm's model, loader and optimizer on the same images."""
    import timm
    import torch
    from timm.optim._optim_factory import create_optimizer_v2
    from torch.nn.functional import cross_entropy

    from seedwise.models.config import TIMM_NAMES

    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = timm.create_model(TIMM_NAMES[options.model].split(".")[0], num_classes=CLASSES, drop_rate=0.2)
    model = model.to(memory_format=layout).train()
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=1e-3)
    batches = timm_batches(options)

    def step() -> Times:
        began = time.perf_counter()
        images, targets = next(batches)
        images = images.contiguous(memory_format=layout)
        read = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = cross_entropy(model(images), targets, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()
        return read - began, time.perf_counter() - read

    return step


def work(options: argparse.Namespace) -> None:
    """The worker's life: build, then a step a line."""
    if options.worker == "seedwise":
        from seedwise.machine import prepare_process

        prepare_process()
    import torch

    torch.set_num_threads(options.threads)
    if options.worker == "seedwise":
        step = seedwise_step(options)
    else:
        step = timm_step(options, "bf16" in options.worker, "channels_last" in options.worker)
    for _ in sys.stdin:
        print(json.dumps(step()), flush=True)


def compare(options: argparse.Namespace) -> dict[str, object]:
    """Take turns; seconds of every turn by side, and the ratios of timm's best setting to seedwise."""
    sides = {name: Side(name, options) for name in SIDES}
    turns: dict[str, list[Times]] = {name: [] for name in SIDES}
    for turn in range(options.rounds + 1):  # the first warms up
        for name, side in sides.items():
            times = side.step()
            if turn:
                turns[name].append(times)
    for side in sides.values():
        side.process.kill()
    model = {name: [t[1] for t in times] for name, times in turns.items()}
    step = {name: [sum(t) for t in times] for name, times in turns.items()}
    best = min(SIDES[1:], key=lambda name: median(step[name]))
    best_model = min(SIDES[1:], key=lambda name: median(model[name]))
    ours = [t[0] / sum(t) for t in turns["seedwise"]]
    return {
        "model": options.model,
        "size": options.size,
        "batch": options.batch,
        "threads": options.threads,
        "turns": options.rounds,
        "images_per_second": {name: options.batch / median(step[name]) for name in SIDES},
        "best_timm": best,
        "step_ratio": spread([a / b for a, b in zip(step[best], step["seedwise"], strict=True)]),
        "model_ratio": spread([a / b for a, b in zip(model[best_model], model["seedwise"], strict=True)]),
        "augmentation_share": spread(ours),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Minimum, median and maximum."""
    return {"min": min(values), "median": median(values), "max": max(values)}


def main() -> None:
    """Parse, compare, print."""
    from seedwise import machine

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=machine.cores())
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    result = compare(options) | {"machine": machine.facts(), "versions": machine.versions()}
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    facts = machine.facts()
    print(
        f"{options.model}, {options.size} px, batch {options.batch}, {options.threads} threads, {options.rounds} turns"
    )
    print(machine.describe(facts))
    for name, rate in cast("dict[str, float]", result["images_per_second"]).items():
        print(f"  {name:<26}{rate:>8.0f} images/s")
    for key in ("step_ratio", "model_ratio", "augmentation_share"):
        value = cast("dict[str, float]", result[key])
        print(f"{key:<20}{value['median']:.3f} [{value['min']:.3f}, {value['max']:.3f}]")


if __name__ == "__main__":
    main()
