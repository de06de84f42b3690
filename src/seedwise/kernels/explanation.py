"""What computes a network's training step, layer by layer, and why nothing faster does."""

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import groupby

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from timm.models._efficientnet_blocks import (
    ConvBnAct,
    DepthwiseSeparableConv,
    EdgeResidual,
    InvertedResidual,
    SqueezeExcite,
)
from torch import Tensor, nn

from seedwise.base.errors import UserError, in_words
from seedwise.kernels.dispatch import Case, Dispatcher, Tuning
from seedwise.kernels.layers import batch_norm, conv3x3, depthwise_fallback, pointwise
from seedwise.kernels.layers.eligibility import Note, Reason, name_of, told
from seedwise.kernels.layers.folded import AbsorbedNorm
from seedwise.kernels.swap import built_with

BLOCKS = ConvBnAct, DepthwiseSeparableConv, EdgeResidual, InvertedResidual
LISTED = nn.Conv2d, nn.BatchNorm2d, SqueezeExcite, *BLOCKS
LISTED_IN_WORDS = "convolutions, BatchNorm, squeeze-and-excitation and blocks of EfficientNets"
SWAPPED = nn.Conv2d, Conv2dSame, nn.BatchNorm2d, BatchNormAct2d, SqueezeExcite
"""Classes of the layers that have kernels; their subclasses may compute something else."""
STOCK, LAYERS = "PyTorch", "layer by layer"
WITHOUT = "the network has no kernels: seedwise.kernels.swap.accelerate(model, 'native', {}) puts them in"
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


class UnknownLayer(UserError, KeyError):
    """A name that no row has."""

    __str__ = Exception.__str__  # a KeyError's own is in quotes


@dataclass(frozen=True)
class Explanation:
    """The paths that a network's layers took in one training step."""

    rows: tuple[PathRow, ...]

    def __getitem__(self, layer: str) -> PathRow:
        """The row of a layer, by its name; a UserError, which is a KeyError too, for one that has no row."""
        for row in self.rows:
            if row.layer == layer:
                return row
        close = get_close_matches(str(layer), [row.layer for row in self.rows], n=3)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "`.table()` shows the layers with a row"
        raise UnknownLayer(f"{layer!r}: no such layer, or none with a row, as {LISTED_IN_WORDS} have; {hint}")

    def table(self) -> str:
        """A line a layer, blocks before their layers; blocks in a row that take the same paths are told once.

        A last line says so where no kernel computes anything.
        """
        if not self.rows:
            return f"PyTorch computes all of it: kernels are for {LISTED_IN_WORDS}, and the network has none of these"
        lines = [PathRow("layer", "kind", "path", "why not a faster one"), *_merged(self.rows)]
        cells = [(row.layer, row.kind, row.path) for row in lines]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        told = [
            "  ".join((*map(str.ljust, texts, widths), row.why or "")).rstrip()
            for row, texts in zip(lines, cells, strict=True)
        ]
        if all(row.path in (STOCK, LAYERS) for row in self.rows):
            told.append("no layer is computed by kernels: PyTorch computes these and all others")
        return "\n".join(told)


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
    _demand_network_and_images(model, images)
    copied = copy.deepcopy(model)
    if not copied.training:
        copied.train()
    heard = _listen(copied)
    given = f"images {name_of(images.dtype)}{list(images.shape)}"
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), told() as notes:
        try:
            logits = copied(images)
        except Exception as error:  # it is the user's code, with images of theirs
            raise UserError(f"the network, given {given}, raised {in_words(error)}") from error
        if not isinstance(logits, Tensor) or not logits.is_floating_point():
            what = name_of(logits.dtype) if isinstance(logits, Tensor) else type(logits).__name__
            wanted = "it must return one tensor, logits float[n, k]: wrap it in a module that does"
            raise UserError(f"the network, given {given}, returned {what}; {wanted}")
        if logits.requires_grad:  # a network that is frozen throughout has nothing to go back for
            logits.sum().backward()  # type: ignore[no-untyped-call]
    kernels = built_with(model) or ("native" if notes or heard else None)
    return Explanation(tuple(_rows(copied, notes, heard, _Setting(images.device.type, kernels))))


