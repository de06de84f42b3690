"""Runs with stochastic weight averaging: what is stored, and that no stop changes a bit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import LEAN, Cli
from safetensors.torch import load_file
from test_loop import (
    ADAMW,
    CLASSES,
    EPOCHS,
    STEPS_PER_EPOCH,
    TRAIN,
    Notes,
    demand_equal,
    no_fsync,
    scripted,
    stop_after,
)
from test_loop import outcome as raw_outcome
from test_loop import prepare as raw_prepare
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

import seedwise
from seedwise.base.errors import Interrupted
from seedwise.base.files import sha256_of
from seedwise.engine import checkpoint
from seedwise.engine.loop import augmented, epoch_steps, fit
from seedwise.engine.protocols import Observer
from seedwise.engine.setup import Setup, State
from seedwise.optim.config import SwaConfig
from seedwise.optim.swa import Swa
from seedwise.records.run import read_record
from seedwise.study.progress import trial_folder
from seedwise.study.record import read_study

__all__ = ["no_fsync"]  # the fixture

ON = SwaConfig(start=0.4, every=2, lr=0.01)
"""Of 9 steps: after 5, 7 and 9."""


def prepare(folder: Path, *, swa: SwaConfig = ON, **options: Any) -> Setup:
    setup = raw_prepare(folder, optim=ADAMW.model_copy(update={"swa": swa}), **options)
    average = Swa(swa, setup.model, steps_per_epoch=setup.steps_per_epoch, total_steps=setup.total_steps)
    return replace(setup, average=average)


def average_of(setup: Setup) -> dict[str, Tensor]:
    assert setup.average is not None
    return {name: value.clone() for name, value in setup.average.module.state_dict().items()}


def outcome(setup: Setup, state: State) -> dict[str, Any]:
    found = raw_outcome(setup, state)
    found["weights"] |= {f"swa/{name}": value for name, value in average_of(setup).items()}
    return {**found, "estimated": state.estimated_images}


@pytest.mark.parametrize("select", ["best", "last"])
def test_stopped_at_every_moment_it_ends_with_the_same_bits(select: str, tmp_path: Path) -> None:
    """In the estimate of the statistics too, which begins anew."""
    whole = prepare(tmp_path / "whole", select=select)
    expected = outcome(whole, fit(whole, observer=Observer()))
    assert expected["estimated"] == TRAIN and all(row["val_ema"] is None for row in expected["rows"])
    for asked in range(1, EPOCHS * (STEPS_PER_EPOCH + 1) + STEPS_PER_EPOCH + 1):
        folder = tmp_path / str(asked)
        with pytest.raises(Interrupted):
            fit(prepare(folder, select=select), observer=Observer(), should_stop=stop_after(asked))
        again = prepare(folder, select=select)
        demand_equal(outcome(again, fit(again, observer=Observer())), expected)
    assert asked == 15


def test_the_mean_is_that_of_the_steps_and_its_statistics_those_of_the_last_epochs_images(tmp_path: Path) -> None:
    setup, weights, seen = prepare(tmp_path), [], Notes()
    average = setup.average
    assert isinstance(average, Swa)

    class Watched(Swa):
        def update(self, model: nn.Module, step: int) -> None:
            if step in (5, 7, 9):
                weights.append({name: p.detach().double() for name, p in model.named_parameters()})
            super().update(model, step)

    average.__class__ = Watched
    state = fit(setup, observer=seen)
    counts = setup.augment.state()["count"]
    assert counts == EPOCHS * TRAIN  # those of the training alone
    for name, mean in average.module.named_parameters():
        torch.testing.assert_close(mean.double(), sum(w[name] for w in weights) / 3, rtol=1e-5, atol=1e-6)  # type: ignore[arg-type]
    assert [done for name, done, total in seen.phases if "BatchNorm" in name and total == TRAIN] == [6, 11, 16]
    found, again = average.module.state_dict(), prepare(tmp_path / "again").model
    again.load_state_dict(found)
    again.dropout.p = 0.0  # type: ignore[union-attr, assignment]  # behind the only BatchNorm
    update_bn([augmented(setup, part, EPOCHS - 1).images for part in epoch_steps(setup, EPOCHS - 1)], again)
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, found[name], rtol=1e-5, atol=1e-6)
    assert [row.lr for row in state.epochs][1:] == [0.01, 0.01]


def test_the_choice_of_an_epoch_leaves_the_mean_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = prepare(tmp_path / "last")
    fit(expected, observer=Observer())
    scripted([0.9, 0.1, 0.2], monkeypatch)
    setup = prepare(tmp_path / "best", select="best")
    assert fit(setup, observer=Observer()).best_epoch == 1
    mine, theirs = average_of(setup), average_of(expected)
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    assert not torch.equal(setup.model.state_dict()["head.weight"], expected.model.state_dict()["head.weight"])


def test_before_its_start_a_checkpoint_holds_it_and_a_network_without_batch_norm_needs_no_estimate(
    tmp_path: Path,
) -> None:
    setup = prepare(tmp_path / "none")
    bare = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    average = Swa(ON, bare, steps_per_epoch=3, total_steps=9)
    optimizer = torch.optim.SGD(bare.parameters(), lr=0.1)
    setup = replace(setup, model=bare, optimizer=optimizer, average=average)
    seen = Notes()
    state = fit(setup, observer=seen)
    assert state.estimated_images == 0 and not [name for name, _, _ in seen.phases if "BatchNorm" in name]
    with pytest.raises(Interrupted):
        fit(prepare(tmp_path / "stopped"), observer=Observer(), should_stop=stop_after(2))
    tensors, _ = checkpoint.load(tmp_path / "stopped") or ({}, {})
    assert "ema/head.weight" in tensors


# ---------------------------------------------------------------------------------------------------------- whole runs


def record_of(folder: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(folder) / "record.json").read_text())
    return content


def test_what_a_run_records(cli: Cli, whole_once: Path) -> None:
    answer = cli("train", *LEAN, "-s", "optim.swa={every: 1, start: 0.5}", "-o", "run")
    assert answer.code == 0
    assert [line[:8].rstrip() for line in answer.out.splitlines() if " SWA" in line] == ["val SWA", "test SWA"]
    record, plain = record_of("run"), record_of(str(whole_once))
    assert sha256_of(Path("run/model.safetensors")) == sha256_of(whole_once / "model.safetensors")
    assert record["final"] == plain["final"] and record["inert"] == []
    assert record["test_evaluations"] == 2 and record["ema"]["kind"] == "swa"
    assert record["techniques"].pop("swa") == {
        "distance": record["ema"]["distance"],
        "averaged": 4,  # from the end of the first epoch on
        "estimated_images": record["data"]["splits"]["train"],
    }
    assert record["techniques"] == plain["techniques"]  # what was counted is the training's
    assert record["ema"]["distance"] > 0 and all(row["val_ema"] is None for row in record["epochs"])
    run = seedwise.load("run")
    _, targets, logits = run.logits("test_ema")
    assert (logits.argmax(1) == targets).mean() == pytest.approx(record["ema"]["test"]["top1"], abs=0.01)
    stored = load_file("run/ema.safetensors")
    assert all(torch.equal(value, stored[name]) for name, value in run.ema_model.state_dict().items())
    scored = cli("evaluate", "run", "--ema", "--json")
    assert scored.code == 0 and json.loads(scored.out)["agrees"] is True
    assert np.isfinite(logits).all()


def test_one_set_of_weights_is_no_average(cli: Cli) -> None:
    answer = cli("train", *LEAN, "-s", "optim.swa=default", "-o", "run")
    assert answer.code == 3 and record_of("run")["inert"] == ["swa"]
    assert record_of("run")["techniques"]["swa"]["averaged"] == 1


def test_a_dry_run_counts_it_and_what_contradicts_it_is_refused(cli: Cli) -> None:
    assert cli("train", *LEAN, "-s", "optim.swa=default", "--dry-run").code == 0
    refused = cli("train", *LEAN, "-s", "optim.swa=default", "-s", "optim.ema=default", "-o", "run")
    assert refused.code == 2 and "optim.swa=default: a run has one average" in refused.line and not Path("run").exists()


@pytest.mark.slow
def test_an_ablation_judges_an_average_by_its_own_answers(cli: Cli) -> None:
    """The raw weights are the same bits with `ema` or without: a verdict on them could only say 0."""
    small = [*LEAN[: LEAN.index("--seed")], *LEAN[LEAN.index("--seed") + 2 :], "--seeds", "1,2"]
    assert cli("ablate", *small, "--toggle", "ema,swa", "-o", "study").code in (0, 3)
    study = read_study(Path("study"))
    assert study.primary.weights == "averaged"
    for arm in study.arms:
        for place, seed in enumerate(study.seeds):
            record = read_record(Path("study") / trial_folder(arm, seed))
            assert record.final is not None and record.final.test is not None
            own = record.final.test if record.ema is None else record.ema.test
            assert own is not None and (record.ema is None) == (arm == "base"), arm
            assert study.summary[arm]["test"]["top1"]["values"][place] == own.top1
        assert ("train" in study.summary[arm]) == (arm == "base"), "training images are scored by the raw weights alone"
    said = cli("status", "study").out
    assert "by their averaged weights: ema, swa" in said
    page = Path("study/report.html").read_text(encoding="utf-8")
    assert "By their averaged weights" in page
