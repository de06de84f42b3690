"""Precision and determinism on a GPU: which arithmetic is on while what is computed, and no waits for fp16."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from null_driver import Machine, NullDriver, Question
from null_fixtures import seedwise
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TINY = (
    *("digits", "-m", "small", "--epochs", "1", "--img-size", "16", "-b", "20", "--seed", "3"),
    *("-s", "data.limit=60", "-s", "data.val=20", "-s", "data.test=20", "-s", "train.insight=false"),
)
PRODUCTS = ("convolution", "mm", "addmm", "bmm", "convolution_backward")


class _Arithmetic(TorchDispatchMode):
    """Notes of what is multiplied on CUDA the type, and whether TF32 is on."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[tuple[str, str, bool, bool, bool]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = str(func).split(".")[1]
        on = next((it for it in tree_leaves(args) if isinstance(it, Tensor) and it.device.type == "cuda"), None)
        if name in PRODUCTS and on is not None:
            by = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
            self.found.add((name, str(on.dtype), *by, torch.are_deterministic_algorithms_enabled()))
        return result


def trained(folder: str, *settings: str) -> dict[str, Any]:
    """Exit code, the arithmetic of all products, whether it is the caller's again afterwards, and the record."""
    os.chdir(folder)
    torch.backends.cuda.matmul.allow_tf32 = True
    with _Arithmetic() as mode:
        words = [word for word in TINY if word not in ("-m", "small") or "model.factory" not in str(settings)]
        code = seedwise("train", *words, *settings, "-o", "run")
    after = [
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
    ]
    record = Path("run/record.json")
    return {
        "code": code,
        "products": sorted(mode.found),
        "after": after,
        "record": json.loads(record.read_text()) if record.exists() else None,
    }


def precise(precision: str) -> Question:
    return Question(trained, ("{folder}", "-s", f"compute.precision={precision}"), Machine((80,)))


def placed(question: Question, folder: Path) -> Question:
    folder.mkdir()
    arguments = [str(folder) if argument == "{folder}" else argument for argument in question.arguments]
    return Question(question.function, arguments, question.machine, question.environment)


def test_products_are_of_the_precision_that_was_asked_for(null_driver: NullDriver, tmp_path: Path) -> None:
    precisions = ("fp32", "tf32", "bf16", "fp16")
    answers = null_driver.ask([placed(precise(name), tmp_path / name) for name in precisions])
    for name, answer in zip(precisions, answers, strict=True):
        found = answer.demand()
        assert found["code"] == 0, (name, answer.err)
        assert found["after"] == [True, True, False], "what the caller had set"
        products = {tuple(each) for each in found["products"]}
        of_layers = {each for each in products if each[0] in ("convolution", "convolution_backward")}
        half = {"bf16": "torch.bfloat16", "fp16": "torch.float16"}.get(name)
        assert {each[1] for each in of_layers} == {half or "torch.float32"}, name
        if name == "tf32":
            assert ("convolution_backward", "torch.float32", True, True, False) in products
        else:
            assert not any(each[2] or each[3] for each in products), (name, products)
        scale = found["record"]["techniques"].get("loss_scale")
        assert (scale is not None) == (name == "fp16")


def resampled() -> list[Any]:
    """The arithmetic of the resampling of photos, in a training of TF32."""
    from seedwise.augment.resize import resize
    from seedwise.base.devices import arithmetic

    images = torch.zeros(2, 3, 40, 30, dtype=torch.uint8, device="cuda")
    with arithmetic("cuda", tf32=True), _Arithmetic() as mode:
        resize(images, 16, "bicubic")
        torch.ones(2, 2, device="cuda") @ torch.ones(2, 2, device="cuda")
    return sorted(mode.found)


def fp16_steps(algorithm: str, clip_norm: float | None) -> dict[str, int]:
    """Waits of optimizer steps in fp16."""
    import null_counts

    from seedwise.base.batch import Batch
    from seedwise.engine.loss_scale import LossScale
    from seedwise.engine.placement import Placement
    from seedwise.engine.step import training_step
    from seedwise.optim.config import LossConfig, OptimConfig
    from seedwise.optim.loss import build_loss
    from seedwise.optim.optimizers import build_optimizer

    device = torch.device("cuda", 0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 4)).to(device)
    optimizer = build_optimizer(OptimConfig.model_validate({"algorithm": algorithm}), model.parameters())
    loss = build_loss(LossConfig(), np.arange(4), 4, device)
    batch = Batch(torch.zeros(6, 3, 8, 8, device=device), torch.full((6, 4), 0.25, device=device))
    placement, scale = Placement(device, "fp16", channels_last=True), LossScale(device)
    for step in range(3):
        if step == 1:  # the first makes the optimizer's state
            null_counts.reset()
        training_step(model, loss, optimizer, [batch], placement=placement, clip_norm=clip_norm, scale=scale)
    return null_counts.waits()


