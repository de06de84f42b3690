"""Training step, evaluation and memory of seedwise against timm: pairs in one run, each side in its own process.

    python benchmarks/step.py [--model NAME] [--size 64] [--batch 128] [--rounds 8] [--threads N] [--compiled] [-o FILE]

timm is measured as its users have it (its model, loader with `num_workers=0`, and AdamW) in fp32, fp32 + channels_last
and bf16 autocast + channels_last, and with --compiled all of these under torch.compile too. The sides take turns, one
step each, so that a busy neighbor meets all alike; ratios are taken turn by turn. `model` is forward, backward and
optimizer alone; `step` also reads and augments the batch: crop, flip and bicubic resize from 32 px. Every side
trains on the same number of images a step. A side five times as slow as the fastest gets one turn.
"""

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, cast

from contenders import COMPILED, PARTS, SIDES, TIMM, works
from interleaved import Side, alternate, ratios, serve, spread


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Steps and evaluation in turns, and each side's peak memory after the steps."""
    names = [
        name for name in ("seedwise", *TIMM, *(COMPILED if options.compiled else ())) if name not in options.without
    ]
    given = [f"--{flag}={getattr(options, flag)}" for flag in ("model", "size", "batch", "threads", "scored")]
    given += [f"--set={text}" for text in options.set]
    with ExitStack() as stack:
        sides = {name: stack.enter_context(Side(__file__, ["--worker", name, *given])) for name in names}
        turns = alternate(sides, "step", options.rounds)
        memory = {name: side.ask("memory") for name, side in sides.items()}
        scoring = alternate(sides, "evaluate", options.evaluations) if options.evaluations else {}
    model = {name: [sum(t[1:]) for t in times] for name, times in turns.items()}
    step = {name: [sum(t) for t in times] for name, times in turns.items()}
    best = min(names[1:], key=lambda name: median(step[name]))
    best_model = min(names[1:], key=lambda name: median(model[name]))
    result: dict[str, Any] = {
        **{key: getattr(options, key) for key in ("model", "size", "batch", "threads", "rounds")},
        "images_per_second": {name: options.batch / median(times) for name, times in step.items()},
        "best_timm": best,
        "step_ratio": ratios(step[best], step["seedwise"]),
        "model_ratio": ratios(model[best_model], model["seedwise"]),
        "augmentation_share": spread([t[0] / sum(t) for t in turns["seedwise"]]),
        "augmentation_share of timm's best step": ratios([t[0] for t in turns["seedwise"]], step[best]),
        "part_seconds": {
            name: {part: median(t[i] for t in times) for i, part in enumerate(PARTS)} for name, times in turns.items()
        },
        "peak_bytes": memory,
    }
    if scoring:
        took = {name: [t[0] for t in times] for name, times in scoring.items()}
        result |= {"scored": options.scored, "evaluations": options.evaluations}
        result["evaluated_per_second"] = {name: options.scored / median(times) for name, times in took.items()}
        result |= {f"evaluation_ratio to {name}": ratios(took[name], took["seedwise"]) for name in names[1:]}
    return result


def show(result: dict[str, Any]) -> None:
    """The comparison as a table and lines of ratios."""
    print(f"{result['model']}, {result['size']} px, batch {result['batch']}, {result['threads']} threads, ", end="")
    print(f"{result['rounds']} turns")
    for name, rate in result["images_per_second"].items():
        scored = result.get("evaluated_per_second", {}).get(name)
        more = "" if scored is None else f"{scored:>8.0f} evaluated"
        print(f"  {name:<34}{rate:>7.0f} images/s{more}{result['peak_bytes'][name] / 1e6:>8.0f} MB")
    print(f"  {'milliseconds of':<34}" + "".join(f"{part:>11}" for part in PARTS))
    for name in ("seedwise", result["best_timm"]):
        print(f"  {name:<34}" + "".join(f"{1000 * took:>11.1f}" for took in result["part_seconds"][name].values()))
    for key, value in result.items():
        if "ratio" in key or "share" in key:
            print(f"{key:<48}{value['median']:.3f} [{value['min']:.3f}, {value['max']:.3f}]")


def parser() -> argparse.ArgumentParser:
    """Options of one comparison."""
    from seedwise.base import machine

    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", default="efficientnet_lite0")
    made.add_argument("--size", type=int, default=64)
    made.add_argument("--batch", type=int, default=128)
    made.add_argument("--rounds", type=int, default=8)
    made.add_argument("--evaluations", type=int, default=2, help="turns of evaluation; 0: none")
    made.add_argument("--scored", type=int, default=256, help="images that a turn of evaluation scores")
    made.add_argument("--threads", type=int, default=machine.cores())
    made.add_argument("--compiled", action="store_true", help="also timm under torch.compile (minutes of compiling)")
    made.add_argument("--set", action="append", default=[], help="an option of seedwise's recipe, KEY=VALUE")
    made.add_argument("--without", action="append", default=[], choices=SIDES[1:], help="a side to leave out")
    made.add_argument("-o", "--out", type=Path)
    made.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    return made


def main() -> None:
    """Parse, compare, print."""
    from seedwise.base import machine

    options = parser().parse_args()
    if options.worker:
        serve(works(options))
        return
    result = compare(options) | {"machine": machine.facts(), "versions": machine.versions()}
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(machine.describe(cast("dict[str, Any]", result["machine"])))
    show(result)


if __name__ == "__main__":
    main()
