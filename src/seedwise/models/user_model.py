"""A user's own network: found by import path, built once, and tried before anything is trained."""

import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seedwise.base.errors import UserError
from seedwise.base.user_code import fails, find
from seedwise.models.trial import black_images

OPTION = "model.factory"
IMAGENET_MEAN: tuple[float, float, float] = (0.485, 0.456, 0.406)
IMAGENET_STD: tuple[float, float, float] = (0.229, 0.224, 0.225)
_TRIED_SIZE = 64
"""Side in pixels of the trial images when neither the recipe nor the network names one."""


def build(
    factory: str, *, num_classes: int, dropout: float, drop_path: float, image_sizes: Sequence[int] = ()
) -> nn.Module:
    """Build the user's network, with a complete `pretrained_cfg`; its mode stays as their callable left it.

    Drawn from torch's global generator, and Python's and NumPy's seeded like it. `image_sizes`: sides in pixels of the
    images it is tried on. A UserError in one line for what fails in it.
    """
    call = find(OPTION, factory)
    arguments = {"num_classes": num_classes, **_regularization(factory, call, dropout, drop_path)}
    given = ", ".join(f"{name}={value}" for name, value in arguments.items())
    with _seeded_like_torch():
        try:
            module = call(**arguments)
        except (Exception, SystemExit) as error:
            raise fails(OPTION, factory, f"called with {given}, it raised", error) from error
        if not isinstance(module, nn.Module):
            raise UserError(f"{OPTION} {factory}: returned {type(module).__name__}; return a torch.nn.Module")
        cfg = _described(factory, module)
        for side in image_sizes or [int(cfg["input_size"][-1])]:
            _try(factory, module, num_classes, side)
    head = cfg.get("classifier") or _last_layer(module, num_classes)
    module.pretrained_cfg = {**cfg, "classifier": head}  # type: ignore[assignment]
    return module


def _regularization(factory: str, call: Callable[..., Any], dropout: float, drop_path: float) -> dict[str, float]:
    """The recipe's rates, those that the callable has parameters for; a UserError for one on that it lacks."""
    try:
        parameters = inspect.signature(call).parameters
    except (TypeError, ValueError):  # some builtins have no signature
        parameters = {}  # type: ignore[assignment]
    if drop_path and "drop_path" not in parameters:
        raise UserError(f"{OPTION} {factory}: takes no drop_path, and model.drop_path is {drop_path}; set it to 0")
    rates = {"dropout": dropout, "drop_path": drop_path}
    return {name: rate for name, rate in rates.items() if name in parameters}


@contextmanager
def _seeded_like_torch() -> Iterator[None]:
    """Seed Python's and NumPy's global generators from torch's seed for the block, and restore them afterwards."""
    seed, python, numpy = torch.default_generator.initial_seed(), random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _described(factory: str, module: nn.Module) -> dict[str, Any]:
    """timm's description of the network: the user's own where there is one, else ImageNet's normalization."""
    own = getattr(module, "pretrained_cfg", None)
    cfg: dict[str, Any] = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "input_size": (3, _TRIED_SIZE, _TRIED_SIZE)}
    cfg |= {name: value for name, value in own.items() if value is not None} if isinstance(own, Mapping) else {}
    for key in ("mean", "std"):
        value = getattr(module, key, None)
        value = cfg[key] if value is None or callable(value) else value
        try:
            values = tuple(float(v) for v in (value.flatten().tolist() if isinstance(value, Tensor) else value))
        except (TypeError, ValueError):
            values = ()
        if len(values) != 3 or not all(np.isfinite(values)) or (key == "std" and min(values) <= 0):
            raise UserError(f"{OPTION} {factory}: {key} must be three numbers per channel, it is {value!r:.80}")
        cfg[key] = values
    return cfg


def _try(factory: str, module: nn.Module, num_classes: int, side: int) -> None:
    """Pass two black images through the network; lazy layers get their shapes by it. A UserError for a wrong output."""
    shape = [2, 3, side, side]
    try:
        out = black_images(module, side)
    except Exception as error:
        raise fails(OPTION, factory, f"its network, given images float{shape}, raised", error) from error
    wanted = f"expected logits float[2, {num_classes}], one a class"
    if not isinstance(out, Tensor):
        raise UserError(f"{OPTION} {factory}: its network returns {type(out).__name__}; {wanted}")
    if list(out.shape) != [2, num_classes] or not out.is_floating_point():
        kind = str(out.dtype).removeprefix("torch.")
        raise UserError(
            f"{OPTION} {factory}: for images float{shape} its network returns {kind}{list(out.shape)}; {wanted}"
        )


def _last_layer(module: nn.Module, num_classes: int) -> str | None:
    """Name of the last linear or convolution layer with an output per class: new heads replace it."""
    layers = [(name, part) for name, part in module.named_modules() if isinstance(part, nn.Linear | nn.Conv2d) and name]
    name, layer = layers[-1] if layers else ("", None)
    outputs = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels if layer else None
    return name if outputs == num_classes else None
