"""What computes a network's training step, layer by layer, and why nothing faster does."""

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from timm.models._efficientnet_blocks import (
    ConvBnAct,
    DepthwiseSeparableConv,
    EdgeResidual,
    InvertedResidual,
    SqueezeExcite,
)
from torch import Tensor, nn

from seedwise.base.errors import UserError
from seedwise.kernels.dispatch import Case, Dispatcher, Tuning
from seedwise.kernels.layers import batch_norm, conv3x3, depthwise_fallback, pointwise
from seedwise.kernels.layers.eligibility import Note, told
from seedwise.kernels.layers.folded import AbsorbedNorm

BLOCKS = ConvBnAct, DepthwiseSeparableConv, EdgeResidual, InvertedResidual
LISTED = nn.Conv2d, nn.BatchNorm2d, SqueezeExcite, *BLOCKS
STOCK, LAYERS = "PyTorch", "layer by layer"
BY_TORCH = {"onednn", "product"}
"""Implementations by PyTorch: where the rule has one of them, it is the fastest that was measured."""


@dataclass(frozen=True)
class PathRow:
    """A layer or block of a network, and what computes it in a training step."""

    layer: str
    """Its name in the network."""
    kind: str
    """Its class, as timm or torch calls it."""
    path: str
    """What computes it: `PyTorch`, `layer by layer`, a fused block, or implementations by what they compute."""
    why: str | None
    """Why nothing faster does; None where there is nothing faster."""


@dataclass(frozen=True)
class Explanation:
    """The paths that a network's layers took in one training step."""

    rows: tuple[PathRow, ...]

    def __getitem__(self, layer: str) -> PathRow:
        """The row of a layer, by its name."""
        return next(row for row in self.rows if row.layer == layer)

    def table(self) -> str:
        """A line a layer, blocks before their layers; blocks in a row that take the same paths are told once."""
        lines = [PathRow("layer", "kind", "path", "why not a faster one"), *_merged(self.rows)]
        cells = [(row.layer, row.kind, row.path) for row in lines]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join(
            "  ".join((*map(str.ljust, texts, widths), row.why or "")).rstrip()
            for row, texts in zip(lines, cells, strict=True)
        )


def _merged(rows: Sequence[PathRow]) -> Iterator[PathRow]:
    """The rows, without blocks whose rows are those of the block before."""
    for _, run in groupby(_blocks(rows), key=_relative):
        first, *others = run
        if others:
            last = others[-1][0].layer
            yield replace(first[0], layer=f"{first[0].layer} to {last.rpartition('.')[2]}")
            yield from first[1:]
        else:
            yield from first


def _blocks(rows: Sequence[PathRow]) -> list[list[PathRow]]:
    """Each block with its layers; what is in no block stands alone."""
    found: list[list[PathRow]] = []
    for row in rows:
        if found and row.layer.startswith(f"{found[-1][0].layer}."):
            found[-1].append(row)
        else:
            found.append([row])
    return found


def _relative(block: Sequence[PathRow]) -> object:
    """A block's rows but for its own last name; unique for what is no block."""
    name = block[0].layer
    stage = name.rpartition(".")[0] if len(block) > 1 else name
    return stage, [(row.layer.removeprefix(name), row.kind, row.path, row.why) for row in block]


class _Heard(Dispatcher):
    """One layer's dispatcher, which are kept, by operation."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__()
        self.dispatcher = dispatcher
        self.names: dict[str, str] = {}

    def choose(self, case: Case, names: Collection[str], trial: Tuning) -> str:
        """What the network's own chooses."""
        self.names[case.operation] = name = self.dispatcher.choose(case, names, trial)
        return name


def explain(model: nn.Module, images: Tensor) -> Explanation:
    """See `seedwise.kernels.explain`."""
    if getattr(model, "_compiled_call_impl", None) is not None:
        raise UserError("the network is compiled (compute.compile): a compiler computes its layers, no kernels of ours")
    copied = copy.deepcopy(model)
    if not copied.training:
        copied.train()
    heard = _listen(copied)
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), told() as notes:
        copied(images).sum().backward()
    return Explanation(tuple(_rows(copied, notes, heard)))


