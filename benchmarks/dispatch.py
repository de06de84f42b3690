"""The rule that says which implementation computes what: measured, written, and compared with the stopwatch.

    python benchmarks/dispatch.py measure --target avx512 --threads 1 [--only TEXT] -o FILE
    python benchmarks/dispatch.py write [FILE...]
    python benchmarks/dispatch.py check
    python benchmarks/dispatch.py compare [--model NAME] [--size 64] [--batch 128] [--threads N] [--rounds 15]

`measure`: every choice of a training step and of an evaluation of `NETWORKS`, all candidates in turns, the shortest
time of each; FILE gets a JSON line a case. Times are the processor's, in which neighbors don't count. Another target
than this machine's also holds PyTorch's libraries to its instructions. `write`: what the files hold goes into
benchmarks/dispatch.csv, and that becomes src/seedwise/kernels/rule.csv. `check`: how much longer than the fastest the
rule's choices took when they were measured. `compare`: steps and evaluations by the rule and by the stopwatch in one
process, by turns; ratios are taken turn by turn.
"""

import argparse
import csv
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import mean, quantiles
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from seedwise.kernels.dispatch import Candidates, Case
    from seedwise.kernels.rule import RuleRow, ShapeKey

Seconds = Mapping[str, float]
RAW = Path(__file__).with_name("dispatch.csv")
"""What was measured, in microseconds of processor time."""
CLOSE = 0.08
"""Implementations whose times differ by less are as good as each other."""
LITE, V2 = "efficientnet_lite0", "efficientnetv2_s"
NETWORKS = (
    (LITE, 64, 128, "fp32"),
    (V2, 64, 64, "fp32"),
    (LITE, 128, 16, "fp32"),
    (LITE, 88, 32, "fp32"),
    (LITE, 64, 16, "fp32"),
    (LITE, 64, 64, "fp32"),
    (V2, 64, 16, "fp32"),
    ("efficientnet_lite2", 64, 32, "fp32"),
    (LITE, 224, 1, "fp32"),
    (LITE, 64, 64, "bf16"),
    (LITE, 128, 64, "fp32"),
    (V2, 128, 8, "fp32"),
    (V2, 224, 1, "fp32"),
    (LITE, 32, 64, "fp32"),
    ("efficientnet_lite1", 128, 16, "fp32"),
    (LITE, 64, 1, "fp32"),
    (V2, 64, 16, "bf16"),
    (V2, 64, 1, "fp32"),
    (LITE, 224, 16, "fp32"),
    ("timm:mobilenetv3_large_100", 64, 32, "fp32"),
    ("timm:resnet18", 64, 32, "fp32"),
)
"""Model, side in pixels, images and precision, the most wanted first. One image is scored only."""
LIMITS = {"avx512": ("", ""), "avx2": ("AVX2", "avx2"), "generic": ("SSE41", "default")}
"""By target, how oneDNN and MKL, and torch, are told to use no more."""
ROUNDS, TURNS_SECONDS = (3, 15), 0.1
HOPELESS = 3.0


