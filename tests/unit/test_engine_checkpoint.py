"""Checkpoints: the same bits back, damage noticed, and a kill at the worst moment survived."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from seedwise.base.errors import UserError
from seedwise.engine import checkpoint
from seedwise.optim.config import SGD, AdamW, Muon, OptimConfig
from seedwise.optim.groups import parameter_groups
from seedwise.optim.optimizers import build_optimizer

STATE = {"loss_sum": 0.1 + 0.2, "rows": [{"epoch": 1}], "name": "±"}
TENSORS = {"a/x": torch.arange(6.0).view(2, 3), "a/n": torch.tensor(3), "b/x": torch.ones(2, dtype=torch.bfloat16)}
ALGORITHMS: list[AdamW | SGD] = [AdamW(), SGD(), SGD(momentum=0.0, nesterov=False), Muon()]


def only(folder: Path) -> Path:
    (path,) = folder.glob("*.safetensors")
    return path


def model() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(), nn.LazyLinear(2)
    )
    net(torch.zeros(2, 3, 6, 6))
    return net.to(memory_format=torch.channels_last)


def step(net: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    optimizer.zero_grad()
    net(torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(seed))).pow(2).mean().backward()
    optimizer.step()


def state_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return checkpoint.optimizer_tensors(optimizer)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=["adamw", "sgd", "sgd-plain", "muon"])
def test_training_goes_on_with_the_same_bits_and_layout(algorithm: AdamW | SGD, tmp_path: Path) -> None:
    config = OptimConfig(algorithm=algorithm, lr=0.01, weight_decay=0.1)
    net = model()
    optimizer = build_optimizer(config, parameter_groups(config, net, ()))
    for seed in range(3):
        step(net, optimizer, seed)
    tensors = checkpoint.model_tensors(net, "model") | checkpoint.optimizer_tensors(optimizer)
    checkpoint.save(tmp_path, 3, tensors, STATE)

    twin = model()
    other = build_optimizer(config, parameter_groups(config, twin, ()))
    found = checkpoint.load(tmp_path)
    assert found is not None
    twin.load_state_dict(checkpoint.under(found[0], "model"))
    checkpoint.restore_optimizer(other, found[0])
    assert found[1] == STATE
    for seed in range(3, 6):
        for (name, mine), theirs in zip(twin.state_dict().items(), net.state_dict().values(), strict=True):
            assert torch.equal(mine, theirs), name
            assert mine.stride() == theirs.stride(), name
        assert state_tensors(other).keys() == state_tensors(optimizer).keys()
        for name, value in state_tensors(optimizer).items():
            again = state_tensors(other)[name]
            assert torch.equal(again, value), name
            assert (
                again.is_contiguous(memory_format=torch.channels_last)
                == value.is_contiguous(memory_format=torch.channels_last)
                or value.ndim != 4
            )
            assert again.stride() == value.stride(), name
        step(net, optimizer, seed)
        step(twin, other, seed)


def test_before_the_first_step_there_is_nothing_to_restore(tmp_path: Path) -> None:
    optimizer = build_optimizer(OptimConfig(), model().parameters())
    assert checkpoint.optimizer_tensors(optimizer) == {}
    checkpoint.restore_optimizer(optimizer, {})
    assert checkpoint.load(tmp_path) is None


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, TENSORS, STATE)
    found = checkpoint.load(tmp_path)
    assert found is not None
    tensors, state = found
    assert state == STATE
    assert tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert tensors[name].dtype == value.dtype
        assert torch.equal(tensors[name], value)
    assert checkpoint.under(tensors, "a").keys() == {"x", "n"}


def test_one_checkpoint_at_a_time_and_no_leftovers(tmp_path: Path) -> None:
    for name in ("checkpoint-7-dead.safetensors", ".checkpoint-7.safetensors.x1.tmp", ".checkpoint.json.x2.tmp"):
        (tmp_path / name).write_bytes(b"from a killed writer")
    (tmp_path / "model.safetensors").write_bytes(b"not ours")
    for number in (1, 2, 2):
        checkpoint.save(tmp_path, number, TENSORS, STATE)
    assert len(list(tmp_path.glob("checkpoint-2-*.safetensors"))) == 1
    assert len(list(tmp_path.iterdir())) == 3
    checkpoint.clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    checkpoint.clear(tmp_path)
    assert checkpoint.load(tmp_path) is None


@pytest.mark.parametrize("number", [1, 2], ids=["same step", "next step"])
def test_a_kill_between_tensors_and_pointer(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the same step too: an epoch's end has the step of the checkpoint before its validation."""
    checkpoint.save(tmp_path, 1, TENSORS, STATE)

    class Killed(BaseException):
        pass

    def killed(*args: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpoint, "write_json", killed)
        checkpoint.save(tmp_path, number, TENSORS | {"best/x": torch.ones(3)}, {"other": 1})
    found = checkpoint.load(tmp_path)
    assert found is not None
    assert found[1] == STATE
    assert found[0].keys() == TENSORS.keys()
    checkpoint.save(tmp_path, 3, TENSORS, STATE)
    assert len(list(tmp_path.iterdir())) == 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(in_pointer=st.booleans(), data=st.data())
def test_damage_is_noticed(in_pointer: bool, data: st.DataObject, tmp_path: Path) -> None:
    checkpoint.clear(tmp_path)
    checkpoint.save(tmp_path, 1, TENSORS, STATE)
    path = tmp_path / checkpoint.POINTER if in_pointer else only(tmp_path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), label="truncate"):
        content = content[: data.draw(st.integers(0, len(content) - (2 if in_pointer else 1)))]  # 1: a final newline
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        found = checkpoint.load(tmp_path)
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert in_pointer, "a damaged tensor file was accepted"
    assert found is not None
    assert found[1] == STATE  # the flip was in white space


def test_a_lost_file_is_named(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, TENSORS, STATE)
    lost = only(tmp_path)
    lost.unlink()
    with pytest.raises(UserError, match=f"{lost.name}: missing, .* delete checkpoint.json to train this run anew"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    "content", ["[]", "3", "{}", '{"file": 3, "sha256": ""}', '{"file": "", "sha256": ""}', "null"]
)
def test_a_pointer_that_points_nowhere(content: str, tmp_path: Path) -> None:
    (tmp_path / checkpoint.POINTER).write_text(content)
    with pytest.raises(UserError, match=r"delete checkpoint\.json"):
        checkpoint.load(tmp_path)


def test_a_full_disk_is_the_users_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import SafetensorError

    def full(*args: Any, **options: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    checkpoint.save(tmp_path, 1, TENSORS, STATE)
    with monkeypatch.context() as patch, pytest.raises(UserError, match="No space left on device"):
        patch.setattr(checkpoint, "save_file", full)
        checkpoint.save(tmp_path, 2, TENSORS, STATE)
    assert checkpoint.load(tmp_path) is not None
    assert len(list(tmp_path.iterdir())) == 2
