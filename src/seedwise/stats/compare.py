"""A family of arms against their base: every number of a comparison in `study.json`, and the verdict."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from seedwise.stats.bootstrap import bootstrap
from seedwise.stats.difference import Difference, Kind
from seedwise.stats.equivalence import tost
from seedwise.stats.family import Decision, decide, holm
from seedwise.stats.images import ImageDifference, image_difference
from seedwise.stats.looks import spent
from seedwise.stats.mcnemar import McNemar, mcnemar
from seedwise.stats.paired import EXACT_UP_TO, paired, sign_flip
from seedwise.stats.power import seeds_to_decide
from seedwise.stats.student import ANYWHERE, Interval
from seedwise.stats.verdict import Scale, Verdict, judge, sentence
from seedwise.stats.welch import welch

Outcomes = Mapping[str, Mapping[int, float]]
"""Arm -> seed -> outcome: a fraction for accuracies."""
FEWEST_PAIRS = 3
"""Pairs from which some runs without a partner are left out rather than compare all as two groups."""
Correct = Mapping[str, Mapping[int, ArrayLike]]
"""Arm -> seed -> bool[images]: right or not, in the same order of images everywhere."""


@dataclass(frozen=True)
class Comparison:
    """One arm minus its base on one split, in the outcome's unit (fractions for accuracies); None: not computable."""

    kind: Kind
    """paired (by seed), welch (seeds don't match) or single (one value on a side)."""
    seeds: list[int]
    """The seeds of the pairs; for the other kinds the arm's."""
    n: int
    """Pairs; for the other kinds the smaller number of seeds."""
    unused: int
    """Runs of both sides without a partner, which paired and single ones leave out."""
    mean: float
    sd: float | None
    ci95: Interval | None
    """t-interval of this comparison alone; None where all seeds show the same difference and the number of images is
    not known, so that there is no noise."""
    p_t: float | None
    """Two-sided p of the t-test, not corrected."""
    p_holm: float | None
    """Holm's p, corrected for the family; significant below `alpha`."""
    alpha: float
    """Significance level of this look at the study (`spent`)."""
    p_signflip: float | None
    """Two-sided p of the sign-flip test."""
    signflip_floor: float | None
    """The smallest p_signflip that so many pairs can reach."""
    signflip_exact: bool
    """False where p_signflip is the normal approximation (above 36 pairs)."""
    ci95_simultaneous: Interval | None
    """Interval for all arms at once and over all looks; leaves out 0 if and only if p_holm < alpha."""
    ci95_images: Interval | None
    """95% interval of this comparison alone, with the test images random as well."""
    se_seeds: float | None
    se_images: float | None
    """With `se_seeds` the two parts of the standard error behind ci95_images."""
    ci95_bootstrap: Interval | None
    """BCa interval, from 20 pairs."""
    effect_size: float | None
    """Mean in units of the SD (`Difference.effect_size`)."""
    p_equivalence: float | None
    p_equivalence_holm: float | None
    """p of the two one-sided tests against ±margin (`tost`), alone and corrected for the family."""
    seeds_to_decide: int | None
    """About how many seeds in all would decide it; only for `undecided`."""
    p_mcnemar: float | None
    ci95_mcnemar: Interval | None
    """McNemar's exact p and interval for two single runs."""
    verdict: Verdict
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON data: intervals as lists, floats in full precision."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def compare_arms(
    outcomes: Outcomes,
    base: str,
    *,
    margin: float,
    alpha: float = 0.05,
    look: int | None = None,
    correct: Correct | None = None,
    better: int = 1,
    scale: Scale | None = None,
    size: int | None = None,
    bounds: Interval = ANYWHERE,
) -> dict[str, Comparison]:
    """Compare every arm but `base` with it, as one family, in the order of `outcomes`.

    margin: the least difference that matters, in the outcome's own units (0.005 is half a point). look: 1 for the first
    look at a study that may get more seeds, 2 for the second, …, which spends alpha/2ᵏ; None for one look ever, with
    all of alpha. correct: gives ci95_images and McNemar's test where both sides have it; only where the outcome is
    top-1. better: -1 for a loss. scale: how the sentences print it (fractions as points, by default). size: of the
    family, if arms are still to come; arms without outcomes are left out of the answer but belong to it. bounds: range
    of the outcome, which no interval of a difference exceeds. A ValueError for a base without outcomes, and for values
    that aren't finite.
    """
    if not outcomes.get(base):
        raise ValueError(f"the base {base!r} has no outcomes")
    arms = [arm for arm in outcomes if arm != base and outcomes[arm]]
    count = max(size or 0, len(outcomes) - 1)
    level = spent(look, alpha)
    pairs = {arm: _matched(outcomes[arm], outcomes[base]) for arm in arms}
    widest = bounds[1] - bounds[0]
    grain = _grain(correct or {})
    differences = [
        replace(_difference(outcomes[arm], outcomes[base], pairs[arm]), bounds=(-widest, widest), grain=grain)
        for arm in arms
    ]
    decisions = decide(differences, level, count) if arms else []
    equivalences = [tost(difference, margin) for difference in differences]
    equivalences_holm = holm([*equivalences, *[None] * (count - len(arms))])
    next_level = spent(None if look is None else look + 1, alpha) / max(count, 1)
    found = {}
    for arm, difference, decision, p, p_holm in zip(arms, differences, decisions, equivalences, equivalences_holm):
        significant, interval = decision.significant, decision.interval
        verdict = judge(difference.mean, significant, interval, p_holm is not None and p_holm < level, margin, better)
        more = _more(difference, margin, next_level) if verdict == "undecided" else None
        words = sentence(verdict, difference.mean, interval, difference.n, more, margin, scale or Scale())
        values = [outcomes[arm][seed] - outcomes[base][seed] for seed in pairs[arm]]
        images, networks = _by_image(correct or {}, arm, base, pairs[arm])
        found[arm] = Comparison(
            **_seeds_part(difference, decision, level, pairs[arm] or sorted(outcomes[arm]), values),
            unused=len(outcomes[arm]) + len(outcomes[base]) - 2 * len(values) if values else 0,
            **_images_part(images, networks),
            p_equivalence=p,
            p_equivalence_holm=p_holm,
            seeds_to_decide=more,
            verdict=verdict,
            sentence=words,
        )
    return found


