"""Damage at any place of a file of weights: noticed by its checksum in a run, and never a traceback anywhere."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from seedwise.base.errors import UserError
from seedwise.base.files import sha256_of
from seedwise.models.build import BuiltModel, build_model, load_model
from seedwise.models.config import ModelConfig
from seedwise.models.export_config import timm_config
from seedwise.records.run import DataRecord, ModelRecord, RunRecord, write_record

CLASSES = ("bird", "cat", "dog")
NAME = "timm:test_resnet"
POSITIONS = [*(i / 16 for i in range(16)), 0.9999]
"""Relative places in a file; the first bytes, where headers are, get more below."""


def build(weights: str | Path, name: str = NAME, classes: tuple[str, ...] = CLASSES) -> BuiltModel:
    config = ModelConfig(name=name, weights=str(weights))
    return build_model(config, num_classes=len(classes), seed=0, classes=classes)


@pytest.fixture(scope="module")
def built() -> BuiltModel:
    return build("none")


def write_run(built: BuiltModel, folder: Path, *, record: bool = True) -> Path:
    """The layout that training leaves."""
    folder.mkdir()
    config = timm_config(built, num_classes=len(CLASSES), classes=CLASSES, size=64, interpolation="bilinear")
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    save_file(built.module.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    if record:
        write_record(folder, record_of(built, folder))
    return folder


def record_of(built: BuiltModel, folder: Path) -> RunRecord:
    data = DataRecord(name="pets", source="/pets", fingerprint="0", classes=list(CLASSES), splits={"train": 3})
    model = ModelRecord(
        name=NAME, architecture=built.architecture, weights=built.weights, mean=built.mean, std=built.std
    )
    files = {name: sha256_of(folder / name) for name in ("config.json", "model.safetensors")}
    return RunRecord(
        status="finished",
        recipe="custom",
        seed=0,
        data=data,
        model=model,
        parameters=1,
        machine={},
        versions={},
        files=files,
    )


def places(size: int) -> list[int]:
    """Where to damage a file of this size: everywhere, and densely at both ends."""
    dense = [*range(0, min(size, 160), 9), *range(max(0, size - 60), size, 13)]
    return sorted({*dense, *(int(place * (size - 1)) for place in POSITIONS)})


def outcome(load: Callable[[], BuiltModel]) -> BuiltModel | None:
    """The network, or None when it was refused in one line; any other exception is the test's failure."""
    try:
        return load()
    except UserError as error:
        assert "\n" not in str(error)
        return None


def flips(content: bytes) -> list[bytes]:
    draws = random.Random(0)
    bits = {place: draws.choice((1, 2, 4, 8, 16, 32, 64, 128, 255)) for place in places(len(content))}
    return [content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :] for at, bit in bits.items()]


def cuts(content: bytes) -> list[bytes]:
    return [content[:place] for place in places(len(content))]


@pytest.mark.parametrize("damage", [flips, cuts])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_run_notices_every_damage(
    built: BuiltModel, name: str, damage: Callable[[bytes], list[bytes]], tmp_path: Path
) -> None:
    run = write_run(built, tmp_path / "run")
    for content in damage((run / name).read_bytes()):
        (run / name).write_bytes(content)
        for load in (lambda: build(run), lambda: build(run / "model.safetensors"), lambda: load_model(run)):
            with pytest.raises(UserError, match="checksum") as caught:
                load()
            assert str(run / name) in str(caught.value)


@pytest.mark.parametrize("damage", [flips, cuts])
def test_a_damaged_record_is_refused_or_harmless(
    built: BuiltModel, damage: Callable[[bytes], list[bytes]], tmp_path: Path
) -> None:
    run = write_run(built, tmp_path / "run")
    for content in damage((run / "record.json").read_bytes()):
        (run / "record.json").write_bytes(content)
        loaded = outcome(lambda: load_model(run))
        assert loaded is None or same(loaded, built.module.state_dict())


@pytest.mark.parametrize("damage", [flips, cuts])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_folder_without_a_record_loads_or_is_refused(
    built: BuiltModel, name: str, damage: Callable[[bytes], list[bytes]], tmp_path: Path
) -> None:
    folder = write_run(built, tmp_path / "run", record=False)
    for content in damage((folder / name).read_bytes()):
        (folder / name).write_bytes(content)
        outcome(lambda: build(folder))
        outcome(lambda: load_model(folder))


