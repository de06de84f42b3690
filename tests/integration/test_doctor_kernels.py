"""`seedwise doctor --kernels`: what computes each layer of a recipe's network, and why nothing faster does."""

import json

import pytest
from command_line import Cli

from seedwise.kernels import swap

SMALL = (
    *("-s", "train.batch_size=4", "-s", "train.image_size=32", "-s", "compute.threads=1"),
    *("-s", "model.freeze=0"),  # in evaluation, as frozen stages are, layers have other paths
)


def test_each_layer_is_a_line_with_its_path_and_the_reason(cli: Cli) -> None:
    answer = cli("doctor", "--kernels", "lite", *SMALL, "-s", "model.drop_path=0.1")
    assert answer.code == 0
    setting, head, *lines = answer.out.splitlines()
    assert setting == "efficientnet_lite0, 32 px, batch 4, cpu, fp32, threads: 1, kernels: native"
    assert head.split() == ["layer", "kind", "path", "why", "not", "a", "faster", "one"]
    assert any(line.startswith("blocks.1.0 ") and "fused depthwise block" in line for line in lines)
    assert any(line.startswith("conv_stem ") and "stride" in line for line in lines)


def test_json_has_every_row_and_what_was_resolved(cli: Cli) -> None:
    found = json.loads(cli("doctor", "--kernels", "lite", "--json", *SMALL, "-s", "compute.kernels=stock").out)
    assert (found["model"], found["image_size"], found["batch_size"]) == ("efficientnet_lite0", 32, 4)
    assert found["compute"]["kernels"] == "stock" and found["compute"]["threads"] == 1
    assert {"layer": "bn1", "kind": "BatchNormAct2d", "path": "PyTorch"}.items() <= found["rows"][1].items()
    assert all("compute.kernels=stock" in row["why"] for row in found["rows"])


def test_who_asked_for_no_kernels_is_told_why_there_are_few(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    given = cli("doctor", "--kernels", "lite", *SMALL, "-s", "compute.kernels=fallback").out.splitlines()
    assert given[0].endswith("kernels: fallback") and all("compute.kernels=fallback" in line for line in given[3:])
    monkeypatch.setattr(swap, "available", lambda: False)
    automatic = cli("doctor", "--kernels", "lite", *SMALL).out.splitlines()
    assert automatic[0].endswith("kernels: fallback, since no C++ kernels are installed or can be compiled")
    assert automatic[1:] == given[1:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kernels", "nope"], "nope: no such recipe"),
        (["--kernels", "photos"], "train.batch_size, train.image_size, model.freeze: auto is decided by the data"),
        (["--kernels", "lite", "-s", "compute.compile=true"], "compute.compile: is true"),
        (["--kernels", "lite", "--kernels", "demo"], "--kernels: is given twice, as lite and as demo; give it once"),
        (["--kernels", "lite", "--data-dir", "data"], "--data-dir data: no data are looked at with --kernels"),
        (["-s", "train.batch_size=4"], "-s: sets options of a recipe; name one with --kernels RECIPE"),
    ],
)
def test_what_cannot_be_told_is_one_line(cli: Cli, arguments: list[str], message: str) -> None:
    answer = cli("doctor", *arguments)
    assert answer.code == 2 and message in answer.err and answer.err.count("\n") == 1


def test_a_batch_of_one_image_is_one_line(cli: Cli) -> None:
    said = cli("doctor", "--kernels", "demo", "-s", "train.batch_size=1", "-s", "model.weights=none")
    assert said.code == 2 and said.line.startswith("train.batch_size: BatchNorm can't normalize a batch of one image")
