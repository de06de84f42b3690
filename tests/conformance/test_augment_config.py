"""Every technique's section: it round-trips, refuses nonsense, and reads as a card."""

import importlib
import re
import subprocess
import sys

import pytest
import yaml
from augment_samples import ON, ROWS

from seedwise.augment.config import SCHEDULED_STRENGTHS, AugmentConfig
from seedwise.augment.config import TECHNIQUES as SECTIONS
from seedwise.augment.table import FUNCTIONS, TECHNIQUES, Augmentation
from seedwise.base.errors import UserError
from seedwise.config.section import dump, load
from seedwise.recipe.progressive_config import Stage

techniques = pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda t: t.name)


@pytest.mark.parametrize("name", ROWS)
def test_each_technique_agrees_with_something(name: str) -> None:
    module, test = ROWS[name].agrees.split(".")
    assert callable(getattr(importlib.import_module(module), test))


def test_every_technique_has_its_function_and_its_row() -> None:
    """Of section, function and row of settings none is there without the others, and the order is one."""
    others = {"resize", "mix_off_epochs"}
    assert list(SECTIONS) == [name for name in AugmentConfig.model_fields if name not in others]
    assert set(FUNCTIONS) == set(SECTIONS.values())
    assert list(SECTIONS) == [t.name for t in TECHNIQUES] == list(ROWS)
    stages = [section.stage for section in SECTIONS.values()]
    assert stages == sorted(stages, key=["frame", "native", "final", "mix"].index)
    assert {section.replaces for section in SECTIONS.values()} <= {None, *SECTIONS}
    assert set(SCHEDULED_STRENGTHS.values()) <= set(Stage.model_fields)


@techniques
@pytest.mark.parametrize("chosen", [{}, None], ids=["defaults", "chosen"])
def test_round_trip_through_yaml(technique: Augmentation, chosen: dict | None) -> None:
    options = ON[technique.name] if chosen is None or technique.name == "custom" else chosen
    config = AugmentConfig.model_validate({technique.name: options})
    assert isinstance(getattr(config, technique.name), technique.config)
    assert load(AugmentConfig, dump(config)) == config
    assert load(AugmentConfig, yaml.safe_dump(config.model_dump(mode="json"))) == config
    assert AugmentConfig.model_validate(config.model_dump()) == config


def test_everything_is_off_by_default() -> None:
    on = {name: section for name, section in AugmentConfig() if section not in (None, 0)}
    assert list(on) == ["resize"]
    assert on["resize"].interpolation == "bilinear"


@techniques
def test_sections_read_as_cards(technique: Augmentation) -> None:
    card = technique.config.__doc__
    for word in ("Helps:", "Hurts:", "Source:"):
        assert word in card  # type: ignore[operator]
    assert all(field.description for field in technique.config.model_fields.values())
    assert AugmentConfig.model_fields[technique.name].description


@pytest.mark.parametrize(
    "line",
    [
        "random_resized_crop: {scale: [0.0, 1.0]}",
        "random_resized_crop: {scale: [0.5, 0.2]}",
        "random_resized_crop: {scale: [0.5, 1.1]}",
        "random_resized_crop: {scale: [0.5]}",
        "random_resized_crop: {ratio: [2.0, 0.5]}",
        "random_resized_crop: {ratio: [0.5, .inf]}",
        "random_crop: {padding: -1}",
        "random_crop: {padding: 1.5}",
        "random_crop: {padding_mode: constant}",
        "horizontal_flip: {prob: 1.01}",
        "horizontal_flip: {p: 0.5}",
        "vertical_flip: {prob: -0.1}",
        "rotation: {degrees: -1}",
        "rotation: {degrees: .nan}",
        "rotation: {interpolation: bicubic}",
        "color_jitter: {brightness: -0.1}",
        "color_jitter: {contrast: .inf}",
        "color_jitter: {hue: 0.51}",
        "resize: null",
        "resize: {interpolation: lanczos}",
        "cutmix: {prob: 2}",
        "cutmix: {alpha: 0}",
        "cutmix: {alpha: .inf}",
        "custom: {}",
        "custom: my_pkg.aug",
        "custom: {function: 3}",
        "mixup: {alpha: 0}",
        "mixup: {prob: -0.5}",
        "mixup: {switch_prob: 1.5}",
        "mixup: {alpha: .inf}",
        "mix_off_epochs: -1",
        "mix_off_epochs: 1.5",
        "rand_augment: {num_ops: 0}",
        "rand_augment: {num_ops: 9}",
        "rand_augment: {magnitude: -1}",
        "rand_augment: {magnitude: 31}",
        "rand_augment: {num_magnitude_bins: 1}",
        "rand_augment: {interpolation: bicubic}",
        "trivial_augment_wide: {num_magnitude_bins: 1}",
        "alternating_flip: {prob: 0.5}",
        "augmix: {severity: 0}",
        "augmix: {severity: 11}",
        "augmix: {mixture_width: 5}",
        "augmix: {chain_depth: 0}",
        "augmix: {chain_depth: -1}",
        "augmix: {alpha: 0}",
        "grayscale: {prob: 2}",
        "blur: {kernel_size: 4}",
        "blur: {kernel_size: 1}",
        "blur: {sigma: [0.0, 1.0]}",
        "blur: {sigma: [2.0, 1.0]}",
        "random_erasing: {scale: [0.5, 0.2]}",
        "random_erasing: {scale: [0.5, 1.2]}",
        "random_erasing: {ratio: [2.0, 0.5]}",
        "random_erasing: {value: black}",
        "manifold_mixup: {}",
    ],
)
def test_nonsense_is_refused(line: str) -> None:
    named = ".".join(re.findall(r"(\w+):", line))
    with pytest.raises(UserError, match=re.escape(named)):
        load(AugmentConfig, line)


def test_config_needs_no_torch() -> None:
    code = "import sys, seedwise.augment.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
