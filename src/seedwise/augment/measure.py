"""Measures what techniques did, summed since the run began: the proof that a switch had an effect."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

Measured = dict[str, Tensor]
"""Measurements of one batch by name: `share`, bool[n], says which images changed; bool[m] is another share, such as
`share_rotate`; any other name has one number for each image that it applies to, e.g. `degrees`. Where parameters tell
which images changed, they are measured rather than pixels, which costs nothing; what is measured on another device
stays there until somebody asks, so that no step waits for it."""


def changed(before: Tensor, after: Tensor) -> Tensor:
    """bool[n] on the images' device: which of uint8[n, c, h, w] differ; for techniques whose parameters don't tell."""
    pair = before.flatten(1), after.flatten(1)
    if pair[0].shape[1] % 8 == 0 and not any(t.storage_offset() % 8 for t in pair):  # 8 values at a time
        pair = pair[0].view(torch.int64), pair[1].view(torch.int64)
    return (pair[0] != pair[1]).any(dim=1)


@dataclass
class _Total:
    """Count, sum and range of one measured quantity."""

    count: int = 0
    sum: float = 0.0
    min: float = float("inf")
    max: float = float("-inf")

    def add(self, values: Tensor) -> None:
        if values.dtype == torch.bool:
            self.count += values.numel()
            self.sum += int(values.count_nonzero())
            self.min, self.max = 0.0, 1.0
        elif values.numel():
            values = values.double()
            self.count += values.numel()
            self.sum += float(values.sum())
            self.min = min(self.min, float(values.min()))
            self.max = max(self.max, float(values.max()))


@dataclass
class Effects:
    """Totals of what was measured, by technique and quantity."""

    _totals: dict[str, dict[str, _Total]] = field(default_factory=dict)
    _elsewhere: list[tuple[str, str, Tensor]] = field(default_factory=list)
    """Technique, quantity and values on another device, not added yet."""

    def add(self, technique: str, measured: Measured) -> None:
        """Add the measurements of one batch; an empty `measured` says that the technique was on but not in force."""
        totals = self._totals.setdefault(technique, {})
        for quantity, values in measured.items():
            total = totals.setdefault(quantity, _Total())
            if values.device.type == "cpu":
                total.add(values)
            else:
                self._elsewhere.append((technique, quantity, values))

    def _fetch(self) -> dict[str, dict[str, _Total]]:
        for technique, quantity, values in self._elsewhere:
            self._totals[technique][quantity].add(values.cpu())
        self._elsewhere.clear()
        return self._totals

    def summary(self) -> dict[str, dict[str, float]]:
        """For each technique the number of `images` while it was in force and the `share` of them that it changed.

        Further shares, in [0, 1], by their names, and mean_, min_ and max_ of its other quantities.
        """
        return {technique: _summary(totals) for technique, totals in self._fetch().items()}

    def state(self) -> dict[str, dict[str, list[float]]]:
        """All totals as JSON data: [count, sum, min, max] by technique and quantity; floats survive JSON exactly."""
        return {
            technique: {q: [t.count, t.sum, t.min, t.max] for q, t in totals.items() if t.count}
            for technique, totals in self._fetch().items()
        }

    def load_state(self, state: dict[str, dict[str, list[float]]]) -> None:
        """Continue from the totals that `state` returned."""
        self._totals = {
            technique: {q: _Total(int(v[0]), *map(float, v[1:])) for q, v in totals.items()}
            for technique, totals in state.items()
        }


def _summary(totals: dict[str, _Total]) -> dict[str, float]:
    images = totals.get("share", _Total()).count
    summary = {"images": float(images), "share": 0.0}
    for quantity, total in totals.items():
        if not total.count:
            continue
        mean = total.sum / total.count
        if quantity.startswith("share"):
            summary[quantity] = mean
        else:
            summary |= {f"mean_{quantity}": mean, f"min_{quantity}": total.min, f"max_{quantity}": total.max}
    return summary
