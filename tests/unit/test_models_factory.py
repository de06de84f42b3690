"""A user's own network by import path: built as seeded, tried, refused in one line, and loaded again from its run."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from seedwise.base.errors import UserError
from seedwise.models.build import BuiltModel, build_model, load_model
from seedwise.models.config import ModelConfig, resolve_weights
from seedwise.models.export_config import timm_config

CODE = """
import random
import numpy as np
import timm
import torch
from torch import nn

class Net(nn.Module):
    mean, std = (0.1, 0.2, 0.3), [0.5, 0.6, 0.7]

    def __init__(self, num_classes, dropout=0.0):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(self.drop(self.body(x)))

def build(num_classes):
    return Net(num_classes)

def lazy(num_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))

def numpy_drawn(num_classes):
    net = Net(num_classes)
    net.head.bias.data[0] = float(np.random.rand()) + random.random()
    return net

def wrapped(num_classes, drop_path=0.0):
    return timm.create_model("test_efficientnet", num_classes=num_classes, drop_path_rate=drop_path)

def raises(num_classes):
    raise KeyError("no such width")

def leaves(num_classes):
    raise SystemExit(3)

def no_module(num_classes):
    return [num_classes]

def no_argument():
    return Net(10)

def other_classes(num_classes):
    return Net(num_classes + 1)

def integers(num_classes):
    return nn.Sequential(Net(num_classes), Round())

def two_outputs(num_classes):
    return nn.Sequential(Net(num_classes), Pair())

def fixed(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))

def black_and_white(num_classes):
    net = Net(num_classes)
    net.mean = 0.5
    return net

class Round(nn.Module):
    def forward(self, x):
        return x.long()

class Pair(nn.Module):
    def forward(self, x):
        return x, x

number = 7
"""


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package in the current folder, which is not on the Python path."""
    folder = tmp_path / "my_pkg"
    folder.mkdir()
    (folder / "nets.py").write_text(CODE)
    (folder / "broken.py").write_text("def build(:\n")
    (folder / "needs.py").write_text("import not_installed_anywhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "my_pkg"]:
        del sys.modules[name]


def build(callable: str = "build", *, seed: int = 0, size: int | None = None, **fields: Any) -> BuiltModel:
    path = callable if ":" in callable else f"my_pkg.nets:{callable}"
    config = ModelConfig.model_validate({"factory": path, **fields})
    return build_model(config, num_classes=10, seed=seed, image_sizes={"train.image_size": size} if size else {})


def write_run(built: BuiltModel, folder: Path, classes: int = 10) -> Path:
    folder.mkdir()
    labels = [str(index) for index in range(classes)]
    config = timm_config(built, num_classes=classes, classes=labels, size=32, interpolation="bilinear")
    (folder / "config.json").write_text(json.dumps(config))
    save_file(built.module.state_dict(), folder / "model.safetensors")
    return folder


def equal(left: BuiltModel, right: BuiltModel) -> bool:
    other = right.module.state_dict()
    return all(torch.equal(tensor, other[name]) for name, tensor in left.module.state_dict().items())


@pytest.mark.parametrize("callable", ["build", "lazy", "numpy_drawn", "Net", "wrapped"])
def test_the_seed_alone_decides(callable: str) -> None:
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, again, other = build(callable), build(callable), build(callable, seed=1)
    assert equal(first, again)
    assert not equal(first, other)
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])
    assert all(part.training for part in first.module.modules())


def test_the_network_says_how_it_is_fed() -> None:
    built = build("Net", dropout=0.4)
    assert built.mean == (0.1, 0.2, 0.3) and built.std == (0.5, 0.6, 0.7)
    assert built.module.drop.p == 0.4
    assert built.architecture == "factory:my_pkg.nets:Net"
    assert built.weights.startswith("none (my_pkg.nets:Net made them; nets.py sha256 ")
    lazy, wrapped = build("lazy"), build("wrapped")
    assert lazy.mean == (0.485, 0.456, 0.406)
    assert (wrapped.mean, wrapped.pretrained_size) == (timm.get_pretrained_cfg("test_efficientnet").mean, 160)


def test_regularization_reaches_a_callable_that_takes_it() -> None:
    rates = [getattr(part, "drop_prob", 0.0) for part in build("wrapped", drop_path=0.3).module.modules()]
    assert max(rates) > 0.2
    with pytest.raises(UserError, match=r"takes no drop_path, and model.drop_path is 0.3; set it to 0"):
        build("build", drop_path=0.3)