def _more(difference: Difference, margin: float, level: float) -> int | None:
    """Seeds in all that would decide it; no number of them shows equivalence within less than one image."""
    if difference.sd is None:
        return None
    reach, sd = margin if margin >= difference.grain else 0.0, math.hypot(difference.sd, difference.grain / 2)
    return seeds_to_decide(difference.n, difference.mean, sd, reach, level)


def _matched(arm: Mapping[int, float], base: Mapping[int, float]) -> list[int]:
    """The seeds that both sides have, to pair; none where pairs would leave out most of what Welch's test can use."""
    common, smaller = [seed for seed in base if seed in arm], min(len(arm), len(base))
    return common if len(common) == smaller or len(common) >= max(FEWEST_PAIRS, smaller / 2) else []


def _difference(arm: Mapping[int, float], base: Mapping[int, float], seeds: Sequence[int]) -> Difference:
    if seeds:
        found = paired([arm[seed] for seed in seeds], [base[seed] for seed in seeds])
        return found if len(seeds) > 1 else replace(found, kind="single")
    return welch(list(arm.values()), list(base.values()))


def _grain(correct: Correct) -> float:
    """One image's share of those that were scored; 0 where they aren't known."""
    counts = {len(np.asarray(right)) for of in correct.values() for right in of.values()}
    return 1 / max(counts) if counts else 0.0


def _by_image(
    correct: Correct, arm: str, base: str, seeds: Sequence[int]
) -> tuple[ImageDifference | None, McNemar | None]:
    ours, theirs = correct.get(arm, {}), correct.get(base, {})
    if not seeds:  # two single runs may have different seeds: they are still two networks on the same images
        first, second = list(ours), list(theirs)
        return None, mcnemar(ours[first[0]], theirs[second[0]]) if len(first) == len(second) == 1 else None
    if any(seed not in ours or seed not in theirs for seed in seeds):
        return None, None
    if len(seeds) == 1:
        return None, mcnemar(ours[seeds[0]], theirs[seeds[0]])
    return image_difference(difference_matrix(ours, theirs, seeds)), None


def difference_matrix(
    arm: Mapping[int, ArrayLike], base: Mapping[int, ArrayLike], seeds: Sequence[int]
) -> np.ndarray[tuple[int, int], np.dtype[np.int8]]:
    """D[seed, image] in {-1, 0, 1}, int8[seeds, images]: right in the arm minus right in the base. arm, base: seed ->
    bool[images]. A ValueError if their numbers of images differ."""
    rows = [(np.asarray(arm[seed], dtype=bool), np.asarray(base[seed], dtype=bool)) for seed in seeds]
    if len({side.shape for row in rows for side in row}) != 1:
        raise ValueError("the runs were scored on different numbers of images")
    return np.stack([ours.astype(np.int8) - theirs.astype(np.int8) for ours, theirs in rows])


def _seeds_part(
    difference: Difference, decision: Decision, level: float, seeds: list[int], values: list[float]
) -> dict[str, Any]:
    is_paired = difference.kind == "paired"
    flipped = difference.p_exact if difference.constant else sign_flip(values) if is_paired else None
    return {
        "kind": difference.kind,
        "seeds": seeds,
        "n": difference.n,
        "mean": difference.mean,
        "sd": difference.sd,
        "ci95": None if difference.constant and not difference.grain else difference.interval(),
        "p_t": difference.p_t,
        "p_holm": decision.p_holm,
        "alpha": level,
        "p_signflip": flipped if is_paired else None,
        "signflip_floor": difference.floor if is_paired else None,
        "signflip_exact": len(values) <= EXACT_UP_TO,
        "ci95_simultaneous": decision.interval,
        "ci95_bootstrap": bootstrap(values) if is_paired else None,
        "effect_size": difference.effect_size,
    }


def _images_part(images: ImageDifference | None, networks: McNemar | None) -> dict[str, Any]:
    return {
        "ci95_images": None if images is None else images.interval(),
        "se_seeds": None if images is None else images.se_seeds,
        "se_images": None if images is None else images.se_images,
        "p_mcnemar": None if networks is None else networks.p,
        "ci95_mcnemar": None if networks is None else networks.ci95,
    }
