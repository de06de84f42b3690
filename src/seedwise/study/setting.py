"""The setting that a verdict holds for: model, image size, data, schedule, and whether it converged. No torch."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seedwise.records.ensemble import EnsembleRecord
    from seedwise.records.run import RunRecord


WHY = {
    "few steps": "{steps} optimizer steps are few",
    "rising": "validation still rose at the end",
    "learned": "the training images are learned",
    "level": "validation no longer rose at the end",
    "noisy": "there are too few validation images to tell",
    "no curve": "there is no curve of validation",
}
"""Reasons why a setting has converged or not, in words."""
TELLING = 0.02
"""Largest noise of a rise in validation top-1 with which a level curve says that a run has converged."""


@dataclass(frozen=True)
class Setting:
    """The setting of a run, or of all runs of an arm; None where the record doesn't say."""

    model: str
    image_size: int | None
    """Height and width in pixels in the last epoch."""
    images: int
    """Number of training images."""
    epochs: int | None = None
    """Of the median run, where they stopped at different ones."""
    steps: int | None = None
    """Optimizer steps, of the median run too."""
    converged: str = "unknown"
    """yes, no or unknown, from `seedwise.run.convergence`; of several runs no where at least half of them are."""
    reason: str = "no curve"
    """The reason, a key of `WHY`."""
    why: str = "there is no curve of validation"
    """The reason in words."""

    @property
    def said(self) -> str:
        """In words: `efficientnet_lite0, 64 px, 1,649 training images, 3 epochs, 36 steps`."""
        parts = [self.model] + [f"{self.image_size} px"] * (self.image_size is not None)
        parts.append(f"{self.images:,} training images")
        parts += [_count(n, unit) for n, unit in ((self.epochs, "epoch"), (self.steps, "step")) if n is not None]
        return ", ".join(parts)

    @property
    def convergence_said(self) -> str:
        """In words: `not converged: 36 optimizer steps are few`."""
        words = {"yes": "converged", "no": "not converged", "unknown": "perhaps converged"}
        return f"{words.get(self.converged, words['unknown'])}: {self.why}"

    def beside(self, base: "Setting") -> str:
        """Differences from the base's setting, in words; empty without any."""
        parts = []
        if (self.model, self.image_size, self.images) != (base.model, base.image_size, base.images):
            parts.append(self.said)
        elif (self.epochs, self.steps) != (base.epochs, base.steps):
            parts += [_count(n, unit) for n, unit in ((self.epochs, "epoch"), (self.steps, "step")) if n is not None]
        if self.converged != base.converged:
            parts.append(self.convergence_said)
        return ", ".join(parts)


def setting(record: "RunRecord | EnsembleRecord") -> Setting:
    """The setting of a run or an ensemble."""
    images = record.data.splits.get("train", 0)
    if record.kind == "ensemble":
        names = sorted({member.architecture for member in record.members})
        sizes = [member.image_size for member in record.members if member.image_size is not None]
        return Setting(f"{record.networks} networks ({', '.join(names)})", max(sizes, default=None), images)
    epochs, (state, reason) = record.epochs, _converged(record)
    steps = epochs[-1].steps if epochs else None
    return Setting(
        record.model.name,
        epochs[-1].image_size if epochs else None,
        images,
        len(epochs) or None,
        steps,
        state,
        reason,
        WHY[reason].format(steps=steps),
    )


def _converged(record: "RunRecord") -> tuple[str, str]:
    """Whether a run has converged, and why; computed for records of older versions, which don't say."""
    from seedwise.run.convergence import LEARNED, convergence_of

    if record.final is None or not record.epochs:
        return "unknown", "no curve"
    found = record.convergence or convergence_of(record.epochs, record.final, record.data.splits.get("val", 0), None)
    if not found.reached:
        return "no", "few steps" if found.few_steps else "rising"
    if record.final.train.top1 >= LEARNED:
        return "yes", "learned"
    if found.rise is None or found.noise is None:
        return "unknown", "no curve"
    return ("yes", "level") if found.noise <= TELLING else ("unknown", "noisy")


def together(settings: Sequence[Setting]) -> Setting:
    """The setting of an arm, from its runs'; a ValueError without any."""
    if not settings:
        raise ValueError("no runs")
    states = Counter(each.converged for each in settings)
    state = "no" if 2 * states["no"] >= len(settings) else states.most_common(1)[0][0]
    first = next(each for each in settings if each.converged == state)
    why = first.why if len(states) == 1 else f"{first.why} ({states[state]} of {len(settings)} runs)"
    epochs, steps = (_middle([getattr(each, name) for each in settings]) for name in ("epochs", "steps"))
    return replace(first, epochs=epochs, steps=steps, why=why)


def holds(base: Sequence[Setting], arm: Sequence[Setting]) -> dict[str, Any]:
    """The settings that a verdict holds for, as JSON data."""
    return {"base": asdict(together(base)), "arm": asdict(together(arm))}


def verdict_notes(holds: Iterable[dict[str, Any] | None]) -> list[str]:
    """Notes for below verdicts: the setting they hold for, and what the intervals mean."""
    first = next((it for it in holds if it is not None), None)
    said = [] if first is None else [f"holds for: {holds_said(first)[0]}"]
    return [*said, "the table's intervals are each arm's alone, the sentences' hold for all at once"]


def holds_said(kept: Mapping[str, Any]) -> tuple[str, str]:
    """The stored settings in words: the base's, and the arm's differences."""
    base, arm = Setting(**kept["base"]), Setting(**kept["arm"])
    return f"{base.said}; base {base.convergence_said}", arm.beside(base)


def _middle(numbers: Sequence[int | None]) -> int | None:
    known = sorted(number for number in numbers if number is not None)
    return known[(len(known) - 1) // 2] if known else None


def _count(number: int, unit: str) -> str:
    return f"{number:,} {unit}{'' if number == 1 else 's'}"