@pytest.mark.parametrize("callable", ["build", "lazy", "wrapped"])
def test_a_run_is_loaded_again_and_serves_as_weights(callable: str, tmp_path: Path) -> None:
    built = build(callable, size=32)
    run = write_run(built, tmp_path / "run")
    loaded = load_model(run)
    assert equal(loaded, built) and not loaded.module.training
    assert (loaded.mean, loaded.std, loaded.architecture) == (built.mean, built.std, built.architecture)
    continued = build(callable, size=32, weights=str(run), seed=1)
    assert equal(continued, built)
    assert "its head kept, 10 classes" in continued.weights


def test_weights_of_other_classes_get_a_new_head(tmp_path: Path) -> None:
    config = ModelConfig(factory="my_pkg.nets:Net")
    run = write_run(build_model(config, num_classes=7, seed=3), tmp_path / "run", classes=7)
    built, again = build("Net", weights=str(run)), build("Net", weights=str(run))
    assert "new head for 10 classes, the weights have 7 classes" in built.weights
    assert equal(built, again)
    assert torch.equal(built.module.body[0].weight, load_model(run).module.body[0].weight)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("absent.nets:build", r"there is no module 'absent' in .* start seedwise in the folder that holds it"),
        ("my_pkg.missing:build", r"there is no module 'my_pkg.missing'"),
        ("my_pkg.broken:build", r"importing my_pkg.broken raised SyntaxError: .*broken.py, line 1"),
        ("my_pkg.needs:build", r"importing my_pkg.needs raised ModuleNotFoundError: .*anywhere' \(needs.py:1\)"),
        ("my_pkg.nets:biuld", r"my_pkg.nets has no 'biuld'; did you mean 'build'\?"),
        ("my_pkg.nets:zzz", r"my_pkg.nets has no 'zzz'; see .*nets.py"),
        ("my_pkg.nets:number", r"is int, which can't be called"),
        ("my_pkg.nets:raises", r"called with num_classes=10, it raised KeyError: 'no such width' \(nets.py:\d+\)"),
        ("my_pkg.nets:leaves", r"raised SystemExit: 3 \(nets.py"),
        ("my_pkg.nets:no_argument", r"raised TypeError: no_argument\(\) got an unexpected keyword"),
        ("my_pkg.nets:no_module", r"returned list; return a torch.nn.Module"),
        ("my_pkg.nets:other_classes", r"returns float32\[2, 11\]; expected logits float\[2, 10\]"),
        ("my_pkg.nets:integers", r"returns int64\[2, 10\]"),
        ("my_pkg.nets:two_outputs", r"returns tuple; expected logits"),
        ("my_pkg.nets:fixed", r"given images float\[2, 3, 64, 64\], raised RuntimeError: mat1 and mat2"),
        ("my_pkg.nets:black_and_white", r"mean must be three numbers per channel, it is 0.5"),
    ],
)
def test_what_is_wrong_is_one_line(factory: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build(factory)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"model.factory {factory}: ")


def test_a_network_for_one_size_is_tried_at_the_recipes() -> None:
    assert build("fixed", size=32).module(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_a_run_of_code_that_is_gone_says_so(tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(build(), tmp_path / "run")
    monkeypatch.delitem(sys.modules, "my_pkg.nets")
    (package / "nets.py").unlink()
    with pytest.raises(UserError, match=r"model.factory my_pkg.nets:build: there is no module 'my_pkg.nets'"):
        load_model(run)


def test_the_factory_stands_in_the_recipe_for_name_and_published_weights() -> None:
    config = ModelConfig.model_validate({"name": "efficientnet_lite0", "weights": "pip", "factory": "a.b:c.d"})
    assert (config.name, config.weights) == ("factory:a.b:c.d", "none")
    assert ModelConfig.model_validate(config.model_dump()) == config
    assert resolve_weights(ModelConfig(factory="a:b")) == "none"
    assert ModelConfig(factory="a:b", weights="w.pth").weights == "w.pth"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"factory": "my_pkg.nets.build"}, "no import path; write module:callable, did you mean 'my_pkg.nets:build'"),
        ({"factory": "nets.py:build()"}, "no import path"),
        ({"factory": ""}, "no import path"),
        ({"name": "factory:my_pkg.nets:build"}, "follows from model.factory; set that to 'my_pkg.nets:build'"),
    ],
)
def test_impossible_factories_are_refused(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelConfig.model_validate(fields)
