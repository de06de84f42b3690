"""What techniques really did, summed since the run began: the proof that a switch had an effect."""

from dataclasses import dataclass, field

from torch import Tensor

Measured = dict[str, Tensor]
"""Of one batch, on the CPU: `share`, bool[n], which images really changed; every other name one number for each
image that it applies to, e.g. `degrees`. Measuring parameters rather than pixels costs nothing and never waits for
the device."""


@dataclass
class _Total:
    """Count, sum and range of one measured quantity."""

    count: int = 0
    sum: float = 0.0
    min: float = float("inf")
    max: float = float("-inf")

    def add(self, values: Tensor) -> None:
        if values.numel():
            values = values.double()
            self.count += values.numel()
            self.sum += float(values.sum())
            self.min = min(self.min, float(values.min()))
            self.max = max(self.max, float(values.max()))


@dataclass
class Effects:
    """Totals by technique and quantity."""

    _totals: dict[str, dict[str, _Total]] = field(default_factory=dict)

    def add(self, technique: str, measured: Measured) -> None:
        """Count one batch of one technique."""
        totals = self._totals.setdefault(technique, {})
        for quantity, values in measured.items():
            totals.setdefault(quantity, _Total()).add(values)

    def summary(self) -> dict[str, dict[str, float]]:
        """For each technique `share` of images changed in [0, 1], and mean_, min_ and max_ of what else it measures."""
        return {technique: _summary(totals) for technique, totals in self._totals.items()}

    def state(self) -> dict[str, dict[str, list[float]]]:
        """Everything, JSON-able: [count, sum, min, max] by technique and quantity; floats survive JSON exactly."""
        return {
            technique: {q: [t.count, t.sum, t.min, t.max] for q, t in totals.items() if t.count}
            for technique, totals in self._totals.items()
        }

    def load_state(self, state: dict[str, dict[str, list[float]]]) -> None:
        """Continue from what `state` returned."""
        self._totals = {
            technique: {q: _Total(int(v[0]), *map(float, v[1:])) for q, v in totals.items()}
            for technique, totals in state.items()
        }


def _summary(totals: dict[str, _Total]) -> dict[str, float]:
    summary: dict[str, float] = {}
    for quantity, total in totals.items():
        if not total.count:
            continue
        mean = total.sum / total.count
        if quantity == "share":
            summary["share"] = mean
        else:
            summary |= {f"mean_{quantity}": mean, f"min_{quantity}": total.min, f"max_{quantity}": total.max}
    return summary