def timed(candidates: "Candidates", images: int) -> dict[str, float]:
    """The shortest seconds of each candidate, in turns; of those far behind, estimated from a part of the images."""
    from seedwise.kernels.dispatch import shortest

    part = max(1, images // 8)
    for run in candidates.values():
        run(part)
    first = shortest(candidates, part, 3, time.process_time)
    near = {name: run for name, run in candidates.items() if first[name] <= HOPELESS * min(first.values())}
    turn = sum(shortest(near, images, 1, time.process_time).values())
    rounds = int(min(max(TURNS_SECONDS / turn, ROUNDS[0]), ROUNDS[1]))
    found = shortest(near, images, rounds, time.process_time)
    slowest = max(found.values())
    return {name: found.get(name, max(seconds * images / part, slowest)) for name, seconds in first.items()}


def surroundings(target: str) -> dict[str, str]:
    """What holds seedwise and PyTorch to the instructions of a class of processors."""
    limit, torchs = LIMITS[target]
    found = {"SEEDWISE_TARGET": target}
    if limit:
        found |= {"ONEDNN_MAX_CPU_ISA": limit, "MKL_ENABLE_INSTRUCTIONS": limit.replace("SSE41", "SSE4_2")}
        found["ATEN_CPU_CAPABILITY"] = torchs
    return found


def measure(options: argparse.Namespace) -> None:
    """Append a line a case to the file."""
    os.environ |= surroundings(options.target)
    from seedwise.base import machine

    machine.prepare_process()
    import torch

    from seedwise.kernels import dispatch, swap

    class Noted(dispatch.Autotuner):
        def measured(self, case: "Case", candidates: "Candidates", images: int) -> Mapping[str, float]:
            seconds = timed(candidates, images)
            line = {"target": options.target, "key": case.key, "place": case.place, "seconds": seconds, "of": network}
            with options.out.open("a") as file:
                file.write(json.dumps(line) + "\n")
            self.counts[dispatch.fastest(seconds)] = self.counts.get(dispatch.fastest(seconds), 0) + 1
            return seconds

        counts: dict[str, int] = {}

    vars(swap)["Autotuner"] = Noted
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    done = options.out.read_text() if options.out.exists() else ""
    for network in NETWORKS:
        name = " ".join(map(str, network))
        if options.only not in name or f'"done": "{name}"' in done:
            continue
        began = time.perf_counter()
        Noted.counts = {}
        step, evaluate, _ = works(network, "tuned")
        if network[2] > 1:
            step()
        evaluate()
        with options.out.open("a") as file:
            file.write(json.dumps({"done": name}) + "\n")
        print(network, f"{time.perf_counter() - began:.0f} s", Noted.counts, flush=True)


def works(
    network: tuple[str, int, int, str], kernels: Any
) -> tuple[Callable[[], object], Callable[[], object], Callable[[], dict[str, str]]]:
    """A training step without its optimizer, and an evaluation, of a network on noise; and what chose for them."""
    import torch

    from seedwise.kernels.evaluation import evaluation_copy
    from seedwise.kernels.swap import accelerate, chosen
    from seedwise.models.build import build_model
    from seedwise.models.config import ModelConfig

    name, size, batch, precision = network
    config = ModelConfig(name=name, weights="none", dropout=0.0)
    model: nn.Module = build_model(config, num_classes=100, seed=0).module.to(memory_format=torch.channels_last)
    accelerate(model, kernels, {})
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)

    copies: list[nn.Module] = []

    def step() -> None:
        model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = torch.nn.functional.cross_entropy(model(images), torch.arange(batch) % 100)
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]

    def evaluate() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            if not copies:
                copies.append(evaluation_copy(model.eval(), images))
            copies[0](images)

    return step, evaluate, lambda: chosen(model)


def write(options: argparse.Namespace) -> None:
    """The measurements become the table; what was measured before and is not in the files stays."""
    from seedwise.kernels import rule

    known = {(target, place): seconds for target, place, seconds in read(RAW)} if RAW.exists() else {}
    for path in options.files:
        for line in map(json.loads, path.read_text().splitlines()):
            if "key" in line:
                known[line["target"], rule.ShapeKey(*line["place"])] = line["seconds"]
    save(known)
    rows = [row for group in grouped(known) for row in condensed(*group)]
    with rule.TABLE.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("target", *rule.ShapeKey._fields, "names"))
        out.writerows((row.target, *row.place, " ".join(row.names)) for row in rows)
    print(f"{len(known)} shapes measured, {len(rows)} rows")
    check(options)


def read(path: Path) -> Iterator[tuple[str, "ShapeKey", Seconds]]:
    """What was measured: target, shape, seconds of each candidate."""
    from seedwise.kernels import rule

    with path.open(newline="", encoding="utf-8") as file:
        for target, operation, dtype, *numbers, taken in list(csv.reader(file))[1:]:
            seconds = {name: float(us) / 1e6 for name, us in (text.split(":") for text in taken.split())}
            yield target, rule.ShapeKey(operation, dtype, *map(int, numbers)), seconds


def save(known: Mapping[tuple[str, "ShapeKey"], Seconds]) -> None:
    """Write what `read` reads."""
    from seedwise.kernels import rule

    with RAW.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("target", *rule.ShapeKey._fields, "microseconds"))
        for (target, place), seconds in sorted(known.items()):
            taken = " ".join(f"{name}:{float(f'{1e6 * took:.3g}'):.9g}" for name, took in sorted(seconds.items()))
            out.writerow((target, *place, taken))


def grouped(known: Mapping[tuple[str, "ShapeKey"], Seconds]) -> list[tuple[str, dict["ShapeKey", Seconds]]]:
    """By target, operation, type and threads."""
    groups: dict[tuple[Any, ...], dict[ShapeKey, Seconds]] = {}
    for (target, place), seconds in sorted(known.items()):
        groups.setdefault((target, *place[:3]), {})[place] = seconds
    return [(target, points) for (target, *_), points in sorted(groups.items())]


