"""Every technique of the catalogue through the same gate: YAML, off is identity, two steps, a measured effect.

What changes pixels is put through more in test_augment_*.py (the same batch from the same seed, threads, sizes, targets
that sum to 1, label share and pixel share, agreement with torchvision or a slow loop): `ROWS` in augment_samples.py has
a row of settings for each. The others' are here.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from augment_samples import ON, ROWS, one_hot, photos
from torch import Tensor

from seedwise.augment import grid
from seedwise.augment.config import AugmentConfig
from seedwise.config.section import dump, load
from seedwise.data.open import open_data
from seedwise.engine.control import RunControl
from seedwise.engine.loop import fit
from seedwise.engine.protocols import Observer
from seedwise.models.build import build_model
from seedwise.recipe import library
from seedwise.recipe.inert import inert
from seedwise.recipe.schema import Recipe
from seedwise.recipe.techniques import TECHNIQUES, Technique
from seedwise.run import resolve, score, train

BASE = ("model.name=small", "model.dropout=0.0", "train.image_size=16", "train.batch_size=8", "data.limit=80",
        "augment.random_crop=null", "data.val=20", "data.test=20", "compute.threads=1",
        "compute.precision=fp32", "compute.kernels=stock", "train.insight=false")  # fmt: skip
"""Ten steps an epoch."""
SKEWED = "[2.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]"
ONES = "[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]"


@dataclass(frozen=True)
class Case:
    """A technique that changes no pixels of its own."""

    on: tuple[str, ...]
    """Switched on, so that it must act."""
    neutral: tuple[str, ...]
    """On without being able to act, or at the value that means off: as if never named, bit for bit."""
    beside: tuple[str, ...] = ()
    """What both need beside them."""


CASES = {
    "mix_off_epochs": Case(("augment.mix_off_epochs=1",), ("augment.mix_off_epochs=0",), ("augment.cutmix.prob=1.0",)),
    "progressive": Case(("progressive=[{image_size: 8}, {}]",), ("progressive=[{}, {}]",)),
    "dropout": Case(("model.dropout=0.4",), ("model.dropout=1e-12",)),
    "drop_path": Case(("model.drop_path=0.4",), ("model.drop_path=1e-12",)),
    "smoothing": Case(("loss.smoothing=0.1",), ("loss.smoothing=0.0",)),
    "class_weights": Case((f"loss.class_weights={SKEWED}",), (f"loss.class_weights={ONES}",)),
    "bce": Case(("loss.kind=bce",), ("loss.kind=cross_entropy",)),
    "distill": Case(("loss.distill.teacher=TEACHER",), ("loss.distill=null",)),
    "head_lr": Case(("optim.head_lr=0.01",), ("optim.head_lr=0.003",), ("optim.lr=0.003",)),
    "layer_decay": Case(("optim.layer_decay=0.7",), ("optim.layer_decay=1.0",)),
    "decay_norms_and_biases": Case(
        ("optim.decay_norms_and_biases=false", "optim.weight_decay=0.1"),
        ("optim.decay_norms_and_biases=false", "optim.weight_decay=0.0"),
        ("optim.weight_decay=0.0",),
    ),
    "muon": Case(("optim.algorithm=muon",), ("optim.algorithm=adamw",)),
    "sam": Case(("optim.sam=default",), ("optim.sam=null",)),
    "ema": Case(("optim.ema=default",), ("optim.ema=default",)),
    "swa": Case(("optim.swa={every: 2, start: 0.5}",), ("optim.swa={every: 2, start: 0.5}",)),
    "freeze": Case(("model.freeze=1",), ("model.freeze=0",)),
    "freeze_schedule": Case(
        ("model.freeze_schedule=[{after: 0.5, freeze: 1}]",), ("model.freeze_schedule=[{after: 0.5, freeze: 0}]",)
    ),
    "warm_start": Case(("warm_start=default",), ("warm_start=null",)),
    "repeated_augmentation": Case(("train.repeats=3",), ("train.repeats=1",), ("augment.rotation.degrees=20",)),
    "eval_image_size": Case(("train.eval_image_size=20",), ("train.eval_image_size=16",)),
    "tta": Case(("tta=default",), ("tta={flip: false}",)),
}
AFTER_TRAINING = ("ema", "swa", "eval_image_size", "tta")
"""These never touch the raw weights."""
cases = pytest.mark.parametrize("name", CASES)
lengths = pytest.mark.parametrize(
    "length",
    [
        ("train.epochs=2", "train.batch_size=20"),
        pytest.param(("train.epochs=5",), marks=pytest.mark.slow),
    ],
    ids=["8 steps", "50 steps"],
)


@dataclass(frozen=True)
class Trained:
    weights: Tensor
    effects: dict[str, dict[str, float]]
    recipe: Recipe


@cache
def teacher() -> str:
    """The folder of a run that can teach."""
    folder = Path(tempfile.mkdtemp(prefix="seedwise-teacher-")) / "run"
    train.train(library.read("demo", [*BASE, "train.epochs=1"]), "digits", out=folder)
    return str(folder)


@cache
def trained(settings: Sequence[str], folder: Path) -> Trained:
    """A run on digits through the composition root and the loop."""
    settings = [each.replace("TEACHER", teacher()) if "TEACHER" in each else each for each in settings]
    recipe = resolve.resolve(library.read("demo", [*BASE, *settings]))
    dataset = open_data("digits", recipe.data, **resolve.storage_resolution(recipe))
    built = build_model(recipe.model, num_classes=10, seed=0)
    setup = train.prepare(folder, recipe, 0, dataset, built)
    state = fit(setup, observer=Observer())
    outcome = score.outcome_of(recipe, setup, state, dataset, built, 0.0, RunControl())
    if recipe.tta is not None:
        outcome = score.with_tta(outcome, recipe.tta, setup, dataset, 0.0, RunControl())
    weights = torch.cat([p.detach().flatten() for p in setup.model.parameters()])
    assert torch.isfinite(weights).all()
    return Trained(weights, outcome.effects, recipe)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is stopped here; the disk need not take part."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Path]:
    class Folders(dict[tuple[str, ...], Path]):
        def __missing__(self, key: tuple[str, ...]) -> Path:
            self[key] = tmp_path_factory.mktemp("run")
            return self[key]

    return Folders()


def test_every_technique_has_its_case() -> None:
    assert [technique.name for technique in TECHNIQUES if technique.pixels] == list(ROWS)
    assert [technique.name for technique in TECHNIQUES if not technique.pixels] == list(CASES)


@pytest.mark.parametrize("technique", [t for t in TECHNIQUES if t.pixels], ids=lambda t: t.name)
def test_every_technique_that_changes_pixels_has_a_picture(technique: Technique) -> None:
    """Its row in `seedwise augment … -o grid.png`, whose pixels differ from the original's."""
    config = AugmentConfig.model_validate({technique.name: ON[technique.name]})
    ((name, alone),) = grid.technique_rows(config)
    assert name == technique.name
    cells = grid.changed_cells(photos(8, 32, 32), None, one_hot(8), alone, 0, seed=0, size=32, count=6)
    assert any((pixels != cells[0][0]).any() for pixels, _ in cells[1:])


