"""The catalogue of techniques: name, the option that switches each, and its card. No torch.

Those of augmentation follow from their sections (`augment.config.TECHNIQUES`).
"""

import inspect
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from seedwise.augment import config as augment
from seedwise.base.errors import UserError
from seedwise.base.notebook import Listing
from seedwise.config import yaml12
from seedwise.config.options import Type, plain
from seedwise.config.section import Option, dump, load, paths
from seedwise.recipe.schema import Recipe

COSTS = Path(__file__).with_name("technique_costs.json")
VERDICTS = Path(__file__).with_name("technique_verdicts.json")
"""Costs in microseconds an image, as benchmarks/augment.py measured them."""
_PARTS = re.compile(r"\b(Helps|Hurts|Source):\s+")


@dataclass(frozen=True)
class Technique:
    """A published technique and the option of the recipe that switches it."""

    name: str
    """The name for users, in records (`techniques.<name>`) and in docs/techniques.md."""
    path: str
    """The option's path, as `-s` takes it."""
    on: str = "default"
    """A value that switches it on, as `-s` takes it."""
    off: str = "null"
    """The value that switches it off."""
    choice: bool = False
    """Whether its option names one of several sections: it is off wherever that is any other."""
    pixels: bool = False
    """Whether it changes images, so that `seedwise augment` draws a row of it."""
    needs_epochs: bool = False
    """Whether its card says that short schedules hurt it: a bad verdict may then be the schedule's."""


TECHNIQUES: tuple[Technique, ...] = (
    *(
        Technique(name, f"augment.{name}", section.on, pixels=True, needs_epochs=section.needs_epochs)
        for name, section in augment.TECHNIQUES.items()
    ),
    Technique("mix_off_epochs", "augment.mix_off_epochs", on="1", off="0"),
    Technique("progressive", "progressive", on="paper", off="none", needs_epochs=True),
    Technique("dropout", "model.dropout", on="0.2", off="0.0", needs_epochs=True),
    Technique("drop_path", "model.drop_path", on="0.2", off="0.0", needs_epochs=True),
    Technique("smoothing", "loss.smoothing", on="0.1", off="0.0"),
    Technique("class_weights", "loss.class_weights", on="balanced"),
    Technique("bce", "loss.kind", on="bce", off="cross_entropy", needs_epochs=True),
    Technique("distill", "loss.distill", on="{teacher: runs/teacher}"),
    Technique("head_lr", "optim.head_lr", on="0.005"),
    Technique("layer_decay", "optim.layer_decay", on="0.9", off="1.0", needs_epochs=True),
    Technique("decay_norms_and_biases", "optim.decay_norms_and_biases", on="false", off="true"),
    Technique("muon", "optim.algorithm", on="muon", off="adamw", choice=True),
    Technique("sam", "optim.sam"),
    Technique("ema", "optim.ema"),
    Technique("swa", "optim.swa"),
    Technique("freeze", "model.freeze", on="4", off="0"),
    Technique("freeze_schedule", "model.freeze_schedule", on="[{after: 0.5, freeze: 4}]", off="[]"),
    Technique("warm_start", "warm_start"),
    Technique("repeated_augmentation", "train.repeats", on="3", off="1", needs_epochs=True),
    Technique("eval_image_size", "train.eval_image_size", on="80"),
    Technique("tta", "tta"),
)

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
    "stochastic_weight_averaging": "swa",
    "layer_wise_decay": "layer_decay",
    "llrd": "layer_decay",
    "label_smoothing": "smoothing",
    "balanced": "class_weights",
    "binary_cross_entropy": "bce",
    "sharpness_aware_minimization": "sam",
    "teacher": "distill",
    "distillation": "distill",
    "knowledge_distillation": "distill",
    "fixres": "eval_image_size",
    "train_test_resolution": "eval_image_size",
    "progressive_learning": "progressive",
    "aug_repeats": "repeated_augmentation",
    "batch_augmentation": "repeated_augmentation",
    "repeats": "repeated_augmentation",
    "unfreeze": "freeze_schedule",
    "gradual_unfreezing": "freeze_schedule",
    "freezeout": "freeze_schedule",
}
"""Other names in use -> techniques."""


@dataclass(frozen=True)
class TechniqueCard:
    """The card of a technique, from its docstring: what it does, when it helps and hurts, its source."""

    what: str
    helps: str
    hurts: str
    source: str
    options: tuple[Option, ...]
    """The switch and the options below it."""

    @property
    def summary(self) -> str:
        """The first sentence of `what`."""
        return re.split(r"(?<=[^.])[.;] ", self.what, maxsplit=1)[0].rstrip(".")


def techniques(name: str | None = None) -> Listing:
    """List the catalogue, a row for each technique with switch, card and measured cost; for one name, its row."""
    cost = costs().get("techniques", {})
    chosen = TECHNIQUES if name is None else [find(name)]
    return Listing(
        asdict(each) | asdict(card(each)) | {"cost": cost.get(each.name), "verdicts": verdicts(each.name)}
        for each in chosen
    )


