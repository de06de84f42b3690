"""Networks made for images of one size are built for the one asked for, or refused in one line before training."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from seedwise.base.errors import UserError
from seedwise.base.files import write_json
from seedwise.models.build import BuiltModel, build_model, load_model
from seedwise.models.config import ModelConfig
from seedwise.models.export_config import timm_config
from seedwise.recipe.schema import Recipe
from seedwise.run import resolve

VIT = "vit_tiny_patch16_224"


def build(name: str, size: int, weights: str = "none", **others: int) -> BuiltModel:
    config = ModelConfig(name=f"timm:{name}", weights=weights)
    return build_model(config, num_classes=5, seed=0, image_sizes={"train.image_size": size, **others})


def answers(module: torch.nn.Module, size: int) -> torch.Tensor:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        out: torch.Tensor = module.eval()(images)
    return out


def written(built: BuiltModel, size: int, folder: Path) -> Path:
    """A folder as a run leaves it."""
    folder.mkdir()
    config = timm_config(built, num_classes=5, classes=list("abcde"), size=size, interpolation="bilinear")
    write_json(folder / "config.json", config)
    save_file({name: t.contiguous() for name, t in built.module.state_dict().items()}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("name", "size", "told"),
    [
        (VIT, 32, 32),
        pytest.param("swin_tiny_patch4_window7_224", 64, 64, marks=pytest.mark.slow),
        ("mixer_s32_224", 32, 32),
        pytest.param("crossvit_9_240", 32, 240, marks=pytest.mark.slow),  # which scales every image to its own size
        ("resnet18", 32, None),
    ],
)
def test_built_for_the_size_and_read_back_by_timm_and_by_us(
    name: str, size: int, told: int | None, tmp_path: Path
) -> None:
    built = build(name, size)
    assert dict(built.model_args) == ({} if told is None else {"img_size": told})
    folder = written(built, size, tmp_path / "run")
    expected = answers(built.module, size)
    assert torch.equal(answers(timm.create_model(f"local-dir:{folder}", pretrained=True), size), expected)
    assert torch.equal(answers(load_model(folder).module, size), expected)


def test_the_size_that_it_is_made_for_changes_nothing() -> None:
    torch.manual_seed(0)
    assert dict(build("test_vit", 160).model_args) == {"img_size": 160}
    here, there = (build(VIT, size).module.state_dict() for size in (32, 224))
    same = [name for name in here if here[name].shape == there[name].shape]
    assert len(same) == len(here) - 1 and all(torch.equal(here[n], there[n]) for n in same if n.startswith("patch"))


@pytest.mark.parametrize(
    ("name", "sizes", "words"),
    [
        (VIT, {"size": 40}, "40 px (train.image_size): they don't divide into its patches of 16 px, as those of 32 or"),
        (VIT, {"size": 8}, "as those of 16 px do; it is made for 224 px: give --img-size 224"),
        ("mixer_s32_224", {"size": 48}, "patches of 32 px, as those of 32 or 64 px do"),
        ("inception_v4", {"size": 64}, "so small that nothing is left of them at its last layers; it is made for 299"),
        ("halonet26t", {"size": 32}, "its layers don't fit at that size (AssertionError); it is made for 256 px"),
        pytest.param(
            *("mobilenetv5_300m_enc", {"size": 32}, "it is no classifier: it answers with [2, 2048, 16, 16]"),
            marks=pytest.mark.slow,
        ),
        (VIT, {"size": 32, "progressive.0.image_size": 16}, "16 px (progressive.0.image_size)"),
        (VIT, {"size": 32, "tta.image_size": 48}, "leave tta.image_size out, or choose another model"),
    ],
)
def test_other_sizes_are_refused_in_one_line(name: str, sizes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as refused:
        build(name, **sizes)
    assert words in str(refused.value) and "\n" not in str(refused.value)
    assert str(refused.value).startswith(f"model timm:{name}: can't take images of")


def test_a_users_own_network_is_tried_at_every_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fixed_net.py").write_text(
        "from torch import nn\n"
        "def build(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    config = ModelConfig.model_validate({"factory": "fixed_net:build"})
    with pytest.raises(UserError, match=r"given images float\[2, 3, 24, 24\], raised"):
        build_model(config, num_classes=5, seed=0, image_sizes={"train.image_size": 32, "tta.image_size": 24})


def test_weights_are_resampled_where_timm_can(tmp_path: Path) -> None:
    torch.manual_seed(0)
    published = timm.create_model(VIT, num_classes=5)
    save_file(published.state_dict(), tmp_path / "vit.safetensors")
    built = build(VIT, 64, str(tmp_path / "vit.safetensors"))
    overlay = {"file": str(tmp_path / "vit.safetensors"), "num_classes": 5}
    theirs = timm.create_model(VIT, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=5, img_size=64)
    assert torch.equal(answers(built.module, 64), answers(theirs, 64))
    assert "resampled for 64 px; its head kept" in built.weights
    # A run at one size is the start of one at another.
    again = build(VIT, 32, str(written(built, 64, tmp_path / "run")))
    assert dict(again.model_args) == {"img_size": 32} and "resampled for 32 px" in again.weights


def test_weights_that_timm_cannot_resample(tmp_path: Path) -> None:
    save_file(timm.create_model("mixer_s32_224", num_classes=5).state_dict(), tmp_path / "mixer.safetensors")
    with pytest.raises(UserError, match=r"made for images of 224 px, and timm can't bring them to 64 px \('blocks"):
        build("mixer_s32_224", 64, str(tmp_path / "mixer.safetensors"))


def test_a_recipe_names_each_size_once_with_the_option_that_asks_for_it() -> None:
    given = {"train": {"image_size": 64}, "progressive": ({"image_size": 32}, {"image_size": 64}), "tta": {}}
    assert resolve.image_sizes(resolve.resolve(Recipe.model_validate(given))) == {
        "train.image_size": 64,
        "progressive.0.image_size": 32,
    }
    assert resolve.image_sizes(Recipe.model_validate({"tta": {"image_size": 72}}))["tta.image_size"] == 72
