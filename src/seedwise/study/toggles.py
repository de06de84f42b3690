"""Techniques for `--toggle`: those of the catalogue by any of their names, and three more switches. No torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from seedwise.base.errors import UserError
from seedwise.config import yaml12
from seedwise.config.options import plain
from seedwise.recipe import techniques
from seedwise.recipe.schema import Recipe
from seedwise.recipe.techniques import TECHNIQUES, squeeze


@dataclass(frozen=True)
class Toggle:
    """The switch of a technique."""

    path: str
    """Dotted option of the recipe."""
    off: Any
    on: Any | Callable[[Recipe], Any]
    """The value that switches it on where the base has it off; for some it depends on the base."""
    choice: bool = False
    """Whether `on` is the name of a section, and the base has it on only where it names that one."""
    goes_too: Mapping[str, Any] = field(default_factory=dict)
    """Other options, by path, that make no sense without it: their values when it is switched off."""

    def patch(self, base: Recipe) -> tuple[bool, dict[str, Any]]:
        """Whether the base has it on, and the patch that switches it."""
        value = _value(base, self.path)
        has = value["name"] == self.on if self.choice else value != self.off
        if has:
            return has, {self.path: self.off, **self.goes_too}
        return has, {self.path: self.on(base) if callable(self.on) else self.on}


NO_TOGGLE = {
    "resize": "resizing is always on; compare augment.resize.interpolation in a study file",
    "custom": "your own function has no default; name it in a study file",
    "distill": "it needs a teacher; name it in a study file: loss.distill: {teacher: DIR}",
    "tta": "it changes no trained weights, and is reported beside the plain score: -s tta=default on the base",
}


def _on(text: str) -> Any:
    return {} if text == "default" else yaml12.read(text, "").value


TOGGLES = {
    technique.name: Toggle(
        technique.path, yaml12.read(technique.off, "").value, _on(technique.on), choice=technique.choice
    )
    for technique in TECHNIQUES
    if technique.name not in NO_TOGGLE
} | {
    # Ten times the base's rate, within the 5 to 20 of OptimConfig.head_lr.
    "head_lr": Toggle("optim.head_lr", None, lambda base: 10 * base.optim.lr),
    "freeze": Toggle("model.freeze", 0, 4, goes_too={"model.freeze_schedule": []}),
    # All stages train from half way on, or, where none is frozen, some are frozen from then on.
    "freeze_schedule": Toggle(
        "model.freeze_schedule", [], lambda base: [{"after": 0.5, "freeze": 0 if base.model.freeze else 4}]
    ),
    # Named after the option, whose value true is what an optimizer does by itself.
    "decay_norms_and_biases": Toggle("optim.decay_norms_and_biases", False, True),
    # Weights learned on ImageNet against random ones.
    "pretrained": Toggle("model.weights", "none", "auto"),
    # OptimConfig's own default.
    "weight_decay": Toggle("optim.weight_decay", 0.0, 1e-3),
    # What the recipe `strong` has.
    "clip_norm": Toggle("optim.clip_norm", None, 5.0),
}
"""Switches by name: the catalogue's techniques, and others."""

ALIASES = techniques.ALIASES | {
    "gradient_clipping": "clip_norm",
    "clip": "clip_norm",
    "imagenet": "pretrained",
}
"""Other names in use -> toggles."""

_KNOWN = {squeeze(name): name for name in TOGGLES} | {squeeze(alias): name for alias, name in ALIASES.items()}


def find(name: str) -> Toggle:
    """Find a toggle by name, however spelled (`CutMix`, `color-jitter`, `flip`); a UserError suggests one."""
    squeezed = squeeze(name)
    known = _KNOWN.get(squeezed, squeezed)
    if known in NO_TOGGLE:
        raise UserError(f"--toggle {name}: {NO_TOGGLE[known]}")
    if known in TOGGLES:
        return TOGGLES[known]
    close = get_close_matches(squeezed, _KNOWN, n=1)
    hint = f"did you mean '{_KNOWN[close[0]]}'?" if close else f"use {', '.join(TOGGLES)}"
    raise UserError(f"--toggle {name}: no such technique; {hint}")


def _value(base: Recipe, path: str) -> Any:
    value: Any = base
    for name in path.split("."):
        value = getattr(value, name)
    return plain(value)