@cases
def test_round_trip_through_yaml(name: str) -> None:
    for settings in (CASES[name].on, CASES[name].neutral):
        recipe = resolve.resolve(library.read("demo", [*BASE, *CASES[name].beside, *settings]))
        assert load(Recipe, dump(recipe)) == recipe


@lengths
@cases
def test_neutral_is_as_if_never_named(name: str, length: tuple[str, ...], folders: dict[tuple[str, ...], Path]) -> None:
    """Bit-identical weights after 8 steps, and after 50."""
    case = CASES[name]
    off = (*case.beside, *length)
    neutral = (*off, *case.neutral)
    assert torch.equal(trained(neutral, folders[neutral]).weights, trained(off, folders[off]).weights)


@lengths
@cases
def test_on_it_acts_and_the_record_shows_it(
    name: str, length: tuple[str, ...], folders: dict[tuple[str, ...], Path]
) -> None:
    case = CASES[name]
    without = (*case.beside, *length)
    on = (*without, *case.on)
    it, off = trained(on, folders[on]), trained(without, folders[without])
    assert torch.equal(it.weights, off.weights) == (name in AFTER_TRAINING)
    assert name in it.effects and name not in off.effects
    assert inert(it.recipe, it.effects) == []


DEAD = {
    "mix_off_epochs": {"images": 400, "share": 0.0},
    "progressive": {"images": 400, "share": 0.0},
    "dropout": {"images": 400, "share": 0.0},
    "drop_path": {"images": 400, "share": 0.0, "rate": 0.2, "blocks": 5},
    "smoothing": {"images": 400, "loss_added": 0.0},
    "class_weights": {"images": 400, "share": 0.0, "min_weight": 0.5, "max_weight": 2.0},
    "bce": {"images": 0.0, "loss": 0.0, "cross_entropy": 0.0},
    "distill": {"networks": 1.0, "images": 0.0},
    "head_lr": {"parameters": 0, "scale": 3.0},
    "layer_decay": {"layers": 1, "least_scale": 1.0},
    "decay_norms_and_biases": {"tensors_excluded": 0, "parameters_excluded": 0},
    "muon": {"matrices": 0, "parameters": 0, "share": 0.0},
    "sam": {"images": 0.0, "loss_rise": 0.0},
    "ema": {"distance": 0.0},
    "swa": {"averaged": 1.0, "estimated_images": 40.0, "distance": 0.0},
    "freeze": {"stages": 1.0, "layers": 0.0, "parameters": 0.0},
    "freeze_schedule": {"changes": 0.0, "steps_frozen_0": 20.0},
    "warm_start": {"images": 0.0},
    "repeated_augmentation": {"images": 400.0, "copies": 1.0},
    "eval_image_size": {"trained": 16.0, "evaluated": 16.0},
    "tta": {"views": 1.0, "image_size": 16.0, "changed": 0.0},
}