def _listen(model: nn.Module) -> dict[nn.Module, dict[str, str]]:
    """Let each layer of a copy keep what is chosen for it, from now on; the network's own choices don't grow."""
    heard, of_copy = {}, dict[int, Dispatcher]()
    for module in model.modules():
        if isinstance(dispatcher := getattr(module, "dispatcher", None), Dispatcher):
            fresh = of_copy.setdefault(id(dispatcher), type(dispatcher)(dispatcher.as_dict()))
            module.dispatcher = listener = _Heard(fresh)  # type: ignore[assignment]
            heard[module] = listener.names
    return heard


def _rows(
    model: nn.Module, notes: Mapping[nn.Module, list[Note]], heard: Mapping[nn.Module, dict[str, str]]
) -> Iterator[PathRow]:
    has_kernels = bool(notes or heard)
    whole: dict[str, str] = {}
    """What computes those that have layers, by name; empty where it is all the same which of them does."""
    for name, module in model.named_modules():
        names, told_here = heard.get(module, {}), notes.get(module, [])
        of_block = next((path for outer, path in reversed(whole.items()) if name.startswith(f"{outer}.")), None)
        if not isinstance(module, LISTED) or (of_block == "" and not names and not told_here):
            continue
        path, why = _path(module, told_here, names, of_block, has_kernels)
        if isinstance(module, SqueezeExcite):
            whole[name] = ""
        elif isinstance(module, BLOCKS) and path != LAYERS:
            whole[name] = path
        yield PathRow(name, _kind(module), path, why)


def _path(
    module: nn.Module, notes: list[Note], names: Mapping[str, str], of_block: str | None, has_kernels: bool
) -> tuple[str, str | None]:
    """What computed a layer, and why nothing faster did."""
    if isinstance(module, AbsorbedNorm):
        return "folded into its convolution", None
    refused = [f"{path}: {reason}" for path, reason in notes if reason is not None]
    taken = [path for path, reason in notes if reason is None]
    if names.get("block") == "layers":
        taken, refused = [], ["one pass: by the rule, layers are faster for this shape"]
    if isinstance(module, BLOCKS):
        if not notes:
            refused = [f"there is no fused {_kind(module)}" if has_kernels else NO_KERNELS]
        return (taken[0] if taken else LAYERS), "; ".join(refused) or None
    if names:
        slower = sorted(set(names.values()) & BY_TORCH)
        are = "is" if len(slower) == 1 else "are"
        why = f"by the rule, {' and '.join(slower)} {are} faster for this shape" if slower else None
        return ", ".join(f"{operation.partition(' ')[2]} {name}" for operation, name in names.items()), why
    if of_block is not None and not notes:
        return f"in its {of_block}", None
    if not notes:
        return STOCK, _why_stock(module) if has_kernels else NO_KERNELS
    return (taken[0] if taken else STOCK), "; ".join(refused) or None


NO_KERNELS = "the network was built without kernels (compute.kernels=stock)"


def _why_stock(module: nn.Module) -> str:
    """Why there is no kernel for a layer that was never asked."""
    reason = None
    if isinstance(module, nn.Conv2d):
        if module.groups > 1:
            reason = depthwise_fallback.unfit(module)
        elif tuple(module.kernel_size) == (1, 1):
            reason = pointwise.unfit(module)
        else:
            reason = conv3x3.unfit(module) or ("it has a bias" if module.bias is not None else None)
    elif hasattr(module, "drop") and hasattr(module, "act"):
        reason = batch_norm.unfit(module)
    return reason or "there is none, or it isn't compiled"


def _kind(module: nn.Module) -> str:
    """What a layer's class was before kernels were swapped in."""
    ours = type(module).__module__.startswith("seedwise.kernels")
    found = type(module)
    while ours and found.__module__.startswith("seedwise.kernels"):
        found = found.__bases__[-1]
    return found.__name__
