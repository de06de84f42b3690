"""Runs with an average of the weights, and with parameter groups: what is stored, and that no stop changes a bit."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import LEAN, TINY, Cli, call, killed_at
from safetensors.torch import load_file
from test_loop import ADAMW, EPOCHS, STEPS_PER_EPOCH, demand_equal, no_fsync, scripted, stop_after
from test_loop import outcome as raw_outcome
from test_loop import prepare as raw_prepare
from torch import Tensor

import seedwise
from seedwise.base.errors import Interrupted, UserError
from seedwise.base.files import sha256_of
from seedwise.engine import checkpoint, loop
from seedwise.engine.loop import fit
from seedwise.engine.protocols import Observer
from seedwise.engine.setup import Setup, State
from seedwise.optim.config import SGD, EmaConfig, Muon, OptimConfig
from seedwise.optim.ema import Ema
from seedwise.optim.groups import parameter_groups
from seedwise.optim.optimizers import build_optimizer
from seedwise.records.run import EpochRow

__all__ = ["no_fsync"]  # the fixture

GROUPS = ADAMW.model_copy(update={"layer_decay": 0.5, "head_lr": 0.05, "decay_norms_and_biases": False})
MUON = ADAMW.model_copy(update={"algorithm": Muon(matrix_lr=0.2)})
GROUPS_SGD = GROUPS.model_copy(update={"algorithm": SGD()})
ON = ("-s", "optim.ema={decay: 0.9}")
GROUPED = ("-s", "optim.layer_decay=0.7", "-s", "optim.head_lr=0.01", "-s", "optim.decay_norms_and_biases=false")


def prepare(folder: Path, *, optim: OptimConfig = ADAMW, **options: Any) -> Setup:
    setup = raw_prepare(folder, optim=optim, **options)
    setup.model.group_matcher = lambda coarse: {"conv": "conv", "norm": "norm"}  # type: ignore[assignment]
    groups = parameter_groups(optim, setup.model, ("head",))
    ema = Ema(EmaConfig(decay=0.8), setup.model)
    return replace(setup, optimizer=build_optimizer(optim, groups), average=ema)


def averages(setup: Setup) -> dict[str, Tensor]:
    assert setup.average is not None
    return {name: value.clone() for name, value in setup.average.module.state_dict().items()}


def outcome(setup: Setup, state: State) -> dict[str, Any]:
    found = raw_outcome(setup, state)
    return {**found, "weights": found["weights"] | {f"ema/{name}": t for name, t in averages(setup).items()}}


# ------------------------------------------------------------------------------------------------------------- the loop


@pytest.mark.parametrize(
    ("optim", "select"), [(GROUPS, "best"), (GROUPS_SGD, "last"), (ADAMW, "last"), (MUON, "last")], ids=str
)
def test_stopped_at_every_moment_it_ends_with_the_same_bits(optim: OptimConfig, select: str, tmp_path: Path) -> None:
    options = {"optim": optim, "select": select}
    whole = prepare(tmp_path / "whole", **options)
    assert len(whole.optimizer.param_groups) == {ADAMW: 1, MUON: 2}.get(optim, 4)
    expected = outcome(whole, fit(whole, observer=Observer()))
    assert all(row["val_ema"] is not None for row in expected["rows"])
    for asked in range(1, EPOCHS * (STEPS_PER_EPOCH + 2) + 1):
        folder = tmp_path / str(asked)
        with pytest.raises(Interrupted):
            fit(prepare(folder, **options), observer=Observer(), should_stop=stop_after(asked))
        again = prepare(folder, **options)
        demand_equal(outcome(again, fit(again, observer=Observer())), expected)


class Killed(BaseException):
    """A kill -9: nothing of the loop's runs after it."""


