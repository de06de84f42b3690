"""Builds timm's networks for the image size that is asked for, and tries them at every size.

Transformers and mixers are made for images of one size, which timm's constructors take as `img_size`; other networks
take many sizes, but not those at which their maps vanish or don't divide into windows. Which sizes those are, nothing
says but the network itself: so it is shown black images before anything is trained.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from seedwise.base.errors import UserError, first_sentence
from seedwise.models.trial import black_images
from seedwise.models.weights import Weights, bare_name, classifier_names, our_name

TRAINED = "train.image_size"
"""The option that a network is built for; the recipe's other sizes must work with that network."""

IMAGE_SIZE = "img_size"
"""timm's name of the constructor's argument."""

_MISMATCH = re.compile(r"size mismatch for (\S+):")
_TOO_SMALL = "they are so small that nothing is left of them at its last layers"
_NO_CLASSIFIER = "it is no classifier"


def fit(
    build: Callable[[Mapping[str, Any]], nn.Module], weights: Weights, sizes: Mapping[str, int], num_classes: int
) -> tuple[nn.Module, dict[str, Any]]:
    """Build a timm network that takes images of these sizes; also returns what its constructor was told of them.

    `build`: the constructor. `sizes`: sides in pixels by the option that asks for them; without any nothing is tried. A
    network that takes them as it is published stays so. A UserError says which size it can't take, and why.
    """
    made_for, fixed = side_of(weights), is_fixed(weights.architecture)
    as_made = {IMAGE_SIZE: made_for} if fixed and IMAGE_SIZE not in weights.model_args else {}
    module = build(as_made)
    reasons = _refusals(module, sizes, num_classes)
    wanted = sizes.get(TRAINED, made_for)
    if reasons and fixed and wanted != made_for:
        try:
            module = build({IMAGE_SIZE: wanted})
        except UserError as error:
            again = {TRAINED: first_sentence(error.__cause__ or error)}
        else:
            again = _remainder(module, wanted) or _refusals(module, sizes, num_classes)
        if not again:
            return module, {IMAGE_SIZE: wanted}
        reasons = again
    if reasons:
        option, reason = next(iter(reasons.items()))
        raise UserError(
            f"model {our_name(bare_name(weights.architecture))}: can't take images of {sizes[option]} px ({option}): "
            f"{reason}; {_advice(option, reason, made_for, sizes[option])}"
        )
    return module, as_made


def is_fixed(architecture: str) -> bool:
    """Whether timm builds this architecture for images of one size."""
    import timm

    described = timm.get_pretrained_cfg(architecture)
    return described is not None and described.fixed_input_size


def side_of(weights: Weights) -> int:
    """Side in pixels of the images that an architecture, or the folder of its weights, is made for."""
    import timm

    described = timm.get_pretrained_cfg(weights.architecture)
    published = described.input_size[-1] if described is not None else 224
    stored = weights.model_args.get(IMAGE_SIZE)
    stored = stored[-1] if isinstance(stored, list) and stored else stored
    return int(stored if type(stored) is int else published)


def resampled(weights: Weights, module: nn.Module, size: Mapping[str, Any]) -> Weights:
    """Resample the weights that depend on the image size, such as position embeddings, as timm does.

    `size`: what the network's constructor was told of it. A UserError where timm can't, as for mixers.
    """
    import timm

    own, state, made_for = module.state_dict(), weights.state or {}, side_of(weights)
    heads = tuple(f"{name}." for name in classifier_names(module))
    other = [name for name, t in state.items() if name in own and t.shape != own[name].shape]
    if not size or weights.in_order or not [name for name in other if not name.startswith(heads)]:
        return weights
    wanted = size[IMAGE_SIZE]
    head = next((tensor for name, tensor in state.items() if name.startswith(heads)), None)
    classes = len(head) if head is not None and head.ndim else 0
    overlay = {"state_dict": state, "num_classes": classes, "label_offset": 0}
    try:
        arguments = {**weights.model_args, **size, "num_classes": classes}
        donor: nn.Module = timm.create_model(
            bare_name(weights.architecture), pretrained=True, pretrained_cfg_overlay=overlay, **arguments
        )
    except Exception as error:  # timm's and torch's own, for tensors that don't fit
        if made_for == wanted:
            return weights  # something else is wrong with them
        found = _MISMATCH.search(str(error))
        reason = f"'{found[1]}' can't be resampled" if found else first_sentence(error)
        raise UserError(
            f"{weights.origin}: made for images of {made_for} px, and timm can't bring them to {wanted} px ({reason}); "
            f"give --img-size {made_for}, or --weights none"
        ) from error
    return replace(weights, state=donor.state_dict(), origin=f"{weights.origin}; resampled for {wanted} px")


def _refusals(module: nn.Module, sizes: Mapping[str, int], num_classes: int) -> dict[str, str]:
    """Why the network can't take the first of the sizes that it can't, by option; empty when it takes them all."""
    for option, side in sizes.items():
        try:
            out = black_images(module, side)
        except Exception as error:  # asserts, shapes that don't fit, kernels larger than maps
            small = "Kernel size can't be greater than actual input size" in str(error)
            return {option: _TOO_SMALL if small else f"its layers don't fit at that size ({first_sentence(error)})"}
        if not isinstance(out, Tensor) or list(out.shape) != [2, num_classes]:
            kind = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
            return {option: f"{_NO_CLASSIFIER}: it answers with {kind}, not with logits [2, {num_classes}]"}
        if not out.isfinite().all():
            return {option: _TOO_SMALL}
    return {}


def _remainder(module: nn.Module, side: int) -> dict[str, str]:
    """Why patches that don't divide the image are refused: timm would silently ignore its right and lower edge."""
    for part in module.children():
        patch = getattr(part, "patch_size", 1)
        patch = max(patch) if isinstance(patch, tuple | list) else patch
        if type(patch) is int and side % patch:
            below, above = side // patch * patch, (side // patch + 1) * patch
            fitting = f"{below} or {above}" if below else f"{above}"
            return {TRAINED: f"they don't divide into its patches of {patch} px, as those of {fitting} px do"}
    return {}


def _advice(option: str, reason: str, made_for: int, side: int) -> str:
    if reason.startswith(_NO_CLASSIFIER) or side == made_for:
        return "choose another model"
    if option == TRAINED:
        return f"it is made for {made_for} px: give --img-size {made_for}"
    if option.startswith("tta"):
        return f"leave {option} out, or choose another model"
    return f"give that stage another {option.rpartition('.')[2]}, set progressive=none, or choose another model"
