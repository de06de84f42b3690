"""Builds a network with its weights from a recipe's model section and a seed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seedwise.base import rng
from seedwise.base.errors import UserError, first_sentence
from seedwise.models import sizes, user_model
from seedwise.models.activations import spare_clones
from seedwise.models.checkpoint import CONFIG_FILE, read_checkpoint
from seedwise.models.config import FACTORY_PREFIX, ModelConfig
from seedwise.models.freezing import demand_stages, freeze
from seedwise.models.hub import require_tag, require_timm_model
from seedwise.models.small import ARCHITECTURE as SMALL_ARCHITECTURE
from seedwise.models.small import SmallNet
from seedwise.models.weights import (
    Weights,
    bare_name,
    classifier_names,
    find_weights,
    our_name,
    put_weights,
    weights_of_checkpoint,
)

_LARGEST_SIDE = 4096


@dataclass(frozen=True)
class BuiltModel:
    """A network on the CPU in float32, with its normalization and its origin."""

    module: nn.Module
    """Maps normalized images float32[n, 3, h, w] to logits float32[n, num_classes]."""

    mean: tuple[float, ...]
    """Per channel, for pixels in [0, 1]: the statistics that the weights were trained with, not the data set's."""

    std: tuple[float, ...]
    """As `mean`."""

    pretrained_size: int
    """Side in pixels of the images that the architecture's published weights were trained on."""

    architecture: str
    """timm's name without tag, `seedwise:small`, or `factory:` and the import path of a user's own."""

    weights: str
    """Where the weights came from, with hash or tag, and whether the head is new."""

    model_args: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the architecture's constructor beside its name, for config.json."""


def build_model(
    config: ModelConfig,
    *,
    num_classes: int,
    seed: int,
    classes: Sequence[str] = (),
    image_sizes: Mapping[str, int] | None = None,
) -> BuiltModel:
    """Build the recipe's network with its weights, in training mode.

    What is random comes from (seed, "model") and the head from (seed, "head"), whatever weights, dropout and drop path
    are: paired runs start from the same head. torch's global generator is left as it was. `classes`: the data's class
    names; weights that name others get a new head. `image_sizes`: sides in pixels of the images that it will be fed, by
    the option that asks for them (`plan.image_sizes`): it is built for them where it must be, and tried. A UserError
    where weights or sizes don't fit. With a freeze schedule only what is never trained is frozen yet: `FreezeSchedule`
    freezes the rest.
    """
    found, tried = find_weights(config), dict(image_sizes or {})
    rates = {"dropout": config.dropout, "drop_path": config.drop_path}
    module, sized = _construct(found, num_classes, tried, rng.stream_seed(seed, "model"), **rates)
    if not (config.factory and found.state is None):
        with _drawing_from(rng.stream_seed(seed, "head")):
            _reset_head(module, found.architecture)
    if found.state is not None and sized:
        with _drawing_from(0):
            found = sizes.resampled(found, module, sized)
    found = replace(found, model_args={**found.model_args, **sized})
    origin = found.origin
    if found.state is not None:
        reason = put_weights(module, found, classes)
        head = f"new head for {num_classes} classes, {reason}" if reason else f"its head kept, {num_classes} classes"
        origin = f"{found.origin}; {head}"
    spare_clones(module)
    built = _describe(module.train(), found, origin)
    names = classifier_names(module)
    demand_stages(module, config.freeze, names)
    for number, change in enumerate(config.freeze_schedule):
        demand_stages(module, change.freeze, names, f"model.freeze_schedule.{number}.freeze")
    freeze(module, config.least_frozen, names, tried.get(sizes.TRAINED, built.pretrained_size))
    return built


def load_model(path: Path) -> BuiltModel:
    """Load the network of a run folder (or any in timm's `local-dir:` layout), or of its ema.safetensors.

    In evaluation mode. Architecture, classes and normalization come from config.json alone; a UserError where the
    weights lack the head.
    """
    checkpoint = read_checkpoint(path)
    architecture, num_classes = checkpoint.config.get("architecture"), checkpoint.config.get("num_classes")
    where = checkpoint.file.with_name(CONFIG_FILE)
    if not isinstance(architecture, str) or type(num_classes) is not int or num_classes < 1:
        raise UserError(f"{where}: missing, or without architecture and num_classes; give a finished run's folder")
    found = weights_of_checkpoint(checkpoint, architecture)
    tried = _stored_size(checkpoint.config) if architecture.startswith(FACTORY_PREFIX) else {}
    module, _ = _construct(found, num_classes, tried, 0, dropout=0.0, drop_path=0.0)
    if put_weights(module, found):
        raise UserError(f"{checkpoint.file}: its classifier doesn't have the {num_classes} classes of {CONFIG_FILE}")
    return _describe(module.eval(), found, found.origin)


