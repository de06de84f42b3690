"""The catalogue: every technique has a card, a switch that works, and its place in docs/techniques.md."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from seedwise.augment.config import AugmentConfig
from seedwise.base.errors import UserError
from seedwise.cli.techniques import text
from seedwise.config.section import diff
from seedwise.recipe import library
from seedwise.recipe import techniques as catalogue
from seedwise.recipe.schema import Recipe
from seedwise.recipe.techniques import TECHNIQUES, Technique, card, find, is_on, switched, techniques, toggle
from seedwise.study.toggles import TOGGLES

each = pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda t: t.name)
REFERENCE = {"random_crop", "horizontal_flip", "rotation", "cutmix", "color_jitter", "drop_path", "progressive"}
"""What the reference experiment kept or tried."""
LISTED = {"dropout", "mixup", "rand_augment", "trivial_augment_wide", "random_erasing", "grayscale", "blur", "ema",
          "layer_decay", "head_lr", "decay_norms_and_biases", "mix_off_epochs", "smoothing"}  # fmt: skip


def test_nothing_is_missing() -> None:
    names = [technique.name for technique in TECHNIQUES]
    assert len(set(names)) == len(names)
    assert set(names) >= REFERENCE | LISTED
    fields = {f"augment.{name}" for name in AugmentConfig.model_fields} - {"augment.resize"}  # which is always on
    assert fields <= {technique.path for technique in TECHNIQUES}
    drawn = {technique.path for technique in TECHNIQUES if technique.pixels}
    assert drawn == fields - {"augment.mix_off_epochs"}


@each
def test_a_card_has_its_four_parts(technique: Technique) -> None:
    of = card(technique)
    for part in (of.what, of.helps, of.hurts, of.source):
        assert len(part) > 10 and part.endswith(".")
    assert of.options[0].path.startswith(technique.path)
    assert all(option.description for option in of.options)
    shown = text(technique)
    for label in ("What", "Helps", "Hurts", "Source", "On", "Off"):
        assert f"\n{label:<8}" in shown
    assert max(map(len, shown.splitlines())) <= 120


def test_what_a_card_says_of_short_schedules_is_there_for_verdicts_too() -> None:
    said = {t.name for t in TECHNIQUES if re.search(r"short (schedules|trainings)", card(t).hurts)}
    assert said - {"mix_off_epochs"} == {t.name for t in TECHNIQUES if t.needs_epochs}  # which only acts less there


def test_a_docstring_without_a_part_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AugmentConfig.model_fields["mix_off_epochs"], "description", "What. Helps: a. Source: b.")
    with pytest.raises(ValueError, match=r"mix_off_epochs: .*it needs Helps:, Hurts: and Source:"):
        card(find("mix_off_epochs"))


@each
def test_toggle_switches_it_and_nothing_else(technique: Technique) -> None:
    base = library.read("lite", ["train.epochs=4"])
    for start in (base, toggle(base, technique.name)):
        other = toggle(start, technique.name)
        assert is_on(start, technique.name) != is_on(other, technique.name)
        lines = diff(start, other)
        assert lines and all(line.startswith(technique.path) for line in lines), lines
        assert switched(other, technique.name, is_on(other, technique.name)) == other
        assert is_on(toggle(other, technique.name), technique.name) == is_on(start, technique.name)
    off = switched(base, technique.name, False)
    assert toggle(switched(base, technique.name, True), technique.name) == off


def test_what_is_on_keeps_its_options() -> None:
    mild = library.read("lite", ["augment.cutmix.prob=0.25"])
    assert switched(mild, "cutmix", True) == mild
    assert is_on(mild, "augment.cutmix")


def test_a_choice_among_algorithms_is_on_where_it_is_named_alone() -> None:
    for algorithm in ("sgd", "adamw", "{name: adamw, eps: 0.1}"):
        base = library.read("lite", [f"optim.algorithm={algorithm}"])
        assert not is_on(base, "muon") and switched(base, "muon", False) == base
        assert TOGGLES["muon"].patch(base) == (False, {"optim.algorithm": "muon"})
    own = library.read("lite", ["optim.algorithm={name: muon, matrix_lr: 0.02}"])
    assert is_on(own, "muon") and switched(own, "muon", True) == own
    assert TOGGLES["muon"].patch(own) == (True, {"optim.algorithm": "adamw"})
    assert "momentum" not in "".join(o.path for o in card(find("muon")).options).replace("matrix_momentum", "")


def test_everything_is_off_in_a_recipe_that_names_nothing() -> None:
    assert [t.name for t in TECHNIQUES if is_on(Recipe(), t.name)] == ["dropout"]


def test_a_misspelt_name_is_met_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"^unknown technique 'cutmixx'; did you mean 'cutmix'\?$"):
        find("cutmixx")


def test_the_page_is_not_stale() -> None:
    root = Path(__file__).parents[2]
    page = [sys.executable, str(root / "benchmarks" / "catalogue.py"), "-o", "-"]
    made = subprocess.run(page, capture_output=True, text=True, check=True, encoding="utf-8").stdout
    stored = (root / "docs" / "techniques.md").read_text(encoding="utf-8")
    assert made == stored, "give `python benchmarks/catalogue.py` again"
    assert all(f"## {technique.name}\n" in stored for technique in TECHNIQUES)


def test_a_card_tells_what_was_found_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = {"model": "efficientnet_lite0", "image_size": 64, "images": 10_000, "epochs": 3}
    found = {"technique": "sam", "arm": "sam", "n": 6, "mean": -0.01, "sentence": "hurts: −1.0 points"}
    stored = tmp_path / "verdicts.json"
    stored.write_text(
        json.dumps([found | {"setting": setting, "machine": "a laptop", "command": "seedwise ablate x.yaml"}]),
        encoding="utf-8",
    )
    monkeypatch.setattr(catalogue, "VERDICTS", stored)
    shown = text(find("sam"))
    place = "(6 seeds; efficientnet_lite0, 64 px, 10,000 images, epochs: 3; on a laptop)"
    assert f"Found sam: hurts: −1.0 points {place} seedwise ablate x.yaml" in " ".join(shown.split())
    assert "Found" not in text(find("muon"))
    assert techniques("sam")[0]["verdicts"][0]["n"] == 6