def squeeze(name: str) -> str:
    """Normalize a name: `Color-Jitter` and `color_jitter` are one."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def find(name: str) -> Technique:
    """Find a technique by name, however spelled, or by its option; a UserError names the most similar."""
    from difflib import get_close_matches

    named = {squeeze(alias): of for alias, of in ALIASES.items()} | {squeeze(t.name): t.name for t in TECHNIQUES}
    for technique in TECHNIQUES:
        if name == technique.path or named.get(squeeze(name)) == technique.name:
            return technique
    close = get_close_matches(squeeze(name), named, n=1)
    hint = f"did you mean '{named[close[0]]}'?" if close else "see `seedwise techniques ls`"
    raise UserError(f"unknown technique '{name}'; {hint}")


def card(technique: Technique) -> TechniqueCard:
    """Parse the card of a technique from its docstring; a ValueError when a part is missing."""
    chosen = _chosen(technique)
    options = tuple(
        o
        for o in paths(Recipe)
        if o.path == technique.path or (o.path.startswith(f"{technique.path}.") and (not chosen or _has(chosen, o)))
    )
    what, *parts = _PARTS.split(_docstring(technique))
    found = dict(zip(parts[::2], map(str.strip, parts[1::2]), strict=True))
    if list(found) != ["Helps", "Hurts", "Source"] or not what or not all(found.values()):
        raise ValueError(f"{technique.path}: its docstring has {list(found)}; it needs Helps:, Hurts: and Source:")
    return TechniqueCard(what.strip(), found["Helps"], found["Hurts"], found["Source"], options)


def is_on(recipe: Recipe, name: str) -> bool:
    """Whether a recipe has a technique on: its switch differs from the off value, or names the technique's section."""
    technique = find(name)
    if technique.choice:
        return bool(_value(recipe, technique.path).name == technique.on)
    return bool(plain(_value(recipe, technique.path)) != yaml12.read(technique.off, "").value)


def switched(recipe: Recipe, name: str, on: bool) -> Recipe:
    """The recipe with one technique switched on or off; one that is so already keeps its options."""
    technique = find(name)
    if on == is_on(recipe, name):
        return recipe
    return _with(recipe, technique, technique.on if on else technique.off)


def toggle(recipe: Recipe, name: str) -> Recipe:
    """The recipe with a technique switched off where it was on, or on with its defaults where it was off."""
    return switched(recipe, name, not is_on(recipe, name))


def costs() -> dict[str, Any]:
    """Costs that benchmarks/augment.py measured; empty without its file."""
    content: dict[str, Any] = json.loads(COSTS.read_text(encoding="utf-8")) if COSTS.exists() else {}
    return content


def verdicts(name: str) -> list[dict[str, Any]]:
    """Verdicts on a technique from our own studies, as benchmarks/verdicts.py kept them; each with its arm, number of
    seeds, difference in top-1 as a fraction, setting, machine, and command."""
    content = json.loads(VERDICTS.read_text(encoding="utf-8")) if VERDICTS.exists() else []
    return [each for each in content if each["technique"] == name]


def verdict_line(found: dict[str, Any]) -> str:
    """A verdict with the place where it holds, as its card has it."""
    at = found["setting"]
    place = f"{at['model']}, {at['image_size']} px, {at['images']:,} images, epochs: {at['epochs']}"
    return f"{found['arm']}: {found['sentence']} ({found['n']} seeds; {place}; on {found['machine']})"


def _with(recipe: Recipe, technique: Technique, value: str) -> Recipe:
    return load(Recipe, dump(recipe), "recipe", [f"{technique.path}={value}"])


def _value(recipe: Recipe, path: str) -> Any:
    value: Any = recipe
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _field(path: str) -> FieldInfo:
    *sections, name = path.split(".")
    owner: Any = Recipe
    for section in sections:
        owner = owner.model_fields[section].annotation
    found: FieldInfo = owner.model_fields[name]
    return found


def _chosen(technique: Technique) -> type[BaseModel] | None:
    """The section that a technique's option names; None unless it is a choice among several."""
    sections = Type.of(_field(technique.path)).sections() if technique.choice else []
    return next((each for each in sections if each.model_fields["name"].default == technique.on), None)


def _has(section: type[BaseModel], option: Option) -> bool:
    name = option.path.rpartition(".")[2]
    return name in section.model_fields and name != "name"


def _docstring(technique: Technique) -> str:
    """Docstring of the chosen or optional section, else of the option, in one line."""
    field = _field(technique.path)
    below = Type.of(field).sections()
    optional = len(below) == 1 and field.default is None
    section = below[0] if optional else _chosen(technique)
    return " ".join(((field.description if section is None else inspect.getdoc(section)) or "").split())