def test_resampling_is_exact_and_fp16_waits_for_nothing(null_driver: NullDriver) -> None:
    cases = [("adamw", None), ("adamw", 1.0), ("sgd", None)]
    exact, *waits = null_driver.ask([Question(resampled), *(Question(fp16_steps, case) for case in cases)])
    assert [each[:4] for each in exact.demand()] == [
        ["mm", "torch.float32", False, False],
        ["mm", "torch.float32", True, True],
    ]
    assert [answer.demand() for answer in waits] == [{}] * len(cases)


def in_order() -> list[str]:
    """Techniques that are not deterministic on a GPU, as torch says."""
    from seedwise.augment.config import TECHNIQUES, AugmentConfig
    from seedwise.augment.pipeline import Augmenter
    from seedwise.base.devices import arithmetic

    device, found = torch.device("cuda", 0), []
    images = torch.zeros(8, 3, 32, 32, dtype=torch.uint8, device=device)
    targets = torch.full((8, 10), 0.1, device=device)
    for name in TECHNIQUES:
        if name == "custom":
            continue
        config = AugmentConfig.model_validate({name: {}})
        options: dict[str, Any] = {"seed": 0, "rows": 8, "mean": (0.5,) * 3, "std": (0.5,) * 3, "device": device}
        with arithmetic("cuda", deterministic=True):
            try:
                Augmenter(config, **options).train(images, None, targets, np.arange(8), epoch=0, size=24)
            except RuntimeError as error:
                found.append(f"{name}: {error}")
    return found


class Wild(torch.nn.Module):
    """A network with a layer that PyTorch computes in no fixed order."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.classifier = torch.nn.Linear(3 * 4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.classifier.weight.mean()
        pooled = torch.nn.functional.adaptive_max_pool2d(torch.nn.functional.interpolate(x, 8, mode="bicubic"), 2)
        return self.classifier(pooled.flatten(1))  # type: ignore[no-any-return]

    def get_classifier(self) -> torch.nn.Module:
        return self.classifier


def test_deterministic_is_what_torch_promises_and_one_line_where_it_promises_nothing(
    null_driver: NullDriver, tmp_path: Path
) -> None:
    own = ("-s", f"model.factory={Path(__file__).stem}:Wild")
    on = ("-s", "compute.deterministic=true")
    questions = [
        Question(in_order),
        placed(Question(trained, ("{folder}", *on)), tmp_path / "network"),
        placed(Question(trained, ("{folder}", *on, *own)), tmp_path / "wild"),
        placed(Question(trained, ("{folder}", *own)), tmp_path / "free"),
    ]
    techniques, network, wild, free = null_driver.ask(questions)
    assert techniques.demand() == []
    assert network.demand()["code"] == 0, network.err
    assert all(each[4] for each in network.demand()["products"])
    assert network.demand()["after"] == [True, True, False]
    assert wild.demand()["code"] == 2
    assert "compute.deterministic: adaptive_max_pool2d" in wild.err.replace("\n", " "), wild.err
    assert free.demand()["code"] == 0, free.err


def commands(folder: str, *several: list[str]) -> list[list[Any]]:
    """Exit code and stderr of each command."""
    import contextlib
    import io

    os.chdir(folder)
    answers: list[list[Any]] = []
    for words in several:
        with contextlib.redirect_stderr(io.StringIO()) as err:
            answers.append([seedwise(*words), err.getvalue()])
    return answers


def stopped(folder: str) -> int:
    """A run that stops after its first step."""
    import signal

    from seedwise.cli import progress

    os.chdir(folder)

    def on_step(self: object, epoch: int, step: int, *rest: float) -> None:
        if step == 1:
            os.kill(os.getpid(), signal.SIGINT)

    progress._Plain.on_step = on_step  # type: ignore
    return seedwise("train", *TINY, "-s", "train.checkpoint_every=1", "-o", "run")


def test_another_gpu_is_refused_unless_told_to_go_on(null_driver: NullDriver, tmp_path: Path) -> None:
    resume = ["resume", "run"]
    began, other, there = null_driver.ask(
        [
            Question(stopped, (str(tmp_path),), Machine((80,))),
            Question(commands, (str(tmp_path), resume, [*resume, "--elsewhere"]), Machine((90,))),
            Question(commands, (str(tmp_path), ["evaluate", "run"]), Machine((90,))),
        ]
    )
    assert began.demand() == 130, began.err
    (refused, line), (went, _) = other.demand()
    assert refused == 2 and "began with GPU Null GPU sm_80 (sm_80), here it is Null GPU sm_90 (sm_90)" in line
    assert went == 0 and there.demand()[0][0] == 0
    record = json.loads((tmp_path / "run/record.json").read_text())
    assert record["machine"]["moved"] == ["after epoch 0: GPU Null GPU sm_80 (sm_80) -> Null GPU sm_90 (sm_90)"]
    assert {"cuda", "cudnn"} <= record["machine"].keys()


@pytest.mark.slow
def test_fp16_goes_on_with_its_scale_after_a_stop(null_driver: NullDriver, tmp_path: Path) -> None:
    began, after = null_driver.ask(
        [
            Question(stopped, (str(tmp_path),), Machine((75,))),
            Question(commands, (str(tmp_path), ["resume", "run"]), Machine((75,))),
        ]
    )
    assert began.demand() == 130 and after.demand()[0][0] == 0, after.err