def _demand_network_and_images(model: object, images: object) -> None:
    """Raise a UserError unless a network's training step may be made on the images."""
    if not isinstance(model, nn.Module):
        advice = "; seedwise doctor --kernels RECIPE explains a recipe's" if isinstance(model, str) else ""
        raise UserError(f"model: must be a network (torch.nn.Module), is {type(model).__name__}{advice}")
    if getattr(model, "_compiled_call_impl", None) is not None:
        raise UserError("the network is compiled (compute.compile): a compiler computes its layers, no kernels of ours")
    wanted = "give a batch as float32[n, 3, h, w]"
    if not isinstance(images, Tensor):
        raise UserError(f"images: must be a tensor, is {type(images).__name__}; {wanted}")
    if images.dim() != 4 or images.numel() == 0:
        advice = f"{wanted}, for one image images[None]" if images.dim() == 3 else wanted
        raise UserError(f"images: must be a batch [n, c, h, w], is {list(images.shape)}; {advice}")
    if not images.is_floating_point():
        advice = "images.float() / 255, normalized as in training, is one"
        raise UserError(f"images: must be of floating-point numbers, is {name_of(images.dtype)}; {wanted}: {advice}")


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
    model: nn.Module,
    notes: Mapping[nn.Module, list[Note]],
    heard: Mapping[nn.Module, dict[str, str]],
    setting: "_Setting",
) -> Iterator[PathRow]:
    whole: dict[str, str] = {}
    """What computes those that have layers, by name; empty where it is all the same which of them does."""
    for name, module in model.named_modules():
        names, told_here = heard.get(module, {}), notes.get(module, [])
        of_block = next((path for outer, path in reversed(whole.items()) if name.startswith(f"{outer}.")), None)
        if not isinstance(module, LISTED) or (of_block == "" and not names and not told_here):
            continue
        path, why = _path(module, told_here, names, of_block, setting)
        if isinstance(module, SqueezeExcite):
            whole[name] = ""
        elif isinstance(module, BLOCKS) and path != LAYERS:
            whole[name] = path
        yield PathRow(name, _kind(module), path, why)


def _path(
    module: nn.Module, notes: list[Note], names: Mapping[str, str], of_block: str | None, setting: "_Setting"
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
            refused = [setting.why_no_block(module)]
        return (taken[0] if taken else LAYERS), "; ".join(refused) or None
    if names:
        slower = sorted(set(names.values()) & BY_TORCH)
        are = "is" if len(slower) == 1 else "are"
        why = f"by the rule, {' and '.join(slower)} {are} faster for this shape" if slower else None
        return ", ".join(f"{operation.partition(' ')[2]} {name}" for operation, name in names.items()), why
    if of_block is not None and not notes:
        return f"in its {of_block}", None
    if not notes:
        return STOCK, setting.why_stock(module)
    if taken and setting.kernels == "fallback":
        refused = ["compute.kernels=fallback has no C++ kernels"]
    return (taken[0] if taken else STOCK), "; ".join(refused) or None


@dataclass(frozen=True)
class _Setting:
    """What decides, besides a layer itself, whether it has kernels."""

    device: str
    """That of the images."""
    kernels: str | None
    """`compute.kernels` as the network was built; None where nothing has put kernels in."""

    def why_none(self) -> Reason:
        """Why no layer at all has kernels."""
        if self.device != "cpu":
            return f"kernels are for CPUs, and the images are on {self.device}"
        if self.kernels == "stock":
            return "the network was built without kernels (compute.kernels=stock)"
        return None if self.kernels else WITHOUT

    def why_no_block(self, block: nn.Module) -> str:
        """Why a block that was never asked goes by its layers."""
        fused_none = "compute.kernels=fallback fuses no blocks" if self.kernels == "fallback" else None
        return self.why_none() or fused_none or f"there is no fused {_kind(block)}"

    def why_stock(self, layer: nn.Module) -> str:
        """Why there is no kernel for a layer that was never asked."""
        if (reason := self.why_none() or _unfit(layer)) is not None:
            return reason
        if self.kernels == "fallback":
            return "compute.kernels=fallback is for depthwise convolutions alone"
        return "the kernels aren't compiled"


def _unfit(layer: nn.Module) -> Reason:
    """Why there is no kernel for such a layer."""
    if type(layer) not in SWAPPED:
        return f"kernels are for layers as PyTorch and timm have them, not for {type(layer).__name__}"
    if isinstance(layer, nn.Conv2d):
        if layer.groups > 1:
            return depthwise_fallback.unfit(layer)
        if tuple(layer.kernel_size) == (1, 1):
            return pointwise.unfit(layer)
        if tuple(layer.kernel_size) != (3, 3):
            return f"dense convolutions have kernels for 1x1 and 3x3, not for {'x'.join(map(str, layer.kernel_size))}"
        return conv3x3.unfit(layer) or ("it has a bias" if layer.bias is not None else None)
    if isinstance(layer, nn.BatchNorm2d) and not (layer.affine and layer.track_running_stats):
        return "the kernel is for BatchNorm with parameters and running statistics"
    return batch_norm.unfit(layer) if isinstance(layer, BatchNormAct2d) else None


def _kind(module: nn.Module) -> str:
    """What a layer's class was before kernels were swapped in."""
    ours = type(module).__module__.startswith("seedwise.kernels")
    found = type(module)
    while ours and found.__module__.startswith("seedwise.kernels"):
        found = found.__bases__[-1]
    return found.__name__
