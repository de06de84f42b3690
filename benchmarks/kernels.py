"""What each kernel buys: a training step and an evaluation without it, against those with all kernels, in pairs.

    python benchmarks/kernels.py [--model NAME ...] [--rounds 20] [--only TEXT] [--group 5] [-o benchmarks/kernels.json]

Each contender is a process of its own, with one thread, in which something is switched off: a kernel, a fused block, or
an implementation that the rule may choose. They take turns, one step each, in an order that is drawn anew each round;
the one with everything goes first and last, and a contender's ratio is to the mean of those two. Seconds are the
process's own (CPU time), which a neighbor that takes the cores doesn't lengthen, though one that takes the caches does.
A ratio of 1.10 [1.08, 1.12] says that a step takes a tenth longer without: geometric mean, 95% interval of the paired
t-test. What depends on a kernel (a block on its layers) is off with it.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from interleaved import Side, Work, serve

BATCHES = {"efficientnet_lite0": 128, "efficientnetv2_s": 32}
SIZE = 64
EVERYTHING = "everything"
SEED = 1
Switch = Callable[[], None]


def nothing(*_: object, **__: object) -> int:
    """In the place of a function that swaps layers."""
    return 0


def replaced(module: str, name: str, value: object) -> Switch:
    """Put something else in the place of what a module of the kernels calls by this name."""

    def switch() -> None:
        owner = importlib.import_module(f"seedwise.{module}")
        getattr(owner, name)  # what isn't there can't be off
        setattr(owner, name, value)

    return switch


def without_swap(module: str, function: str) -> Switch:
    """Leave the layers of one kind as they are."""
    return replaced(f"kernels.{module}", function, nothing)


def without_choice(operation: str, *names: str) -> Switch:
    """Let the rule choose among the other implementations of some operations."""

    def switch() -> None:
        from seedwise.kernels import rule

        choose = rule.choose

        def among_others(target: str, place: rule.ShapeKey, names_there: Collection[str]) -> str:
            others = [name for name in names_there if name not in names]
            return choose(target, place, others if place.operation.startswith(operation) and others else names_there)

        replaced("kernels.rule", "choose", among_others)()

    return switch


def folded_by_torch() -> None:
    """What is evaluated is folded, and computed by PyTorch's convolutions."""
    from seedwise.kernels.folding import folded

    replaced("engine.evaluate", "evaluation_copy", folded)()


def without_activation() -> None:
    """A convolution that is evaluated is PyTorch's, and so is the activation behind it."""
    from seedwise.kernels.evaluation import FusedConv

    setattr(FusedConv, "gains", staticmethod(lambda *_: False))  # noqa: B010


OFF: dict[str, Switch] = {
    "depthwise convolution": without_swap("layers.depthwise", "use_fast_depthwise"),
    "BatchNorm with activation": without_swap("layers.batch_norm", "use_fused_norm_act"),
    "squeeze-and-excitation": without_swap("swap", "use_fused_squeeze_excite"),
    "1x1 convolution": without_swap("layers.pointwise", "use_matrix_products"),
    "3x3 convolution (Winograd)": without_swap("layers.conv3x3", "use_winograd"),
    "fused depthwise block": without_swap("swap", "use_fused_depthwise_blocks"),
    "fused block": without_swap("swap", "use_fused_blocks"),
    "deferred launches": replaced("kernels.launch", "deferred_launches", contextlib.nullcontext),
    "1x1: split": without_choice("pointwise", "split"),
    "1x1: product": without_choice("pointwise", "product"),
    "1x1: onednn": without_choice("pointwise", "onednn"),
    "depthwise forward: onednn": without_choice("depthwise forward", "onednn"),
    "depthwise forward: native": without_choice("depthwise forward", "native"),
    "pixels of augmentation": replaced("kernels.ops.pixels", "_has_kernels", lambda _images: False),
}
EVALUATED: dict[str, Switch] = {
    "evaluation: all kernels": folded_by_torch,
    "evaluation: block in one pass": replaced("kernels.evaluation", "_one_pass", lambda *_: None),
    "evaluation: convolution with activation": without_activation,
    "evaluation: squeeze-and-excitation": replaced("kernels.evaluation", "FusedSqueezeExcite", ()),
    "evaluation: 1x1 split": without_choice("folded pointwise", "split"),
    "evaluation: 1x1 product": without_choice("folded pointwise", "product"),
    "evaluation: Winograd": without_choice("folded dense", "winograd"),
    "evaluation: depthwise": without_choice("folded depthwise", "native"),
}
FROZEN: dict[str, Switch] = {
    "frozen stages: block in one pass": without_choice("block", "native"),
    "frozen stages: all kernels": without_swap("swap", "use_fast_frozen_stages"),
}
SETTINGS: dict[str, list[str]] = {
    "all kernels": ["compute.kernels=stock"],
    "all kernels but the fallback's": ["compute.kernels=fallback"],
    "(with model.drop_path=0.1)": ["model.drop_path=0.1"],
}


