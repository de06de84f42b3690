"""Whether kernels may compute a layer now: one place that asks, and answers with the reason why not.

Kernels compute plain tensors on a CPU, in channels_last, where nobody looks on. A reason is a short sentence, which
`seedwise.kernels.explain` shows; None says that there is none.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Reason = str | None
"""Why kernels may not, in a few words; None where they may."""
PLAIN = (torch.float32,)
MIXED = torch.float32, torch.bfloat16
ANY: tuple[torch.dtype, ...] = ()
"""Types of maps that a kernel takes; ANY: all, in any layout. Under autocast, which chooses types itself, no
kernel that is for float32 alone is called."""
HOOKS = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"


def why_not_train(maps: Tensor, parameters: Iterable[Tensor | None], types: Sequence[torch.dtype] = PLAIN) -> Reason:
    """Why this is no plain training step of a layer.

    `maps`: what comes in, float[n, c, h, w]; `parameters`: the layer's, of any shape. Maps or one of them need a
    gradient in a training step.
    """
    if not torch.is_grad_enabled():
        return "gradients are switched off"
    given = [one for one in parameters if one is not None]
    if not (maps.requires_grad or any(one.requires_grad for one in given)):
        return "nothing in it needs a gradient"
    if types is PLAIN and (other := next((one for one in given if one.dtype != torch.float32), None)) is not None:
        return f"its parameters are {name_of(other.dtype)}"
    return why_not_maps(maps, types)


def why_not_frozen(maps: Tensor) -> Reason:
    """Why this is no training step of a frozen layer: float[n, c, h, w] whose gradient nobody wants.

    Kernels of frozen layers have no gradients; who asks for the images' own gets PyTorch's layers.
    """
    if not torch.is_grad_enabled():
        return "gradients are switched off: scoring has a copy of the network"
    if maps.requires_grad:
        return "the gradient of what comes in is wanted"
    return why_not_seen()


def why_not_score(maps: Tensor) -> Reason:
    """Why maps, float[n, c, h, w], are not to be scored by kernels."""
    return "gradients are switched on" if torch.is_grad_enabled() else why_not_maps(maps)


def why_not_maps(maps: Tensor, types: Sequence[torch.dtype] = PLAIN) -> Reason:
    """Why no kernel takes such maps, float[n, c, h, w], now."""
    if (seen := why_not_seen()) is not None:  # first: a tracer warns of questions about sizes
        return seen
    if type(maps) is not Tensor and type(maps) is not nn.Parameter:
        return f"the maps are a {type(maps).__name__}"
    if maps.device.type != "cpu":
        return f"the maps are on {maps.device.type}"
    if types is ANY:
        return None
    if maps.dtype not in types:
        return f"the maps are {name_of(maps.dtype)}"
    if types is PLAIN and torch.is_autocast_enabled("cpu"):
        return "autocast chooses types"
    if maps.dim() != 4 or maps.numel() == 0:
        return f"the maps are {list(maps.shape)}"
    if not maps.is_contiguous(memory_format=torch.channels_last):
        return "the maps are not in channels_last"
    return None


def why_not_seen() -> Reason:
    """Who has to see PyTorch's own operations: compilers and exporters trace them, transforms change them.

    torch has no public question for torch.func's transforms nor for dispatch modes.
    """
    if torch.compiler.is_compiling():
        return "a compiler reads the layers"
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return "a tracer reads the layers"
    if torch._C._are_functorch_transforms_active():
        return "a torch.func transform is active"
    return "a dispatch mode is active" if torch._C._len_torch_dispatch_stack() else None


def why_not_hooked(*layers: nn.Module) -> Reason:
    """Which of some layers a hook looks on at."""
    for layer in layers:
        known = vars(layer)
        if any(known[name] for name in HOOKS):
            return f"a hook looks on at its {type(layer).__name__}"
    return None


def name_of(dtype: torch.dtype) -> str:
    """A type without torch's name in front."""
    return str(dtype).removeprefix("torch.")


Note = tuple[str, Reason]
"""A path, and why it was not taken."""


_listeners: list[dict[nn.Module, list[Note]]] = []


def takes(layer: nn.Module, path: str, reason: Reason) -> bool:
    """Whether a layer takes a path, which it does unless there is a reason not to; `told` hears of it."""
    if _listeners and not torch.compiler.is_compiling():
        for notes in _listeners:
            notes.setdefault(layer, []).append((path, reason))
    return reason is None


@contextmanager
def told() -> Iterator[dict[nn.Module, list[Note]]]:
    """What layers take meanwhile, each one's in their order."""
    notes: dict[nn.Module, list[Note]] = {}
    _listeners.append(notes)
    try:
        yield notes
    finally:
        _listeners.remove(notes)