def condensed(target: str, points: dict["ShapeKey", Seconds]) -> list["RuleRow"]:
    """The rows of a group: classes, but for those whose shapes another row serves as well."""
    from seedwise.kernels import rule

    classes: dict[ShapeKey, list[Seconds]] = {}
    for place, seconds in points.items():
        classes.setdefault(place.of_class, []).append(seconds)
    rows = [rule.RuleRow(target, place, order(place.operation, found)) for place, found in classes.items()]
    by_distance = {place: sorted(rows, key=lambda row: rule.distance(row.place, place)) for place in points}
    kept = set(rows)

    def regrets() -> list[float]:
        chosen = {place: next(row for row in near if row in kept) for place, near in by_distance.items()}
        return [points[place][row.first(points[place])] / min(points[place].values()) for place, row in chosen.items()]

    limits = [max(1 + CLOSE, regret) for regret in regrets()]
    for row in rows:
        kept.discard(row)
        if not kept or any(regret > limit for regret, limit in zip(regrets(), limits, strict=True)):
            kept.add(row)
    return [row for row in rows if row in kept]


def order(operation: str, found: list[Seconds]) -> tuple[str, ...]:
    """Names, the fastest first; of those that are close, in the order of the rule's `OPERATIONS`."""
    from seedwise.kernels.rule import OPERATIONS

    costs = {
        name: mean(each[name] / min(each.values()) for each in found if name in each)
        for name in OPERATIONS[operation]
        if any(name in each for each in found)
    }
    limit = (1 + CLOSE) * min(costs.values())
    near = [name for name, cost in costs.items() if cost <= limit]
    return *near, *(name for name in sorted(costs, key=lambda name: costs[name]) if name not in near)


def check(_options: argparse.Namespace) -> None:
    """Print how much longer than the fastest the rule's choices take, by target and operation."""
    from seedwise.kernels import rule

    totals: dict[tuple[str, str], list[float]] = {}
    for target, place, seconds in read(RAW):
        name = rule.choose(target, place, seconds)
        threads = f"t{place.threads}"
        for key in ((target, f"{place.operation} {threads}"), (target, f"all {threads}")):
            total = totals.setdefault(key, [0.0, 0.0, 0.0, 0])
            best = min(seconds.values())
            total[:] = total[0] + seconds[name], total[1] + best, max(total[2], seconds[name] / best), total[3] + 1
    for (target, operation), (ours, best, worst, count) in sorted(totals.items()):
        print(f"{target:<8}{operation:<30}{count:>5} shapes: {ours / best:.3f} of the fastest; the worst {worst:.2f}")


def compare(options: argparse.Namespace) -> None:
    """Steps and evaluations by the rule and by the stopwatch, in turns in this process."""
    os.environ |= surroundings(options.target)
    from seedwise.base import machine

    machine.prepare_process()
    import torch

    from seedwise.kernels import dispatch, swap

    class Stopwatch(dispatch.Autotuner):
        def measured(self, case: "Case", candidates: "Candidates", images: int) -> Mapping[str, float]:
            return timed(candidates, images)

    vars(swap)["Autotuner"] = Stopwatch
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = options.model, options.size, options.batch, "fp32"
    made = [works(network, kernels) for kernels in ("native", "tuned")]
    for number, what in enumerate(("step", "evaluation")):
        sides = [pair[number] for pair in made]
        for side in sides * 2:
            side()
        turns = [[taken(side) for side in sides] for _ in range(options.rounds)]
        for clock, name in enumerate(("processor", "wall")):
            low, middle, high = quantiles([ours[clock] / theirs[clock] for ours, theirs in turns], n=4)
            best = [1e3 * min(pair[side][clock] for pair in turns) for side in range(2)]
            print(
                f"{network} {options.threads} threads, {what}, {name} time: rule / stopwatch {middle:.3f} "
                f"[{low:.3f}, {high:.3f}], shortest {best[0]:.1f} and {best[1]:.1f} ms, n={options.rounds}",
                flush=True,
            )
    rule, tuned = (pair[2]() for pair in made)
    print(f"{sum(rule[key] != tuned.get(key) for key in rule)} of {len(rule)} choices differ")


def taken(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds of one run, of the processor and by the clock."""
    began = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - began[0], time.perf_counter() - began[1]


def main() -> None:
    """Parse, and do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    made = commands.add_parser("measure")
    made.add_argument("--target", dispatcher=LIMITS, required=True)
    made.add_argument("--threads", type=int, required=True)
    made.add_argument("--only", default="")
    made.add_argument("-o", "--out", type=Path, required=True)
    made.set_defaults(run=measure)
    made = commands.add_parser("write")
    made.add_argument("files", type=Path, nargs="*")
    made.set_defaults(run=write)
    commands.add_parser("check").set_defaults(run=check)
    made = commands.add_parser("compare")
    made.add_argument("--target", dispatcher=LIMITS, default="avx512")
    made.add_argument("--model", default=LITE)
    made.add_argument("--size", type=int, default=64)
    made.add_argument("--batch", type=int, default=128)
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--rounds", type=int, default=15)
    made.set_defaults(run=compare)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
