"""Counts what stochastic depth and dropout really dropped, on the device until somebody asks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd


class CountedDropPath(DropPath):
    """timm's DropPath with the same draws and bits, which counts the branches it drops."""

    counts: Tensor
    """int64[2] on the device, not in the state_dict: branches dropped, branches in all."""
    is_per_image = True
    """For fused blocks (`seedwise.kernels`): all it does is to scale images."""

    def forward(self, x: Tensor) -> Tensor:
        """float[n, ...] to the same: each image zeroed with probability p = `drop_prob`, else scaled by 1 / (1 - p)."""
        if self.drop_prob == 0.0 or not self.training:
            return x
        keep = 1 - self.drop_prob
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        _count(self.counts, mask == 0, len(mask))
        if keep > 0.0 and self.scale_by_keep:
            mask.div_(keep)
        return x * mask


@dataclass
class DropoutMeter:
    """Counts of one network, as the record's `techniques` block shows them."""

    blocks: dict[str, CountedDropPath] = field(default_factory=dict)
    """Residual branches that can be dropped, by the index of their block."""
    dropped: Tensor | None = None
    """int64[3] on the device: features dropped before the classifier, features that could be (nonzero ones), and
    images; None where there is no dropout, or it isn't found."""
    drop_path: bool = False
    """Whether the recipe has stochastic depth on."""

    def effects(self) -> dict[str, dict[str, float]]:
        """Shares dropped, for the record: `drop_path` over all branches and by block, with the mean planned rate;
        `dropout` of features."""
        found: dict[str, dict[str, float]] = {}
        if self.drop_path:
            found["drop_path"] = self._drop_path()
        if self.dropped is not None:
            lost, met, images = map(float, self.dropped.tolist())
            found["dropout"] = {"images": images, "share": lost / met if met else 0.0}
        return found

    def _drop_path(self) -> dict[str, float]:
        counts = {number: block.counts.tolist() for number, block in self.blocks.items()}
        lost = {number: count[0] for number, count in counts.items() if count[1]}
        met = {number: count[1] for number, count in counts.items() if count[1]}
        effects: dict[str, float] = {"images": 0.0, "share": 0.0, "rate": 0.0, "blocks": len(met)}
        if met:
            effects["images"] = max(met.values())
            effects["share"] = sum(lost.values()) / sum(met.values())
            effects["rate"] = sum(self.blocks[number].drop_prob * n for number, n in met.items()) / sum(met.values())
        return effects | {f"block_{number}": lost[number] / n for number, n in met.items()}

    def state(self) -> dict[str, Any]:
        """The counts as JSON, for a checkpoint."""
        blocks = {number: block.counts.tolist() for number, block in self.blocks.items()}
        return {"blocks": blocks, "dropout": None if self.dropped is None else self.dropped.tolist()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from the counts that `state` returned."""
        for number, counts in state["blocks"].items():
            self.blocks[number].counts.copy_(torch.tensor(counts))
        if self.dropped is not None and state["dropout"] is not None:
            self.dropped.copy_(torch.tensor(state["dropout"]))


def meter_dropout(model: nn.Module, head: Sequence[str], *, dropout: float, drop_path: float) -> DropoutMeter:
    """Install counters of what a network drops, after it is on its device; its draws and results stay the same.

    `head`: names of its classifier layers; `dropout`, `drop_path`: the rates in [0, 1) that it was built with.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    meter = DropoutMeter(drop_path=drop_path > 0)
    for number, module in enumerate(_branches(model)):
        if type(module) is DropPath and module.drop_prob > 0:
            module.__class__ = CountedDropPath
            counted = cast("CountedDropPath", module)
            counted.counts = torch.zeros(2, dtype=torch.int64, device=device)
            meter.blocks[str(number)] = counted
    if dropout > 0:
        meter.dropped = _count_dropout(model, head, dropout, torch.zeros(3, dtype=torch.int64, device=device))
    return meter


def dropout_places(model: nn.Module, rate: float) -> tuple[list[_DropoutNd], list[nn.Module]]:
    """Find the classifier's dropout: Dropout layers of exactly this rate, and modules with it as timm's `drop_rate`."""
    layers = [m for m in model.modules() if isinstance(m, _DropoutNd) and m.p == rate]
    return layers, [m for m in model.modules() if getattr(m, "drop_rate", None) == rate]


def _branches(model: nn.Module) -> list[nn.Module]:
    """The module in place of DropPath in every block, in order; a block whose rate is 0 holds an Identity there."""
    return [m for name, m in model.named_modules() if name.rpartition(".")[2].startswith("drop_path")]


def _count_dropout(model: nn.Module, head: Sequence[str], rate: float, counts: Tensor) -> Tensor | None:
    """Hook the dropout layers; or, where timm drops without a layer, the pooling's output and classifier's input."""
    layers, owners = dropout_places(model, rate)
    layers = [layer for layer in layers if not layer.inplace]
    if layers:
        for layer in layers:
            layer.register_forward_hook(lambda module, inputs, output: _note(module, inputs[0], output, counts))
        return counts
    pools = [pool for owner in owners if isinstance(pool := getattr(owner, "global_pool", None), nn.Module)]
    if len(pools) != 1 or len(head) != 1:
        return None
    pooled: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        pooled[:] = [output]

    def compare(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if pooled:
            _note(module, pooled.pop(), inputs[0], counts)

    pools[0].register_forward_hook(keep)
    model.get_submodule(head[0]).register_forward_pre_hook(compare)
    return counts


def _note(module: nn.Module, before: Tensor, after: Tensor, counts: Tensor) -> None:
    if module.training and before.numel() == after.numel():
        with torch.no_grad():
            tells = before.detach().flatten(1) != 0
            lost = tells & (after.detach().flatten(1) == 0)
            counts[0] += lost.count_nonzero()
            counts[1] += tells.count_nonzero()
            counts[2] += len(before)


def _count(counts: Tensor, dropped: Tensor, images: int) -> None:
    with torch.no_grad():
        counts[0] += dropped.count_nonzero()
        counts[1] += images