def kinds() -> dict[str, tuple[str, list[str], dict[str, Switch | None]]]:
    """What is measured: a worker's work, settings that all its contenders have, and the contenders."""
    return {
        "step": ("step", [], {**OFF, **dict.fromkeys(SETTINGS)}),
        "step, model.freeze=4": ("step", ["model.freeze=4"], {**FROZEN}),
        "evaluation": ("evaluate", [], {**EVALUATED}),
    }


def cpu(work: Work) -> Work:
    """The same, answered by the process's own seconds."""

    def run() -> list[float]:
        began = time.process_time()
        work()
        return [time.process_time() - began]

    return run


def serve_contender(options: argparse.Namespace) -> None:
    """The life of a worker: switch one thing off, then step or evaluate whenever asked."""
    switches = {**OFF, **EVALUATED, **FROZEN}
    if options.worker in switches:
        switches[options.worker]()
    options.worker_name, options.worker = options.worker, "seedwise"
    from contenders import works

    made = works(options)
    serve({name: cpu(made[name]) for name in ("step", "evaluate")})


def rounds_of(sides: dict[str, Side], what: str, rounds: int, draw: random.Random) -> dict[str, list[float]]:
    """Seconds with everything (the mean of first and last) and of each contender, round by round; one more warms up."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    others = [name for name in sides if name != EVERYTHING]
    for number in range(rounds + 2):
        order = [EVERYTHING, *draw.sample(others, len(others)), EVERYTHING]
        found: dict[str, list[float]] = {name: [] for name in sides}
        for name in order:
            found[name] += sides[name].ask(what)
        if number >= 2:
            for name, seconds in found.items():
                taken[name].append(sum(seconds) / len(seconds))
    return taken


def measure(model: str, kind: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The ratios of one kind of work for one network."""
    from seedwise.stats.ratio import ratio

    what, settings, contenders = kinds()[kind]
    wanted = [name for name in contenders if options.only in name]
    found = []
    for group in (wanted[i : i + options.group] for i in range(0, len(wanted), options.group)):
        with ExitStack() as stack:

            def side(name: str) -> Side:
                given = [f"--model={model}", f"--batch={BATCHES[model]}", f"--worker={name}"]
                given += [f"--set={text}" for text in (*settings, *SETTINGS.get(name, ()))]
                return stack.enter_context(Side(__file__, given))

            sides = {name: side(name) for name in (EVERYTHING, *group)}
            taken = rounds_of(sides, what, options.rounds, random.Random(SEED))
        for name in group:
            slower = ratio(taken[name], taken[EVERYTHING])
            assert slower.ci95 is not None
            off = name.removeprefix("evaluation: ").removeprefix("frozen stages: ")
            row = {"model": model, "kind": kind, "off": off, "n": slower.n}
            found.append({**row, "ratio": slower.ratio, "ci95": list(slower.ci95)})
            print(f"{model:<20}{kind:<22}{name:<42}{slower.ratio:.3f} [{slower.ci95[0]:.3f}, {slower.ci95[1]:.3f}]",
                  flush=True)  # fmt: skip
    return found


def parser() -> argparse.ArgumentParser:
    """What there is to say."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", action="append", choices=BATCHES)
    made.add_argument("--rounds", type=int, default=20)
    made.add_argument("--only", default="", help="contenders whose name has this in it")
    made.add_argument("--kind", action="append", choices=kinds())
    made.add_argument("--group", type=int, default=5, help="contenders at a time, each of which holds 1 to 2 GB")
    made.add_argument("-o", "--out", type=Path)
    made.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    made.add_argument("--set", action="append", default=[], help=argparse.SUPPRESS)
    made.add_argument("--worker", help=argparse.SUPPRESS)
    made.set_defaults(size=SIZE, threads=1, scored=256)
    return made


def commit() -> str:
    """The commit of this checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Measure, print, write."""
    options = parser().parse_args()
    if options.worker:
        options.model = options.model[0]
        serve_contender(options)
        return
    from seedwise.base import machine
    from seedwise.kernels import launch

    rows = [
        row
        for model in options.model or BATCHES
        for kind in options.kind or kinds()
        for row in measure(model, kind, options)
    ]
    if options.out:
        known = json.loads(options.out.read_text()) if options.out.exists() else {}
        result = {"machine": machine.facts(), "versions": machine.versions(), "target": launch.target(),
                  "rounds": options.rounds, "batches": BATCHES, "size": SIZE, "load": os.getloadavg()[0],
                  "commits": {"all": commit()}, "rows": rows, "gone": known.get("gone", [])}  # fmt: skip
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
