"""From a recipe's model section and a seed to a network with its weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seedwise.errors import UserError
from seedwise.models.checkpoint import CONFIG_FILE, first_sentence, read_checkpoint
from seedwise.models.config import ModelConfig
from seedwise.models.small import ARCHITECTURE as SMALL_ARCHITECTURE
from seedwise.models.small import SmallNet
from seedwise.models.weights import (
    Weights,
    classifier_names,
    find_weights,
    put_weights,
    require_timm_model,
    weights_of_checkpoint,
)
from seedwise.rng import stream_seed


@dataclass(frozen=True)
class BuiltModel:
    """A network on the CPU in float32, and what one must know to feed it and to describe it."""

    module: nn.Module
    """uint8 images normalized to float[n, 3, h, w] -> logits float[n, num_classes]."""

    mean: tuple[float, ...]
    """Per channel, for pixels in [0, 1]: what the weights were trained with, not the data set's."""

    std: tuple[float, ...]
    """As `mean`."""

    pretrained_size: int
    """Side in pixels of the images that the architecture's published weights were trained on."""

    architecture: str
    """timm's name without tag, or `seedwise:small`."""

    weights: str
    """Where the weights came from, with hash or tag, and whether the head is new."""

    model_args: Mapping[str, Any] = field(default_factory=dict)
    """What the architecture's constructor is told beside its name, for config.json."""


def build_model(config: ModelConfig, *, num_classes: int, seed: int) -> BuiltModel:
    """The recipe's network with its weights, in training mode.

    What is random comes from (seed, "model") and the head from (seed, "head"), whatever weights, dropout and drop path
    are: paired runs start from the same head. torch's global generator is left as it was.
    """
    found = find_weights(config)
    with _drawing_from(stream_seed(seed, "model")):
        module = _construct(found, num_classes, config.dropout, config.drop_path)
    with _drawing_from(stream_seed(seed, "head")):
        _reset_head(module, found.architecture)
    head_kept = put_weights(module, found)
    head = "" if found.state is None else "; its head kept" if head_kept else f"; new head for {num_classes} classes"
    return _describe(module, found, found.origin + head)


def load_model(folder: Path) -> BuiltModel:
    """The network of a run folder (or of any folder in timm's `local-dir:` layout), in evaluation mode.

    Architecture, classes and normalization come from config.json alone; the head must be in the weights.
    """
    checkpoint = read_checkpoint(folder)
    architecture, num_classes = checkpoint.config.get("architecture"), checkpoint.config.get("num_classes")
    if not isinstance(architecture, str) or not isinstance(num_classes, int):
        where = checkpoint.file.with_name(CONFIG_FILE)
        raise UserError(f"{where}: missing, or without architecture and num_classes; give a finished run's folder")
    found = weights_of_checkpoint(checkpoint, architecture)
    with _drawing_from(0):
        module = _construct(found, num_classes, 0.0, 0.0)
    if not put_weights(module, found):
        raise UserError(f"{checkpoint.file}: its classifier doesn't have the {num_classes} classes of {CONFIG_FILE}")
    return _describe(module.eval(), found, found.origin)


@contextmanager
def _drawing_from(seed: int) -> Iterator[None]:
    """Let torch's global CPU generator start from a seed, and put it back afterwards.

    `torch.manual_seed` would reseed every accelerator too, and those are not put back.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _construct(weights: Weights, num_classes: int, dropout: float, drop_path: float) -> nn.Module:
    if weights.architecture == SMALL_ARCHITECTURE:
        return SmallNet(num_classes, drop_rate=dropout, drop_path_rate=drop_path)
    import timm

    name = weights.architecture
    require_timm_model(name)
    arguments = {**weights.model_args, "num_classes": num_classes, "drop_rate": dropout}
    try:
        try:
            module: nn.Module = timm.create_model(name, drop_path_rate=drop_path, **arguments)
        except TypeError as error:
            # Some architectures have no residual branch to drop; those build only when none is to be dropped.
            if drop_path or "drop_path_rate" not in str(error):
                raise
            module = timm.create_model(name, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        given = ", ".join(f"{key}={value}" for key, value in {**arguments, "drop_path_rate": drop_path}.items())
        raise UserError(f"model timm:{name} can't be built with {given}: {first_sentence(error)}") from error
    return module


def _reset_head(module: nn.Module, architecture: str) -> None:
    """Initialize the head anew from the current generator, the same way for every architecture.

    torch's own Linear initialization: bound 1/sqrt(features). timm's for EfficientNet is 1/sqrt(classes), for 100
    classes 3.6 times and for 10 classes 11 times as wide, so that a fine-tune starts from confident nonsense.
    """
    names = classifier_names(module)
    layers = [layer for name in names for layer in module.get_submodule(name).modules()]
    resettable = [layer for layer in layers if isinstance(layer, nn.Linear | nn.Conv2d)]
    if not resettable:
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
        architecture=weights.architecture.split(".")[0],
        weights=origin,
        model_args=dict(weights.model_args),
    )
