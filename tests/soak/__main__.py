"""Breaks seedwise on purpose, for as long as it takes: `make soak`, or `python tests/soak [PART ...]`.

Parts: kills, writes, mutants, crowd. Every choice follows from --seed; what fails says how to repeat it alone.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "src"), str(HERE)]

import crowd  # noqa: E402
import forks  # noqa: E402
import kills  # noqa: E402
import mutants  # noqa: E402
import reliability  # noqa: E402
import writes  # noqa: E402
from kinds import KINDS  # noqa: E402
from parts import Outcome, Soak  # noqa: E402


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python tests/soak", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all without one")
    parser.add_argument("--seed", type=int, default=0, help="what every random choice follows from")
    parser.add_argument("--kills", type=int, default=100, help="kill -9, over all works")
    parser.add_argument("--faults", type=int, default=2, help="kinds of faults at each way to each write, 1 to 3")
    parser.add_argument("--scenes", default="", help="of the failing disk: a regular expression")
    parser.add_argument("--mutants", type=int, default=1000, help="wrong files of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS), help="of the wrong files")
    parser.add_argument("--crowd", type=int, default=20, help="processes that start at once")
    parser.add_argument("--lanes", type=int, default=2, help="cases side by side")
    parser.add_argument("--only", type=int, help="the case of this number alone")
    parser.add_argument("--write", action="store_true", help="write docs/reliability.md")
    given = parser.parse_args(arguments)
    for name in given.parts:
        if name not in PARTS:
            parser.error(f"there is no part {name}; give {', '.join(PARTS)}")
    return given


PARTS: dict[str, Callable[[Soak, argparse.Namespace], Outcome]] = {
    "kills": lambda session, given: kills.soak(session, given.kills),
    "writes": lambda session, given: writes.soak(session, given.faults, given.scenes),
    "mutants": lambda session, given: mutants.soak(session, given.mutants, tuple(given.kinds.split(","))),
    "crowd": lambda session, given: crowd.soak(session, given.crowd),
}


def repeated(given: argparse.Namespace) -> str:
    """The options that the cases follow from, as they were given."""
    options = {"seed": given.seed, "kills": given.kills, "faults": given.faults, "scenes": given.scenes}
    defaults = {"kills": 100, "faults": 2, "scenes": ""}
    return shlex.join(f"--{name}={value}" for name, value in options.items() if value != defaults.get(name))


def main(arguments: Sequence[str]) -> int:
    """Run the parts, print their tables; 1 if anything failed."""
    given = parse(arguments)
    outcomes = {}
    with ExitStack() as held:
        shim = held.enter_context(forks.shim())
        lanes = [held.enter_context(forks.Forks(shim)) for _ in range(given.lanes)]
        session = Soak(given.seed, lanes, shim, repeated(given), given.only)
        print(f"soak: seed {given.seed}", flush=True)
        for name in given.parts or PARTS:
            began = time.monotonic()
            outcomes[name] = PARTS[name](session, given)
            outcomes[name].seconds = time.monotonic() - began
            print(reliability.table(outcomes[name]), flush=True)
    failures = [failure for outcome in outcomes.values() for failure in outcome.failures]
    print(f"{len(failures)} failures in {sum(each.seconds for each in outcomes.values()) / 60:.0f} min")
    if given.write:
        page = HERE.parents[1] / "docs" / "reliability.md"
        before = page.read_text(encoding="utf-8") if page.exists() else ""
        page.write_text(reliability.page(outcomes, arguments, before), encoding="utf-8")
        print(page)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
