"""Accuracy differences by class and by superclass, corrected for testing all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from seedwise.stats.compare import difference_matrix
from seedwise.stats.family import decide
from seedwise.stats.images import image_difference
from seedwise.stats.paired import paired
from seedwise.stats.student import Interval


@dataclass(frozen=True)
class ClassDifference:
    """Accuracy of the arm minus the base's on the images of one class or superclass, as fractions."""

    name: str
    images: int
    mean: float
    """Over seeds, in [-1, 1]."""
    sd: float
    """Standard deviation over seeds."""
    p_t: float
    """Paired t-test over seeds, for these very images and not corrected. Decides nothing here."""
    p: float
    """Two-sided p with seeds and images random."""
    p_holm: float
    """`p`, corrected for the family by Holm."""
    ci95: Interval
    """95% interval with seeds and images random, of this class alone."""
    ci95_simultaneous: Interval
    """Interval that leaves out 0 if and only if p_holm < alpha."""
    verdict: Literal["better", "worse", "undecided"]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON data: intervals as lists, floats in full precision."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def compare_classes(
    arm: Mapping[int, ArrayLike],
    base: Mapping[int, ArrayLike],
    labels: ArrayLike,
    names: Sequence[str],
    *,
    alpha: float = 0.05,
    superclass_of: Sequence[int] | None = None,
    size: int | None = None,
) -> list[ClassDifference]:
    """Compare two arms with common seeds class by class, as one family, in the order of the classes.

    arm, base: seed -> bool[images], right or not; labels: int[images], the class of each image. With `superclass_of`
    (for each class the index of its superclass) they are by superclass, and `names` are the superclasses'. Classes with
    fewer than two images, and studies with fewer than two common seeds, have no differences. `size`: of the family,
    where the classes of other arms are looked at too: `alpha` bounds some false claim among all.

    The test takes the class's images as random too (`image_difference`). A claim such as "it hurts fish" is about fish,
    and a hundred images of them differ from another hundred by more than seeds do. With seeds alone, what a technique
    does to a few odd images is found in some class far too often (tests/unit/test_stats_classes.py). Holm 1979.
    """
    seeds = [seed for seed in base if seed in arm]
    if len(seeds) < 2:
        return []
    matrix = difference_matrix(arm, base, seeds)
    groups = np.asarray(labels)
    if groups.shape != matrix.shape[1:]:
        raise ValueError(f"{matrix.shape[1]} images need as many labels, not {groups.size}")
    if superclass_of is not None:
        groups = np.asarray(superclass_of)[groups]
    columns = [matrix[:, groups == index] for index in range(len(names))]
    kept = [(name, part, image_difference(part)) for name, part in zip(names, columns, strict=True)]
    present = [(name, part, found) for name, part, found in kept if found is not None]
    decisions = decide([found for _, _, found in present], alpha, None if size is None else max(size, len(present)))
    rows = []
    for (name, part, found), decision in zip(present, decisions, strict=True):
        by_seed = part.mean(axis=1)
        over_seeds = paired(by_seed, np.zeros_like(by_seed))
        assert decision.p_holm is not None and decision.interval is not None  # image differences always have both
        assert over_seeds.sd is not None and over_seeds.p_t is not None
        verdict: Literal["better", "worse", "undecided"] = "undecided"
        if decision.significant:
            verdict = "better" if found.mean > 0 else "worse"
        rows.append(
            ClassDifference(
                name=name,
                images=found.images,
                mean=found.mean,
                sd=over_seeds.sd,
                p_t=over_seeds.p_t,
                p=found.p_decision,
                p_holm=decision.p_holm,
                ci95=found.interval(),
                ci95_simultaneous=decision.interval,
                verdict=verdict,
            )
        )
    return rows