@contextmanager
def _drawing_from(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator for the block, and restore it afterwards.

    `torch.manual_seed` would reseed every accelerator too, and those are not put back.
    """
    with rng.ambient, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _stored_size(config: Mapping[str, Any]) -> dict[str, int]:
    """Side in pixels of the images that a folder's config.json names, to try the network at."""
    described = config.get("pretrained_cfg")
    size = described.get("input_size") if isinstance(described, dict) else None
    side = size[-1] if isinstance(size, list) and size else None
    return {sizes.TRAINED: side} if type(side) is int and 0 < side <= _LARGEST_SIDE else {}


def _construct(
    weights: Weights, num_classes: int, tried: Mapping[str, int], draws: int, *, dropout: float, drop_path: float
) -> tuple[nn.Module, dict[str, Any]]:
    """The network with random weights from the seed `draws`, and what its constructor was told of the image size."""
    name = weights.architecture
    if name.startswith(FACTORY_PREFIX):
        path, rates = name.removeprefix(FACTORY_PREFIX), {"dropout": dropout, "drop_path": drop_path}
        with _drawing_from(draws):
            return user_model.build(path, num_classes=num_classes, **rates, image_sizes=tuple(tried.values())), {}
    if name != SMALL_ARCHITECTURE:
        require_timm_model(name)
        require_tag(name)

    def build(size: Mapping[str, Any]) -> nn.Module:
        arguments = {**weights.model_args, **size, "num_classes": num_classes, "drop_rate": dropout}
        try:
            with _drawing_from(draws):
                if name == SMALL_ARCHITECTURE:
                    return SmallNet(**arguments, drop_path_rate=drop_path)
                return _timm_model(name, arguments, drop_path)
        except Exception as error:  # arguments from a damaged config.json make constructors raise almost anything
            given = ", ".join(f"{key}={value}" for key, value in {**arguments, "drop_path_rate": drop_path}.items())
            raise UserError(f"model {our_name(name)} can't be built with {given}: {first_sentence(error)}") from error

    return (build({}), {}) if name == SMALL_ARCHITECTURE else sizes.fit(build, weights, tried, num_classes)


def _timm_model(name: str, arguments: Mapping[str, Any], drop_path: float) -> nn.Module:
    import timm

    try:
        module: nn.Module = timm.create_model(name, drop_path_rate=drop_path, **arguments)
    except TypeError as error:
        # Some architectures have no residual branch to drop; those build only when none is to be dropped.
        if drop_path or "drop_path_rate" not in str(error):
            raise
        module = timm.create_model(name, **arguments)
    return module


def _reset_head(module: nn.Module, architecture: str) -> None:
    """Reinitialize the head from the current generator, the same way for every architecture.

    torch's own Linear initialization: bound 1/sqrt(features). timm's for EfficientNet is 1/sqrt(classes), for 100
    classes 3.6 times and for 10 classes 11 times as wide, so that a fine-tune starts from confident nonsense.
    """
    names = classifier_names(module)
    layers = [layer for name in names for layer in module.get_submodule(name).modules()]
    resettable = [layer for layer in layers if isinstance(layer, nn.Linear | nn.Conv2d)]
    if not resettable and not architecture.startswith(FACTORY_PREFIX):
        raise UserError(f"model {architecture}: timm names no classifier layer for it; choose another model")
    for layer in resettable:
        layer.reset_parameters()


def _describe(module: nn.Module, weights: Weights, origin: str) -> BuiltModel:
    cfg: Mapping[str, Any] = module.pretrained_cfg  # type: ignore[assignment]
    return BuiltModel(
        module=module,
        mean=tuple(weights.mean or cfg["mean"]),
        std=tuple(weights.std or cfg["std"]),
        pretrained_size=cfg["input_size"][-1],
        architecture=bare_name(weights.architecture),
        weights=origin,
        model_args=dict(weights.model_args),
    )
