"""A family of arms to which seeds are added one by one: when each is decided, and what is frozen then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from seedwise.stats.difference import Difference
from seedwise.stats.family import Decision, agreeing, holm
from seedwise.stats.paired import paired
from seedwise.stats.sequential import Spending
from seedwise.stats.student import Interval

Pairs = tuple[Sequence[float], Sequence[float]]
"""Outcomes of an arm and of its base with the same seeds, in the order in which these were planned."""


@dataclass
class ArmPath:
    """An arm's seeds so far: what they show at each number of them, and where it ends."""

    differences: list[Difference]
    """Over the first 1, 2, … seeds."""
    p_t: list[float | None]
    """Two-sided p of no difference at each, not corrected for anything."""
    p: list[float | None]
    """The same, corrected for looking after every seed (`Spending.p`)."""
    p_equivalence: list[float | None]
    """Corrected p of the two one-sided tests."""
    boundary: list[float]
    """What p_t must be below, for all arms at once, at each number of seeds: 0 where nothing can be decided yet."""
    n: int = 0
    """Seeds that count: all, or those at which it was decided."""
    decided: bool = False
    decision: Decision = field(default_factory=lambda: Decision(None, False, None))
    p_equivalence_holm: float | None = None

    @property
    def difference(self) -> Difference:
        """That over the seeds that count."""
        return self.differences[self.n - 1]


def follow(
    pairs: Mapping[str, Pairs],
    spending: Spending,
    *,
    margin: float,
    alpha: float = 0.05,
    size: int | None = None,
    grain: float = 0.0,
    bounds: Interval,
) -> dict[str, ArmPath]:
    """Replay a study seed by seed: an arm is decided at the first seed at which Holm's p of a difference, or of none
    that reaches the margin, is below alpha.

    What is decided stays as it was then, whatever other seeds say; seeds that ended together or out of order are
    counted in the order planned, so when they ended changes nothing. `size`: arms of the family, if some are still to
    come; `grain` and `bounds` as in `Difference`. Holm's test of p values that hold whenever one stops holds whenever
    one stops (Maurer & Bretz 2013, Stat. Biopharm. Res. 5, 311-320).
    """
    count = max(size or 0, len(pairs), 1)
    paths = {
        arm: _path(ours, theirs, spending, margin, alpha / count, grain, bounds)
        for arm, (ours, theirs) in pairs.items()
    }
    for n in range(1, max((len(path.differences) for path in paths.values()), default=0) + 1):
        for path in paths.values():
            if not path.decided:
                path.n = min(n, len(path.differences))
        _settle(paths, count, alpha)
    for path in paths.values():
        path.decision = _decision(path, alpha)
    return paths


def _path(
    ours: Sequence[float],
    theirs: Sequence[float],
    spending: Spending,
    margin: float,
    level: float,
    grain: float,
    bounds: Interval,
) -> ArmPath:
    found = [
        replace(paired(ours[:n], theirs[:n]), grain=grain, bounds=bounds, kind="paired" if n > 1 else "single")
        for n in range(1, len(ours) + 1)
    ]
    p_t = [each.p_decision for each in found]
    sides = [[each.p_beyond(bound) for each in found] for bound in (margin, -margin)]
    # Each side has half of a two-sided level; Holm asks for the larger of the two, as `tost` does.
    one_sided = [spending.p([None if p is None else min(1.0, 2 * p) for p in side]) for side in sides]
    equivalence: list[float | None] = [
        None if a is None or b is None else 1.0 if margin < grain else max(a, b) / 2
        for a, b in zip(*one_sided, strict=True)
    ]
    boundary = [spending.boundary(level, n) for n in range(1, len(found) + 1)]
    return ArmPath(found, p_t, spending.p(p_t), equivalence, boundary)


def _settle(paths: Mapping[str, ArmPath], count: int, alpha: float) -> None:
    """Decide what can be decided at the seeds that count now."""
    unseen: list[float | None] = [None] * (count - len(paths))
    differs = holm([*(path.p[path.n - 1] for path in paths.values()), *unseen])
    equal = holm([*(path.p_equivalence[path.n - 1] for path in paths.values()), *unseen])
    for path, p, q in zip(paths.values(), differs, equal, strict=False):
        path.decision, path.p_equivalence_holm = Decision(p, p is not None and p < alpha, None), q
        path.decided = path.decided or path.decision.significant or (q is not None and q < alpha)


def _decision(path: ArmPath, alpha: float) -> Decision:
    """The decision with its interval, which holds for all arms and all numbers of seeds at once: Student's, as wide as
    the boundary asks; it leaves out 0 if and only if a difference was found."""
    q, difference, p = path.boundary[path.n - 1], path.difference, path.decision.p_holm
    if not q or difference.se is None or p is None:
        return path.decision
    interval = difference.interval(1 - q)
    return Decision(p, p < alpha, None if interval is None else agreeing(interval, difference.mean, p < alpha))