@pytest.mark.parametrize("where", ["training_step", "score", "write_json"])
def test_killed_anywhere_it_ends_with_the_same_bits(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"checkpoint_every": 2, "select": "best", "optim": GROUPS}
    whole = prepare(tmp_path / "whole", **options)
    expected = outcome(whole, fit(whole, observer=Observer()))
    target = checkpoint if where == "write_json" else loop
    original = getattr(target, where)
    for kill_at in range(1, EPOCHS * STEPS_PER_EPOCH + 1):
        calls = 0

        def dying(*args: Any, _at: int = kill_at, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == _at:
                raise Killed
            return original(*args, **kwargs)

        folder = tmp_path / str(kill_at)
        with monkeypatch.context() as patch:
            patch.setattr(target, where, dying)
            try:
                fit(prepare(folder, **options), observer=Observer())
                break  # fewer calls than this in a whole run
            except Killed:
                pass
        again = prepare(folder, **options)
        demand_equal(outcome(again, fit(again, observer=Observer())), expected)
    assert kill_at > EPOCHS


@pytest.mark.parametrize("best", [1, 2, 3])
def test_with_select_best_the_average_is_that_of_the_same_epoch(
    best: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tops = [(0.9 if epoch == best else 0.1, 1 - epoch / 10) for epoch in (1, 2, 3)]
    scripted([top for pair in tops for top in pair], monkeypatch)
    kept: list[dict[str, Tensor]] = []
    setup = prepare(tmp_path, select="best")

    class Keep(Observer):
        def on_epoch(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
            kept.append(averages(setup))

    state = fit(setup, observer=Keep())
    assert state.best_epoch == best  # the average's scores have no say
    assert [row.val_ema.top1 for row in state.epochs if row.val_ema] == [0.9, 0.8, 0.7]
    assert all(torch.equal(value, kept[best - 1][name]) for name, value in averages(setup).items())
    assert not torch.equal(kept[0]["head.weight"], kept[2]["head.weight"])


def test_it_changes_nothing_for_the_raw_weights(tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 17, "select": "best"}  # 51 steps
    base, arm = raw_prepare(tmp_path / "base", **options), prepare(tmp_path / "arm", **options)
    expected, found = (raw_outcome(setup, fit(setup, observer=Observer())) for setup in (base, arm))
    for row in found["rows"]:
        assert row["val_ema"] != row["val"]
        row["val_ema"] = None
    demand_equal(found, expected)
    assert not torch.equal(averages(arm)["head.weight"], arm.model.state_dict()["head.weight"])


def test_without_it_checkpoints_are_as_ever(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        fit(raw_prepare(tmp_path, select="best"), observer=Observer(), should_stop=stop_after(6))
    tensors, _ = checkpoint.load(tmp_path) or ({}, {})
    assert {name.split("/")[0] for name in tensors} == {"model", "optimizer", "best"}
    assert not [name for name in tensors if "ema" in name]


# ---------------------------------------------------------------------------------------------------------- whole runs


@pytest.fixture(scope="session")
def averaged(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with everything on; not to be touched."""
    folder = tmp_path_factory.mktemp("averaged") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEDWISE_CACHE", str(cache))
        assert call("train", *LEAN, *ON, *GROUPED, "-o", folder) == 0
    return folder


def record_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "record.json").read_text())
    return content


def test_what_a_run_records(averaged: Path) -> None:
    record = record_of(averaged)
    assert record["test_evaluations"] == 2
    assert record["files"]["ema.safetensors"] == sha256_of(averaged / "ema.safetensors")
    assert set(record["ema"]) == {"kind", "val", "test", "distance"} and record["ema"]["kind"] == "ema"
    assert record["ema"]["distance"] > 0
    assert record["ema"]["val"] == record["epochs"][-1]["val_ema"]
    assert record["ema"]["test"] != record["final"]["test"]
    techniques = record["techniques"]
    assert techniques["ema"] == {"distance": record["ema"]["distance"]}
    assert techniques["layer_decay"] == {"layers": 7, "least_scale": pytest.approx(0.7**7)}
    assert techniques["head_lr"]["scale"] == pytest.approx(0.01 / seedwise.load(averaged).recipe.optim.lr)
    assert techniques["decay_norms_and_biases"]["tensors_excluded"] > 10
    raw, average = (load_file(averaged / f"{name}.safetensors") for name in ("model", "ema"))
    assert raw.keys() == average.keys()
    names = [name for name, _ in seedwise.load(averaged).model.named_parameters()]
    apart = torch.cat([(raw[n].double() - average[n].double()).flatten() for n in names]).norm()
    size = torch.cat([raw[n].double().flatten() for n in names]).norm()
    assert float(apart / size) == pytest.approx(record["ema"]["distance"], rel=1e-9)


def test_the_average_is_a_network_and_its_logits_are_stored(averaged: Path) -> None:
    run = seedwise.load(averaged)
    ids, targets, logits = run.logits("test_ema")
    assert np.array_equal(ids, run.logits("test")[0]) and np.array_equal(targets, run.logits("test")[1])
    assert (logits.argmax(1) == targets).mean() == pytest.approx(record_of(averaged)["ema"]["test"]["top1"], abs=0.01)
    stored = load_file(averaged / "ema.safetensors")
    assert all(torch.equal(value, stored[name]) for name, value in run.ema_model.state_dict().items())
    assert not run.ema_model.training and run.model is not run.ema_model
    assert not torch.equal(run.model.state_dict()["classifier.weight"], stored["classifier.weight"])


def test_its_scores_are_printed_beside_the_others(cli: Cli, averaged: Path) -> None:
    lines = cli("resume", averaged).out.splitlines()
    assert [line[:8].rstrip() for line in lines[1:6]] == ["train", "val", "test", "val EMA", "test EMA"]
    assert lines[5].split()[2] == f"{record_of(averaged)['ema']['test']['top1']:.4f}"
    top1 = record_of(averaged)["final"]["test"]["top1"]
    assert lines[6].startswith(f"test top-1 {100 * top1:.2f}") or f"{top1:.4f}" in lines[6], lines[6]


@pytest.mark.parametrize("content", [b"", b"junk", None])
def test_a_damaged_or_missing_average_is_named(cli: Cli, averaged: Path, tmp_path: Path, content: bytes | None) -> None:
    run = Path(shutil.copytree(averaged, tmp_path / "run"))
    (run / "ema.safetensors").unlink()
    if content is not None:
        (run / "ema.safetensors").write_bytes(content)
        assert "ema.safetensors: damaged" in cli("resume", run).line
    else:
        assert cli("resume", run).code == 0  # it may be deleted as the other weights may
    with pytest.raises(UserError, match=r"ema\.safetensors: (damaged|missing)"):
        _ = seedwise.load(run).ema_model
    assert seedwise.load(run).model is not None


def test_a_run_without_one_has_none(finished: Path) -> None:
    assert record_of(finished)["ema"] is None and not (finished / "ema.safetensors").exists()
    with pytest.raises(UserError, match=r"has no average of its weights; train with -s 'optim\.ema=\{\}'$"):
        _ = seedwise.load(finished).ema_model


def test_a_run_may_start_from_an_average(cli: Cli, averaged: Path) -> None:
    weights = averaged / "ema.safetensors"
    assert cli("train", *LEAN, "-s", f"model.weights={weights}", "-o", "next").code == 0
    assert "ema.safetensors" in record_of(Path("next"))["model"]["weights"]
    assert "its head kept" in record_of(Path("next"))["model"]["weights"]


@pytest.mark.slow
def test_kill_9_then_resume_gives_the_same_files(cli: Cli, averaged: Path) -> None:
    killed_at(4, "train", *LEAN, *ON, *GROUPED, "-o", "run")
    assert cli("resume", "run").code == 0
    for name in ("model.safetensors", "ema.safetensors", "predictions.npz"):
        assert sha256_of(Path("run") / name) == sha256_of(averaged / name), name


def test_switched_on_the_raw_weights_are_the_same_file(cli: Cli, whole_once: Path) -> None:
    assert cli("train", *LEAN, *ON, "-o", "run").code == 0
    assert sha256_of(Path("run/model.safetensors")) == sha256_of(whole_once / "model.safetensors")
    final, expected = (record_of(folder)["final"] for folder in (Path("run"), whole_once))
    assert final == expected


def test_a_dry_run_counts_it(cli: Cli) -> None:
    assert cli("train", "digits", *TINY, *ON, *GROUPED, "--dry-run").code == 0


OWN = """
from torch import nn

def build(num_classes):
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(8, num_classes))

def headless(num_classes):
    return nn.Sequential(build(num_classes), nn.Flatten(), nn.Linear(num_classes, 2 * num_classes), nn.GLU())
"""


@pytest.mark.parametrize(
    ("factory", "setting", "message"),
    [("build", "layer_decay=0.8", "optim.layer_decay: "), ("headless", "head_lr=0.1", "optim.head_lr: ")],
)
def test_own_networks_that_do_not_say_enough(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, factory: str, setting: str, message: str
) -> None:
    Path(f"nets_{factory}.py").write_text(OWN)
    own = f"model.factory=nets_{factory}:{factory}"
    answer = cli("train", *LEAN[:1], *LEAN[3:], "-s", own, "-s", f"optim.{setting}", "-o", "run")
    assert answer.code == 2 and message in answer.line
    assert not Path("run").exists()
    assert cli("train", *LEAN[:1], *LEAN[3:], "-s", own, *ON, "-o", "run").code == 0
