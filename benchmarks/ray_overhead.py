"""What Ray adds to a trial, and where the driver would become the bottleneck of a large cluster.

    python benchmarks/ray_overhead.py --trials 1000

1. So many trials that do nothing go through the real runner (`seedwise.study.ray_runner.OnRay`) and the real loop over
   a study's trials on a Ray that is started here: seconds per trial, the start of the workers not counted.
2. What the driver does for each real trial is timed: it receives the files of a run that was really trained
   (checked, written, synced), as it does where there is no shared file system.
3. An event simulation of 10,000 trials on 100 nodes, one or eight on each, with these two constants. The driver serves
   one trial at a time, `service` seconds each (hand it over, take its result); `WRITING` of its time goes to
   study.json. A quarter more trials than fit are handed over ahead, so a node goes on while the driver is busy.
   Durations are lognormal around their mean. Utilisation: seconds in which slots train, over slots times the time to
   the last trial's end.
"""

import argparse
import heapq
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from seedwise.base.numerics import NUMERICS_VERSION
from seedwise.config.options import plain
from seedwise.data.open import open_data
from seedwise.engine.control import RunControl
from seedwise.recipe import library
from seedwise.run import resolve
from seedwise.run.train import train
from seedwise.study.execute import WRITING
from seedwise.study.progress import trial_folder
from seedwise.study.ray_runner import Cluster, OnRay
from seedwise.study.record import BASE, StudyRecord
from seedwise.study.remote_trial import receive
from seedwise.study.results import Results
from seedwise.study.schedule import Budget, run_all
from seedwise.study.trial import Task

MEAN_SECONDS = (10, 30, 60, 300, 3600)
SPREAD = 0.2
"""Standard deviation of the logarithm of a trial's duration."""


def nothing(task: Task, control: RunControl) -> None:
    """A trial that does nothing."""


def small_study(trials: int) -> StudyRecord:
    settings = ["model.name=small", "train.epochs=1", "train.image_size=16", "data.limit=60", "compute.threads=1"]
    recipe = resolve.resolve(library.read("demo", [*settings, "compute.kernels=stock"]))
    study = StudyRecord(
        data="digits", data_dir=None, master_seed=0, seeds=list(range(trials)), arms={BASE: plain(recipe)}
    )
    fingerprint = open_data("digits", recipe.data, **resolve.storage_resolution(recipe)).fingerprint
    return study.model_copy(update={"fingerprints": {BASE: fingerprint}, "numerics_version": NUMERICS_VERSION})


def run_trials(folder: Path, study: StudyRecord, address: str, seeds: range) -> float:
    """Seconds for these trials, through the runner."""
    recipe = study.recipe(BASE)
    tasks = {seed: [Task(BASE, seed, folder / trial_folder(BASE, seed), recipe, "digits", None)] for seed in seeds}
    runner = OnRay(RunControl(), Cluster(address, cpus=1), study, folder, len(seeds), run=nothing)
    runner.close = lambda: None  # type: ignore[method-assign]  # the workers stay warm for the next
    began = time.perf_counter()
    report = run_all(tasks, runner, Budget(None), on_start=lambda task: None, on_end=lambda task: None)
    assert not report.failures, report.failures[0]
    return time.perf_counter() - began


def measure_receiving(folder: Path, study: StudyRecord, repeats: int) -> tuple[float, int]:
    """Median seconds to receive a run, and its bytes."""
    run = train(study.recipe(BASE), "digits", seed=0, out=folder / "trained")
    files = {path.name: path.read_bytes() for path in run.folder.iterdir() if not path.name.startswith(".")}
    times = []
    for number in range(repeats):
        began = time.perf_counter()
        receive(folder / f"received-{number}", files)
        times.append(time.perf_counter() - began)
    return statistics.median(times), sum(map(len, files.values()))


def simulate(trials: int, slots: int, mean_seconds: float, service: float, generator: random.Random) -> float:
    """Utilisation of the slots."""
    handed_over = slots + -(-slots // 4)
    service /= 1 - WRITING
    durations = [mean_seconds * generator.lognormvariate(-(SPREAD**2) / 2, SPREAD) for _ in range(trials)]
    free = [0.0] * slots  # when each slot has nothing to do
    ends: list[float] = []  # of trials whose result the driver has not taken yet
    driver = last = 0.0
    for number, duration in enumerate(durations):
        if number >= handed_over:
            driver = max(driver, heapq.heappop(ends))  # a result to take, before the next trial is handed over
        driver += service
        begin = max(heapq.heappop(free), driver)
        heapq.heappush(free, begin + duration)
        heapq.heappush(ends, begin + duration)
        last = max(last, begin + duration)
    return sum(durations) / (slots * last)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--address", default="auto", help="of a running cluster; by default one is started here")
    parser.add_argument("--services", type=float, nargs=2, help="simulate with these seconds instead of measuring")
    options = parser.parse_args()
    services = dict(zip(("shared folder", "own disks"), options.services or (), strict=False))
    if not services:
        with tempfile.TemporaryDirectory() as place:
            folder, warm_up = Path(place), 8
            study = Results(folder).refresh(small_study(options.trials + warm_up))
            run_trials(folder, study, options.address, range(options.trials, options.trials + warm_up))
            each = run_trials(folder, study, options.address, range(options.trials)) / options.trials
            receiving, size = measure_receiving(folder, study, 50)
        services = {"shared folder": each, "own disks": each + receiving}
        print(json.dumps({"trials": options.trials, "seconds_per_trial": each, "seconds_to_receive": receiving}))
        print(f"a run's files: {size / 1e6:.1f} MB")
    for name, service in services.items():
        print(f"{name}: the driver needs {1e3 * service:.0f} ms a trial")
        for slots in (100, 800):
            used = (f"{t} s {simulate(10_000, slots, t, service, random.Random(0)):.1%}" for t in MEAN_SECONDS)
            limit = slots * service / (1 - WRITING)
            print(f"  {slots} slots: {', '.join(used)}; the driver is the bottleneck below {limit:.0f} s a trial")


if __name__ == "__main__":
    main()
