"""Progressive learning in real runs on digits: the sizes that the network sees, strengths, resume, the record."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import LEAN, Cli, killed_at
from torch import Tensor

from seedwise.augment.pipeline import Augmenter
from seedwise.base.errors import UserError
from seedwise.base.files import sha256_of
from seedwise.config.section import load
from seedwise.engine.stages import Dropout
from seedwise.models.small import SmallNet
from seedwise.recipe.schema import Recipe
from seedwise.records.run import read_record

STAGES = (
    "progressive=[{until: 0.34, image_size: 8, mixup_alpha: 0, dropout: 0.1}, "
    "{until: 0.67, image_size: 12, mixup_alpha: 0.2, dropout: 0.2}, {mixup_alpha: 1, dropout: 0.4}]"
)
RUN = (*LEAN, "-s", STAGES)
"""Two epochs of three steps; the stages begin at steps 0, 2 and 4."""


def weights(folder: Path | str) -> str:
    return sha256_of(Path(folder) / "model.safetensors")


@pytest.fixture(scope="session")
def whole(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from command_line import call

    folder = tmp_path_factory.mktemp("progressive") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEDWISE_CACHE", str(cache))
        assert call("train", *RUN, "-o", folder) == 0
    return folder


def test_the_network_sees_each_stages_size_and_dropout(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[tuple[int, float]] = []
    evaluated: set[int] = set()
    forward = SmallNet.forward

    def watched(self: SmallNet, images: Tensor) -> Tensor:
        if self.training:
            trained.append((images.shape[-1], self.dropout.p))
        else:
            evaluated.add(images.shape[-1])
        return forward(self, images)

    monkeypatch.setattr(SmallNet, "forward", watched)
    assert cli("train", *RUN, "-o", "run").code == 0
    assert trained == [(8, 0.1)] * 2 + [(12, 0.2)] * 2 + [(16, 0.4)] * 2
    assert evaluated <= {16}


def test_the_record_tells_stages_and_epochs(whole: Path) -> None:
    record = read_record(whole)
    assert [(stage.first_step, stage.image_size) for stage in record.stages] == [(0, 8), (2, 12), (4, 16)]
    assert [stage.strengths["dropout"] for stage in record.stages] == [0.1, 0.2, 0.4]
    assert all(stage.images_per_second and stage.images_per_second > 0 for stage in record.stages)
    assert sum(stage.images for stage in record.stages) == 2 * record.data.splits["train"]
    first, second = record.epochs
    assert (first.image_size, second.image_size) == (12, 16)
    assert first.strengths == {"mixup.alpha": 0.2, "dropout": 0.2}
    assert [(part.stage, part.image_size) for part in first.parts] == [(1, 8), (2, 12)]
    assert [(part.stage, part.image_size) for part in second.parts] == [(2, 12), (3, 16)]
    for row in record.epochs:
        assert sum(part.seconds for part in row.parts) == pytest.approx(row.seconds)
    effects = record.techniques["progressive"]
    assert effects["stages"] == 3 and 8 < effects["size_epoch_1"] < 12 < effects["size_epoch_2"] < 16
    assert effects["share"] == pytest.approx(4 / 6, abs=0.05)
    written = load(Recipe, whole / "recipe.yaml")
    assert written.augment.mixup is not None and written.augment.mixup.alpha == 1
    assert isinstance(written.progressive, tuple) and [s.until for s in written.progressive] == [0.34, 0.67, 1.0]


@pytest.mark.parametrize(
    "step",
    [pytest.param(1, marks=pytest.mark.slow), 2, 3, *(pytest.param(step, marks=pytest.mark.slow) for step in (4, 5))],
)
def test_stopped_in_each_stage_it_ends_with_the_same_bits(
    cli: Cli, whole: Path, signal_at: Callable[[int, signal.Signals], None], step: int
) -> None:
    signal_at(step, signal.SIGINT)
    assert cli("train", *RUN, "-o", "run").code == 130
    assert cli("resume", "run").code == 0
    assert weights("run") == weights(whole)
    assert read_record(Path("run")).techniques == read_record(whole).techniques


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 3, 5])
def test_kill_9_in_each_stage(cli: Cli, whole: Path, step: int) -> None:
    killed_at(step, "train", *RUN, "-o", "run")
    assert cli("train", *RUN, "-o", "run").code == 0
    assert weights("run") == weights(whole)


def test_none_is_the_recipe_that_never_named_it(cli: Cli, whole_once: Path) -> None:
    assert cli("train", *LEAN, "-s", "progressive=none", "-o", "run").code == 0
    assert weights("run") == weights(whole_once)
    record = read_record(Path("run"))
    assert record.stages == [] and "progressive" not in record.techniques
    assert all(row.parts == [] and row.strengths == {} for row in record.epochs)


def test_a_single_stage_of_the_recipes_own_strengths_changes_no_bit(cli: Cli, whole_once: Path) -> None:
    assert cli("train", *LEAN, "-s", "progressive=[{}]", "-o", "run").code == 0
    assert weights("run") == weights(whole_once)


def test_strengths_are_at_work_and_draws_stay(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed: list[bool] = []
    drawn: dict[str, list[Any]] = {"progressive": [], "plain": []}
    train, draws = Augmenter.train, Augmenter._draws

    def watched(self: Augmenter, *arguments: Any, **options: Any) -> Any:
        batch = train(self, *arguments, **options)
        mixed.append(bool((batch.targets.max(dim=1).values < 1).any()))
        return batch

    for name, setting in (("progressive", STAGES), ("plain", "augment.mixup={}")):

        def noted(self: Augmenter, technique: Any, epoch: int, rows: Any, _name: str = name) -> Tensor:
            found = draws(self, technique, epoch, rows)
            if technique.name == "horizontal_flip":
                drawn[_name].append((epoch, rows.tolist(), found.tolist()))
            return found

        with monkeypatch.context() as patch:
            patch.setattr(Augmenter, "_draws", noted)
            if name == "progressive":
                patch.setattr(Augmenter, "train", watched)
            flip = ("-s", "augment.horizontal_flip={}")
            assert cli("train", *LEAN, *flip, "-s", setting, "-o", name).code == 0
    assert mixed == [False, False, True, True, True, True]
    assert drawn["progressive"] == drawn["plain"] and drawn["plain"]


def test_a_dry_run_counts_every_size(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    forward = SmallNet.forward

    def watched(self: SmallNet, images: Tensor) -> Tensor:
        if self.training:
            seen.add(images.shape[-1])
        return forward(self, images)

    monkeypatch.setattr(SmallNet, "forward", watched)
    assert cli("train", *RUN, "-s", "model.dropout=0.0", "--dry-run").code == 0
    assert seen == {8, 12, 16}


def test_dropout_of_timms_networks_and_of_none() -> None:
    import timm

    model = timm.create_model("tf_efficientnet_lite0", drop_rate=0.2, num_classes=3)
    Dropout(model, 0.2).set(0.4)
    assert model.drop_rate == 0.4
    with pytest.raises(UserError, match=r"^progressive: stages set a dropout, and the network has none"):
        Dropout(torch.nn.Linear(2, 2), 0.2)
