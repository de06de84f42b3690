"""The verdict on one arm, by a fixed rule, and its sentence."""

from dataclasses import dataclass
from typing import Literal

from seedwise.stats.power import worth_deciding
from seedwise.stats.student import Interval

Verdict = Literal["helps", "hurts", "real but too small to matter", "no difference that matters", "undecided"]


def judge(
    mean: float, significant: bool, interval: Interval | None, equivalent: bool, margin: float, better: int = 1
) -> Verdict:
    """Decide the verdict on an arm; the first rule that matches wins.

    1. Significant (p_holm < alpha) and the simultaneous interval inside ±margin: real but too small to matter.
    2. Significant: helps or hurts, by the sign of the mean times `better` (1: more is better, -1: less).
    3. Equivalent (Holm's p of the two one-sided tests < alpha): no difference that matters.
    4. Else undecided.

    A false "helps" or "hurts" anywhere in a family has a chance of alpha at most: rule 2 is Holm's test, rule 1 only
    takes away from it. (2) comes before (3): a difference that is found but not known to be small is named by its sign.
    """
    if significant and interval is not None:
        if -margin < interval[0] and interval[1] < margin:
            return "real but too small to matter"
        return "helps" if mean * better > 0 else "hurts"
    return "no difference that matters" if equivalent else "undecided"


@dataclass(frozen=True)
class Scale:
    """How an outcome is printed: value times `factor`, in `unit`; by default fractions as percentage points."""

    factor: float = 100.0
    unit: str = "points"

    def text(self, value: float, decimals: int) -> str:
        """A signed number with a true minus sign; zero has no sign."""
        text = f"{value * self.factor:+.{decimals}f}"
        return (text[1:] if float(text) == 0 else text).replace("-", "−")

    def decimals(self, *values: float) -> int:
        """Decimals to print: one where the largest value is 1 or more, two below, three for very small ones."""
        largest = max(abs(value) for value in values) * self.factor
        return 1 if largest >= 1 else 2 if largest >= 0.02 or largest == 0 else 3

    def difference(self, mean: float, interval: Interval | None) -> str:
        """`+0.5 points, interval [−0.3, +1.3]`; an end that rounds to 0 reads `>0` or `<0` where 0 is left out."""
        values = (mean,) if interval is None else (mean, *interval)
        decimals = self.decimals(*values)
        text = f"{self.text(mean, decimals)} {self.unit}"
        if interval is None:
            return text
        low, high = (self.end(value, decimals, interval[0] > 0 or interval[1] < 0) for value in interval)
        return f"{text}, interval [{low}, {high}]"

    def end(self, value: float, decimals: int, without_zero: bool) -> str:
        """One end of an interval; `>0` or `<0` where it rounds to 0 although 0 is left out."""
        text = self.text(value, decimals)
        if without_zero and float(text.replace("−", "-")) == 0:
            return ">0" if value > 0 else "<0"
        return text


def sentence(
    verdict: Verdict, mean: float, interval: Interval | None, n: int, more: int | None, margin: float, scale: Scale
) -> str:
    """The verdict in a plain sentence. `n`: seeds used; `more`: seeds in all that would decide an undecided one."""
    said = scale.difference(mean, interval)
    matter = f"{margin * scale.factor:g} {scale.unit}"
    if verdict in ("helps", "hurts"):
        return f"{verdict}: {said}"
    if verdict == "real but too small to matter":
        return f"{verdict}: {said}, all of it within ±{matter}"
    if verdict == "no difference that matters":
        return f"{verdict}: {scale.difference(mean, None)}; {matter} or more, either way, is ruled out"
    if interval is None:
        return f"undecided: {said} from a single seed, which shows no spread to judge it by; give 5 seeds or more"
    if interval[0] in (mean, 0.0) and interval[1] in (mean, 0.0):
        return f"undecided: {said}; all {n} seeds show the same difference, so that their noise can't be judged"
    if more is None:
        return f"undecided: {said}; not worth it: not even 1000 seeds would decide it"
    not_worth = "" if worth_deciding(more) else "not worth it: "
    return f"undecided: {said}; {not_worth}about {more} seeds would decide it"
