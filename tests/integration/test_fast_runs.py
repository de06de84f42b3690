"""Runs with frozen stages, a warm start or test-time augmentation: what is stored, and that off and stops keep bits."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import LEAN, Cli, killed_at
from safetensors.torch import load_file

from seedwise.base.files import sha256_of
from seedwise.config.section import load
from seedwise.models.build import build_model
from seedwise.models.config import ModelConfig
from seedwise.recipe.schema import Recipe
from seedwise.records.run import read_record

FROZEN = ("-s", "model.freeze=2")
WARM = ("-s", "warm_start={epochs: 4}")
TTA = ("-s", "tta={crops: 5}")
ALL = (*FROZEN, *WARM, *TTA, "-s", "optim.ema={decay: 0.9}", "-s", "optim.layer_decay=0.8")


def weights(folder: str) -> str:
    return sha256_of(Path(folder) / "model.safetensors")


@pytest.mark.slow
def test_off_is_the_recipe_that_never_named_them(cli: Cli) -> None:
    assert cli("train", *LEAN, "-o", "plain").code == 0
    off = ("-s", "model.freeze=0", "-s", "warm_start=null", "-s", "tta=null")
    assert cli("train", *LEAN, *off, "-o", "off").code == 0
    assert weights("plain") == weights("off")
    assert cli("train", *LEAN, *TTA, "-o", "tta").code == 0
    assert weights("plain") == weights("tta")
    with np.load("plain/predictions.npz") as plain, np.load("tta/predictions.npz") as beside:
        assert all(np.array_equal(plain[name], beside[name]) for name in plain.files)
        more = {f"{part}_tta_{key}" for part in ("val", "test") for key in ("ids", "targets", "logits")}
        assert set(beside.files) == set(plain.files) | more
        assert not np.allclose(beside["test_tta_logits"], plain["test_logits"])
    record, base = read_record(Path("tta")), read_record(Path("plain"))
    assert record.final == base.final and record.tta is not None and record.tta.views == 10
    assert record.tta.test is not None and record.tta.val is not None and base.tta is None
    assert (base.test_evaluations, record.test_evaluations) == (1, 2)
    assert record.techniques["tta"]["resized_to"] == 18


def test_frozen_weights_stay_as_they_came(cli: Cli) -> None:
    answer = cli("train", *LEAN, *FROZEN, "-o", "run")
    assert answer.code == 0
    initial = build_model(ModelConfig(name="small"), num_classes=10, seed=3).module.state_dict()
    stored = load_file("run/model.safetensors")
    assert stored.keys() == initial.keys()
    frozen = ("stem.", "blocks.0.", "blocks.1.")
    for name, tensor in stored.items():
        assert torch.equal(tensor, initial[name]) == name.startswith(frozen), name
    record = read_record(Path("run"))
    effects = record.techniques["freeze"]
    total = sum(t.numel() for n, t in initial.items() if "running" not in n and "tracked" not in n)
    assert effects["stages"] == 2 and record.parameters == total - effects["parameters"]


def test_a_warm_start_is_in_the_record_and_helps_the_classifier(cli: Cli) -> None:
    assert cli("train", *LEAN, *WARM, "-o", "run").code == 0
    record = read_record(Path("run"))
    effects = record.techniques["warm_start"]
    assert effects["images"] == 60 and effects["train_loss_after"] < effects["train_loss_before"]
    assert record.seconds["warm_start"] == effects["seconds"] > 0
    parts = [seconds for name, seconds in record.seconds.items() if name != "total"]
    assert record.seconds["total"] == pytest.approx(sum(parts))


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 4])
def test_killed_and_resumed_they_end_with_the_same_bits(step: int, cli: Cli) -> None:
    assert cli("train", *LEAN, *ALL, "-o", "whole").code == 0
    killed_at(step, "train", *LEAN, *ALL, "-o", "killed")
    assert cli("resume", "killed").code == 0
    assert weights("whole") == weights("killed")
    assert sha256_of(Path("whole/ema.safetensors")) == sha256_of(Path("killed/ema.safetensors"))
    assert sha256_of(Path("whole/predictions.npz")) == sha256_of(Path("killed/predictions.npz"))
    whole, again = read_record(Path("whole")), read_record(Path("killed"))
    assert whole.tta == again.tta
    for effects in (whole.techniques["warm_start"], again.techniques["warm_start"]):
        del effects["seconds"]
    assert whole.techniques == again.techniques
    assert load(Recipe, Path("whole/recipe.yaml")) == load(Recipe, Path("killed/recipe.yaml"))


@pytest.mark.parametrize("phase", [pytest.param("features", marks=pytest.mark.slow), "classifier"])
def test_stopped_in_the_warm_start_it_begins_again(phase: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from seedwise.cli import progress

    assert cli("train", *LEAN, *WARM, "-o", "whole").code == 0

    def stop(self: object, name: str, done: int, total: int) -> None:
        if name == f"warm start: {phase}":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(progress._Plain, "on_phase", stop)
        assert cli("train", *LEAN, *WARM, "-o", "stopped").code == 130
    assert not list(Path("stopped").glob("checkpoint*"))
    assert cli("resume", "stopped").code == 0
    assert weights("whole") == weights("stopped")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("-s", "model.freeze=5"), "model.freeze: the network has 4 stages before its classifier, not 5"),
        (("-s", "tta={crops: 3}"), "tta.crops"),
        (("-s", "warm_start={lr: 0}"), "warm_start.lr"),
        (("-m", "timm:mobilevit_xxs", "-s", "model.weights=none", "-s", "tta={image_size: 4}"), "tta.image_size"),
    ],
    ids=str,
)
def test_odd_inputs_are_one_line_and_leave_nothing(options: tuple[str, ...], says: str, cli: Cli) -> None:
    answer = cli("train", *LEAN, *options, "-o", "run")
    assert answer.code == 2 and says in answer.line
    assert not Path("run").exists()


@pytest.mark.slow
def test_lr_find_suggests_the_same_twice_and_draws(cli: Cli) -> None:
    words = ("lr-find", "digits", "-m", "small", "-s", "train.image_size=16", "-s", "train.batch_size=20")
    words += ("-s", "compute.threads=1", "-s", "data.limit=60", "--steps", "30", "--json")  # type: ignore[assignment]
    first, second = cli(*words, "-o", "lr.svg"), cli(*words)
    assert first.code == second.code == 0 and first.out == second.out
    found = json.loads(first.out)
    assert found["suggestion"] == found["lowest"] / 10
    assert found["rates"][0] == pytest.approx(1e-7) and len(found["rates"]) == len(found["losses"]) <= 30
    assert found["lowest"] == found["rates"][int(np.argmin(found["smoothed"]))]
    assert "<svg" in Path("lr.svg").read_text()
    assert {path.name for path in Path().iterdir()} == {"lr.svg"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--min", "1", "--max", "0.1"), "--min and --max"),
        (("--steps", "3"), "--steps: must be at least 10"),
        (("-o", "lr.txt"), "lr.txt: is no .png or .svg file"),
        (("-o", "no/lr.png"), "no: no such folder"),
    ],
    ids=str,
)
def test_lr_find_refuses_what_it_cannot_do(options: tuple[str, ...], says: str, cli: Cli) -> None:
    answer = cli("lr-find", "digits", "-m", "small", *options)
    assert answer.code == 2 and says in answer.line


def test_stages_that_keep_random_weights_are_said(cli: Cli) -> None:
    doubt = "doubt: model.freeze: 2 stages keep random weights, which nothing trains; -s model.freeze=0 trains them"
    frozen = cli("train", *LEAN, "-s", "model.freeze=2", "--dry-run").out
    assert f"# {doubt}\n" in frozen
    thawed = cli("train", *LEAN, "-s", "model.freeze=2", "-s", "model.freeze_schedule=[{after: 0.5, freeze: 0}]")
    assert thawed.code == 0 and "doubt" not in thawed.err
    assert doubt in cli("train", *LEAN, "-s", "model.freeze=2", "-o", "run").err
