"""A training step with the first stages frozen against the same step without: pairs in one run.

    python benchmarks/freezing.py [--model NAME] [--freeze 4] [--size 64] [--batch 128] [--rounds 8] [--threads 1 2]

Both sides train in processes of their own and take turns, one step each, so that a busy neighbor meets both alike;
ratios are taken turn by turn. A step reads and augments its batch too, as in a run.
"""

import argparse
from statistics import median

from contenders import works
from interleaved import Side, alternate, ratios, serve


def compare(options: argparse.Namespace, threads: int) -> None:
    """One line a number of threads."""
    given = [f"--{flag}={getattr(options, flag)}" for flag in ("model", "size", "batch")]
    stages = {"whole": 0, "frozen": options.freeze}
    sides = {
        name: Side(__file__, ["--worker", "seedwise", *given, "--threads", threads, f"--set=model.freeze={count}"])
        for name, count in stages.items()
    }
    turns = alternate(sides, "step", options.rounds)
    for side in sides.values():
        side.end()
    step = {name: [sum(times) for times in turns[name]] for name in sides}
    ratio = ratios(step["whole"], step["frozen"])
    rates = ", ".join(f"{name} {options.batch / median(times):.0f}" for name, times in step.items())
    print(f"{threads} threads: images/s {rates}; a frozen step is ", end="")
    print(f"{ratio['median']:.2f} [{ratio['min']:.2f}, {ratio['max']:.2f}] times as fast", flush=True)


def main() -> None:
    """Parse, compare, print."""
    from seedwise.base import machine

    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", default="efficientnet_lite0")
    made.add_argument("--freeze", type=int, default=4, help="stages; Lite0 has 8")
    made.add_argument("--size", type=int, default=64)
    made.add_argument("--batch", type=int, default=128)
    made.add_argument("--rounds", type=int, default=8)
    made.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    made.add_argument("--set", action="append", default=[], help=argparse.SUPPRESS)
    made.add_argument("--scored", type=int, default=256, help=argparse.SUPPRESS)
    made.add_argument("--worker", help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.worker:
        (options.threads,) = options.threads
        serve(works(options))
        return
    print(machine.describe(machine.facts()))
    print(f"{options.model}, {options.freeze} stages frozen, {options.size} px, batch {options.batch}")
    for threads in options.threads:
        compare(options, threads)


if __name__ == "__main__":
    main()
