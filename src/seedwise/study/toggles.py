"""What `--toggle` knows: each technique by name, where its switch is, and what off and on mean. No torch here."""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from seedwise.augment.config import AugmentConfig
from seedwise.config_options import plain
from seedwise.errors import UserError
from seedwise.recipe import Recipe


@dataclass(frozen=True)
class Toggle:
    """A technique's switch."""

    path: str
    """Dotted option of the recipe."""
    off: Any
    on: Any | Callable[[Recipe], Any]
    """Its value where the base hasn't got it; for some it follows from the base."""

    def patch(self, base: Recipe) -> tuple[bool, dict[str, Any]]:
        """Whether the base has it, and the option with which it hasn't, or has."""
        has = _value(base, self.path) != self.off
        return has, {self.path: self.off if has else self.on(base) if callable(self.on) else self.on}


ALWAYS_ON, NO_DEFAULT = "resize", "custom"

TOGGLES = {
    name: Toggle(f"augment.{name}", None, {})  # with the section's own defaults
    for name, field in AugmentConfig.model_fields.items()
    if field.default is None and name != NO_DEFAULT
} | {
    # EfficientNet-Lite0's own rate (ModelConfig.dropout).
    "dropout": Toggle("model.dropout", 0.0, 0.2),
    # What EfficientNetV2 was trained with (arXiv 2104.00298, survival probability 0.8) and torchvision's default.
    "drop_path": Toggle("model.drop_path", 0.0, 0.2),
    # Weights learned on ImageNet against random ones.
    "pretrained": Toggle("model.weights", "none", "auto"),
    # EmaConfig's own defaults.
    "ema": Toggle("optim.ema", None, {}),
    # The middle of what is usual, 0.65 to 0.9 (arXiv 2106.08254).
    "layer_decay": Toggle("optim.layer_decay", 1.0, 0.75),
    # Ten times the base's rate, within the 5 to 20 of OptimConfig.head_lr.
    "head_lr": Toggle("optim.head_lr", None, lambda base: 10 * base.optim.lr),
    # OptimConfig's own default.
    "weight_decay": Toggle("optim.weight_decay", 0.0, 1e-3),
    # The base decays all parameters or spares norms and biases (arXiv 1812.01187, section 3.1).
    "decay_norms_and_biases": Toggle("optim.decay_norms_and_biases", False, True),
    # What the recipe `strong` has.
    "clip_norm": Toggle("optim.clip_norm", None, 5.0),
    # The value of arXiv 1512.00567.
    "smoothing": Toggle("loss.smoothing", 0.0, 0.1),
    # From the training labels.
    "class_weights": Toggle("loss.class_weights", None, "balanced"),
    # Table 6 of arXiv 2104.00298; `automl`, the released code's, is asked for in a study file.
    "progressive": Toggle("progressive", "none", "paper"),
}
"""By the name of its option."""

ALIASES = {
    "crop": "random_crop",
    "flip": "horizontal_flip",
    "hflip": "horizontal_flip",
    "vflip": "vertical_flip",
    "rotate": "rotation",
    "jitter": "color_jitter",
    "colour_jitter": "color_jitter",
    "rrc": "random_resized_crop",
    "trivial_augment": "trivial_augment_wide",
    "greyscale": "grayscale",
    "gray": "grayscale",
    "gaussian_blur": "blur",
    "erasing": "random_erasing",
    "cutout": "random_erasing",
    "stochastic_depth": "drop_path",
    "moving_average": "ema",
    "layer_wise_decay": "layer_decay",
    "llrd": "layer_decay",
    "label_smoothing": "smoothing",
    "balanced": "class_weights",
    "gradient_clipping": "clip_norm",
    "clip": "clip_norm",
    "progressive_learning": "progressive",
    "imagenet": "pretrained",
}
"""As people call them."""

_KNOWN = {name.replace("_", ""): name for name in TOGGLES} | {
    alias.replace("_", ""): name for alias, name in ALIASES.items()
}


def find(name: str) -> Toggle:
    """The toggle of this name, however it is spelled (`CutMix`, `color-jitter`, `flip`); a UserError suggests one."""
    squeezed = "".join(letter for letter in name.lower() if letter.isalnum())
    if squeezed in _KNOWN:
        return TOGGLES[_KNOWN[squeezed]]
    reasons = {
        ALWAYS_ON: "resizing is always on; compare augment.resize.interpolation in a study file",
        NO_DEFAULT: "your own function has no default; name it in a study file",
    }
    close = get_close_matches(squeezed, _KNOWN, n=1)
    hint = reasons.get(squeezed) or (f"did you mean '{_KNOWN[close[0]]}'?" if close else f"use {', '.join(TOGGLES)}")
    raise UserError(
        f"--toggle {name}: no such technique; {hint}" if squeezed not in reasons else f"--toggle {name}: {hint}"
    )


def _value(base: Recipe, path: str) -> Any:
    value: Any = base
    for name in path.split("."):
        value = getattr(value, name)
    return plain(value)
