"""Every technique's section: it round-trips, refuses nonsense, and reads as a card."""

import re
import subprocess
import sys

import pytest
import yaml
from augment_samples import ON

from seedwise.augment.config import AugmentConfig
from seedwise.augment.table import TECHNIQUES
from seedwise.config import dump, load
from seedwise.errors import UserError

techniques = pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda t: t.name)


def test_table_is_the_config_in_its_order() -> None:
    assert [t.name for t in TECHNIQUES] == [name for name in AugmentConfig.model_fields if name != "resize"]
    assert {t.name for t in TECHNIQUES} == set(ON)
    stages = [t.stage for t in TECHNIQUES]
    assert stages == sorted(stages, key=["frame", "native", "final"].index)


@techniques
@pytest.mark.parametrize("chosen", [{}, None], ids=["defaults", "chosen"])
def test_round_trip_through_yaml(technique, chosen: dict | None) -> None:
    options = ON[technique.name] if chosen is None or technique.name == "custom" else chosen
    config = AugmentConfig.model_validate({technique.name: options})
    assert isinstance(getattr(config, technique.name), technique.config)
    assert load(AugmentConfig, dump(config)) == config
    assert load(AugmentConfig, yaml.safe_dump(config.model_dump(mode="json"))) == config
    assert AugmentConfig.model_validate(config.model_dump()) == config


def test_everything_is_off_by_default() -> None:
    on = {name: section for name, section in AugmentConfig() if section is not None}
    assert list(on) == ["resize"]
    assert on["resize"].interpolation == "bilinear"


@techniques
def test_sections_read_as_cards(technique) -> None:
    card = technique.config.__doc__
    for word in ("Helps:", "Hurts:", "Source:"):
        assert word in card
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
        "mixup: {}",
    ],
)
def test_nonsense_is_refused(line: str) -> None:
    named = ".".join(re.findall(r"(\w+):", line))
    with pytest.raises(UserError, match=re.escape(named)):
        load(AugmentConfig, line)


def test_config_needs_no_torch() -> None:
    code = "import sys, seedwise.augment.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
