"""Which implementation computes what: by a rule that has an answer for every shape, or by a stopwatch."""

import csv
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from seedwise.kernels import build, launch, rule, swap
from seedwise.kernels.dispatch import Autotuner, Candidates, Case, Dispatcher, Tuning, fastest, seconds_of
from seedwise.kernels.evaluation import evaluation_copy
from seedwise.kernels.layers.depthwise import available
from seedwise.kernels.rule import OPERATIONS, ShapeKey
from seedwise.models.freezing import freeze

needs_compiler = pytest.mark.skipif(not available(), reason="no C++ compiler: there are no native kernels")
MEASURED = Path(__file__).parents[2] / "benchmarks/dispatch.csv"
MEASURED_TARGETS = [target for target in build.TARGETS if target != "neon"]
"""`neon` takes the rows of rule.UNMEASURED: nobody has timed it."""
NETWORKS = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2", "tf_efficientnetv2_s")
SIZES = (32, 64, 88, 96, 128, 160, 224)
CASE = Case("pointwise forward", "pointwise forward", 96, 24, 16, 16, 128, 1)


class Noted(Dispatcher):
    """By the rule; keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[str, set[str]] = {}

    def choose(self, case: Case, names: Collection[str], trial: Tuning) -> str:
        self.asked.setdefault(case.operation, set()).update(names)
        return super().choose(case, names, trial)


def train_and_score(model: nn.Module, dispatcher: Dispatcher, images: Tensor, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(swap, "Dispatcher", lambda _known: dispatcher)
    swap.accelerate(model, "native", {})
    patch.undo()
    model.train()(images).sum().backward()
    with torch.inference_mode():
        patch.setattr("seedwise.kernels.evaluation.dispatcher_of", lambda _model: dispatcher)
        evaluation_copy(model.eval(), images)(images)
        patch.undo()


@needs_compiler
def test_every_operation_that_asks_has_a_rule_and_every_rule_an_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    dispatcher = Noted()
    images = torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    for name in ("tf_efficientnet_lite0", "tf_efficientnetv2_s", "mobilenetv3_large_100", "resnet18"):
        model = timm.create_model(name, num_classes=3).to(memory_format=torch.channels_last)
        if name.endswith("lite0"):
            freeze(model, 3, (model.pretrained_cfg["classifier"],), 64)  # type: ignore[arg-type]
        train_and_score(model, dispatcher, images, monkeypatch)
    assert dispatcher.asked.keys() == OPERATIONS.keys()
    for operation, names in dispatcher.asked.items():
        assert names <= {*OPERATIONS[operation]}, operation
    with pytest.raises(KeyError, match="a new kernel"):
        dispatcher.choose(CASE._replace(operation="a new kernel"), ("native",), lambda: ({}, 1))


@pytest.mark.parametrize("target", MEASURED_TARGETS)
def test_every_class_of_processors_has_rows_of_every_operation(target: str) -> None:
    rows = [row for row in rule.read() if row.target == target]
    assert {row.place.operation for row in rows} == OPERATIONS.keys()
    assert {row.place.dtype for row in rows if row.place.operation == "depthwise forward"} == {"fp32", "bf16"}
    for row in rows:
        assert row.names and {*row.names} <= {*OPERATIONS[row.place.operation]}
        assert row.place == row.place.of_class
    assert len(set(rows)) == len(rows)


def measured() -> dict[str, dict[ShapeKey, dict[str, float]]]:
    found: dict[str, dict[ShapeKey, dict[str, float]]] = {}
    with MEASURED.open(newline="") as file:
        for target, operation, dtype, *numbers, taken in list(csv.reader(file))[1:]:
            place = ShapeKey(operation, dtype, *map(int, numbers))
            pairs = (text.split(":") for text in taken.split())
            found.setdefault(target, {})[place] = {name: float(took) for name, took in pairs}
    return found


@pytest.mark.parametrize("target", MEASURED_TARGETS)
def test_the_rule_is_within_five_percent_of_the_fastest_where_that_was_measured(target: str) -> None:
    ours: dict[str, float] = {}
    best: dict[str, float] = {}
    for place, took in measured()[target].items():
        ours[place.operation] = ours.get(place.operation, 0) + took[rule.choose(target, place, took)]
        best[place.operation] = best.get(place.operation, 0) + min(took.values())
    assert all(ours[operation] <= 1.05 * best[operation] for operation in ours)


def convolutions(name: str, size: int) -> set[ShapeKey]:
    """Each convolution of a network as the operation that computes it, with its images left open."""
    found: set[ShapeKey] = set()
    with torch.device("meta"):
        model = timm.create_model(name).eval()

    def note(conv: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(conv, nn.Conv2d)
        (kernel, _), (stride, _), (h, w) = conv.kernel_size, conv.stride, inputs[0].shape[2:]
        channels, outputs = conv.in_channels, conv.out_channels
        kind = "depthwise" if conv.groups > 1 else "pointwise" if kernel == 1 else "dense"
        if kind != "dense" or (stride == 1 and channels >= 16):
            found.add(ShapeKey(f"{kind} forward", "fp32", 1, kernel, stride, channels, outputs, h * w, 1))

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(note)
    model(torch.empty(1, 3, size, size, device="meta"))
    return found


@pytest.mark.parametrize("name", [NETWORKS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS[1:])])
def test_the_networks_that_are_trained_most_are_near_what_was_measured(name: str) -> None:
    """No size more than a factor of eight from one of the same kernel and stride that was timed, all four together."""
    known = [place for place in measured()["avx512"] if place.dtype == "fp32"]
    for size in SIZES:
        for conv in convolutions(name, size):
            if conv.pixels == 1:
                continue  # squeeze-and-excitation's own kernel
            for images in (8, 16, 64, 128):
                place = conv._replace(images=images)
                same = [rule.distance(one, place) for one in known if one.operation == place.operation]
                assert min(same) <= (False, False, False, 0, 3 + abs(images.bit_length() - 6)), (size, place)
                assert rule.choose(launch.target(), place, OPERATIONS[place.operation]) in OPERATIONS[place.operation]


def test_a_shape_gets_the_nearest_row_of_its_type_stride_and_kernel() -> None:
    names = ("onednn", "split")
    place = ShapeKey("pointwise forward", "fp32", 1, 1, 1, 64, 64, 256, 32)
    near, far = place._replace(pixels=128), place._replace(pixels=1024)
    rows = [rule.RuleRow("avx2", other, names) for other in (far, near, place._replace(images=16))]
    assert rule.nearest(rows, place) == rows[1]  # as near as the last, and before it
    assert rule.nearest(rows, place._replace(pixels=700)) == rows[0]
    convs = [ShapeKey("depthwise forward", "fp32", 1, k, s, 64, 64, 4**k, 32) for k, s in ((3, 1), (5, 1), (3, 2))]
    others = convs[0]._replace(dtype="bf16"), convs[0]._replace(threads=2)
    rows = [rule.RuleRow("avx2", each, names) for each in (*convs, *others)]
    wide = convs[0]._replace(pixels=1)
    assert rule.nearest(rows, wide._replace(kernel=7)) == rows[1]
    assert rule.nearest(rows, wide._replace(kernel=7, stride=2)) == rows[2]
    assert rule.nearest(rows, wide._replace(dtype="bf16", threads=2)) == rows[3]
    assert rule.nearest(rows, wide._replace(threads=2, stride=2)) == rows[4]
    assert rows[0].first(("split", "other")) == "split" and rows[0].first(("other",)) == "other"


def test_a_choice_depends_on_nothing_but_the_case(monkeypatch: pytest.MonkeyPatch) -> None:
    def trial() -> tuple[Mapping[str, object], int]:
        raise AssertionError("nothing is timed")

    case = CASE._replace(threads=2)
    found = Dispatcher().choose(case, ("onednn", "split"), trial)  # type: ignore[arg-type]
    monkeypatch.setattr("seedwise.kernels.dispatch.time.perf_counter", trial)
    assert Dispatcher().choose(case._replace(threads=7, images=97), ("split", "onednn"), trial) == found  # type: ignore[arg-type]


def test_a_recorded_choice_stands_unless_it_is_gone() -> None:
    def trial() -> tuple[Candidates, int]:
        return {by_rule: lambda _images: None}, 1

    by_rule = Dispatcher().choose(CASE, ("onednn", "split"), trial)
    other = "onednn" if by_rule == "split" else "split"
    assert Dispatcher({CASE.key: other}).choose(CASE, ("onednn", "split"), trial) == other
    for kind in (Dispatcher, Autotuner):
        again = kind({CASE.key: "removed since", "another": "kept"})
        assert again.choose(CASE, (by_rule, "x"), trial) == by_rule
        assert again.as_dict() == {CASE.key: by_rule, "another": "kept"}


def test_a_batch_that_differs_by_one_is_the_same_choice() -> None:
    dispatcher = Dispatcher()
    for images in (128, 127, 65):
        dispatcher.choose(CASE._replace(images=images), ("onednn", "split"), lambda: ({}, 1))
    assert list(dispatcher.as_dict()) == [CASE.key]


def test_the_stopwatch_times_once_and_what_a_trial_picks_is_no_choice_of_the_run() -> None:
    """A run that is resumed knows the answer without a trial, and has to record the same."""
    dispatcher, timed = Autotuner(), list[str]()
    inner, outer = CASE._replace(name="inner"), CASE._replace(name="outer")

    def pick_inner(_images: int = 0) -> str:
        def run(_images: int) -> None:
            timed.append("inner")

        return dispatcher.choose(inner, ("b",), lambda: ({"b": run}, 1))

    assert dispatcher.choose(outer, ("b",), lambda: ({"b": pick_inner}, 1)) == "b"
    once = len(timed)
    assert once and dispatcher.as_dict() == {outer.key: "b"}
    assert pick_inner() == "b" and len(timed) == once
    assert dispatcher.as_dict() == {inner.key: "b", outer.key: "b"}


@pytest.mark.parametrize("disturbed", range(6))
def test_a_neighbor_that_slows_some_runs_down_does_not_decide(disturbed: int) -> None:
    """From its first run on or later, two of the faster one's runs in a row take thrice as long."""
    clock, runs = [0.0], []

    def slow(_images: int) -> None:
        clock[0] += 2.0

    def fast(_images: int) -> None:
        runs.append(1)
        clock[0] += 3.0 if disturbed < len(runs) <= disturbed + 2 else 1.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seedwise.kernels.dispatch.time.perf_counter", lambda: clock[0])
        assert fastest(seconds_of({"slow": slow, "fast": fast}, 1)) == "fast"