@pytest.mark.parametrize("damage", [flips, cuts])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_torch_file_loads_or_is_refused(
    built: BuiltModel, legacy: bool, damage: Callable[[bytes], list[bytes]], tmp_path: Path
) -> None:
    file = tmp_path / "weights.pth"
    torch.save(built.module.state_dict(), file, _use_new_zipfile_serialization=not legacy)
    for content in damage(file.read_bytes()):
        file.write_bytes(content)
        outcome(lambda: build(file))


def same(built: BuiltModel, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, state[name]) for name, tensor in built.module.state_dict().items())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_classes", -1),
        ("num_classes", True),
        ("num_classes", 10**15),
        ("num_classes", "3"),
        ("architecture", "no_such_net"),
        ("architecture", "test_resnet.no_such_tag"),
        ("architecture", "factory:no_such_package:build"),
        ("architecture", "factory:nonsense"),
        ("architecture", ["test_resnet"]),
        ("architecture", ""),
        ("model_args", {"no_such_argument": 1}),
        ("model_args", {"in_chans": "three"}),
        ("model_args", {"block_args": {"x": 1}}),
        ("pretrained_cfg", {"mean": [0.5, 0.5], "std": [1, 1, 1]}),
        ("pretrained_cfg", {"mean": [0.5, 0.5, 0.5], "std": [1, 0, 1]}),
        ("pretrained_cfg", {"mean": [0.5, 0.5, float("nan")]}),
        ("pretrained_cfg", 7),
        ("label_names", {"a": 1}),
    ],
)
def test_nonsense_in_a_config_loads_or_is_refused(built: BuiltModel, key: str, value: object, tmp_path: Path) -> None:
    folder = write_run(built, tmp_path / "run", record=False)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    harmless = value == 7 or key == "label_names"
    assert (outcome(lambda: load_model(folder)) is not None) == harmless
    outcome(lambda: build(folder))


@pytest.mark.parametrize("text", ["", "[]", "null", "[" * 100_000, '{"architecture": 1e999}', "\ufeff{}"])
def test_a_config_of_another_kind(built: BuiltModel, text: str, tmp_path: Path) -> None:
    folder = write_run(built, tmp_path / "run", record=False)
    (folder / "config.json").write_text(text)
    assert outcome(lambda: load_model(folder)) is None


def test_numbers_that_are_none_and_tensors_of_another_kind(built: BuiltModel, tmp_path: Path) -> None:
    state = built.module.state_dict()
    save_file({**state, "fc.bias": torch.full((3,), torch.nan)}, tmp_path / "nan.safetensors")
    with pytest.raises(UserError, match=r"'fc.bias' holds NaN or infinity"):
        build(tmp_path / "nan.safetensors")
    save_file({**state, "fc.bias": torch.ones(3, dtype=torch.int32)}, tmp_path / "int.safetensors")
    with pytest.raises(UserError, match=r"'fc.bias' is int32 where float32 is needed"):
        build(tmp_path / "int.safetensors")


def test_a_run_that_is_not_finished_has_no_weights(built: BuiltModel, tmp_path: Path) -> None:
    run = write_run(built, tmp_path / "run")
    record = record_of(built, run)
    (run / "model.safetensors").unlink()
    write_record(run, record.model_copy(update={"status": "interrupted"}))
    for load in (lambda: build(run), lambda: load_model(run)):
        with pytest.raises(UserError, match=r"a run without weights yet \(status: interrupted\); resume it first"):
            load()


def test_the_head_goes_on_with_the_same_classes_only(built: BuiltModel, tmp_path: Path) -> None:
    run = write_run(built, tmp_path / "run")
    kept = build(run)
    assert "its head kept, 3 classes" in kept.weights
    assert same(kept, built.module.state_dict())
    other = build(run, classes=("bird", "cat", "fish"))
    assert "new head for 3 classes, the weights' classes are others: 'dog', not 'fish'" in other.weights
    assert not torch.equal(other.module.fc.weight, built.module.fc.weight + 1)  # type: ignore[arg-type, operator]
    more = build(run, classes=("bird", "cat", "dog", "fish"))
    assert "new head for 4 classes, the weights have 3 classes" in more.weights
    with pytest.raises(UserError, match=r"these are weights of timm:test_resnet, and the model is small; give -m timm"):
        build(run, "small")