@cases
def test_on_without_effect_is_inert(name: str) -> None:
    recipe = resolve.resolve(library.read("demo", [*BASE, *CASES[name].beside, *CASES[name].on]))
    assert inert(recipe, {name: DEAD[name]}) == [name]  # type: ignore[dict-item]


def test_what_was_asked_to_do_nothing_is_not_inert() -> None:
    recipe = resolve.resolve(library.read("demo", [*BASE, f"loss.class_weights={ONES}", "optim.weight_decay=0.0"]))
    nothing = {"class_weights": {"images": 9, "share": 0.0, "min_weight": 1.0, "max_weight": 1.0}}
    assert inert(recipe, nothing | {"decay_norms_and_biases": DEAD["decay_norms_and_biases"]}) == []
    balanced = resolve.resolve(library.read("demo", [*BASE, "loss.class_weights=balanced"]))
    assert inert(balanced, nothing) == ["class_weights"]


def test_stages_that_raise_strengths_alone_are_not_inert() -> None:
    stages = "progressive=[{mixup_alpha: 0.1}, {mixup_alpha: 0.4}]"
    recipe = resolve.resolve(library.read("demo", [*BASE, stages]))
    assert inert(recipe, {"progressive": DEAD["progressive"]}) == []  # type: ignore[dict-item]


def test_the_chance_of_nothing_decides() -> None:
    """0.9 ** 131 = 1.01e-6, in 131 branches met."""
    recipe = resolve.resolve(library.read("demo", [*BASE, "model.drop_path=0.2"]))
    block = {"share": 0.0, "rate": 0.1, "blocks": 1}
    assert inert(recipe, {"drop_path": {**block, "images": 131}}) == []
    assert inert(recipe, {"drop_path": {**block, "images": 132}}) == ["drop_path"]
    assert inert(recipe, {"drop_path": {**block, "images": 0, "blocks": 0}}) == ["drop_path"]  # nothing to drop
