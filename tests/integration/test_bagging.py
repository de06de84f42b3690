"""`seedwise train --bagging`: members on bootstrap samples, the out-of-bag estimate, kills, and another model each."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from signal import SIGINT, Signals
from typing import Any

import numpy as np
import pytest
from command_line import Cli, call, killed_at
from scipy import special

import seedwise
from seedwise.base.files import sha256_of
from seedwise.base.rng import draw_seeds
from seedwise.ensembles.model import Ensemble

LEAN = (
    *("digits", "-m", "small", "--epochs", "2", "--img-size", "16", "-b", "20", "--threads", "1"),
    *("-s", "data.limit=60", "-s", "data.val=20", "-s", "data.test=20", "-s", "train.checkpoint_every=1"),
)
BAGGED = (*LEAN, "--bagging", "3", "--seed", "7")
FILES = ("predictions.npz", *(f"runs/member-{k}/model.safetensors" for k in (1, 2, 3)))


def record_of(folder: Path | str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(folder, "record.json").read_text())
    return content


@pytest.fixture(scope="module")
def bagged(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three members without a stop; not to be touched."""
    folder = tmp_path_factory.mktemp("bagged") / "three"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEDWISE_CACHE", str(cache))
        assert call("train", *BAGGED, "-o", folder) == 0
    return folder


def test_members_are_runs_on_samples_of_their_own_and_vote_softly(bagged: Path) -> None:
    record = record_of(bagged)
    assert record["kind"] == "ensemble" and record["vote"] == "soft" and record["seed"] == 7
    assert [member["folder"] for member in record["members"]] == [f"runs/member-{k}" for k in (1, 2, 3)]
    assert [member["seed"] for member in record["members"]] == list(draw_seeds(7, 3))
    assert "Out of bag" in (bagged / "report.html").read_text()
    loaded = seedwise.load(bagged)
    assert isinstance(loaded, Ensemble)
    runs = [seedwise.load(bagged / f"runs/member-{k}") for k in (1, 2, 3)]
    assert len({tuple(run.logits("oob")[0]) for run in runs}) == 3
    expected = np.mean([special.softmax(run.logits("test")[2].astype(float), axis=1) for run in runs], axis=0)
    assert np.exp(loaded.logits("test")[2]) == pytest.approx(expected, abs=1e-6)
    for run, member in zip(runs, record["members"], strict=True):
        final = run.record.final
        assert final is not None and member["gap"] == pytest.approx(final.train.top1 - final.test.top1)


def test_the_out_of_bag_estimate_asks_only_members_that_did_not_see_the_image(bagged: Path) -> None:
    heard: dict[int, list[Any]] = {}
    label = {}
    for k in (1, 2, 3):
        for image, target, logits in zip(*seedwise.load(bagged / f"runs/member-{k}").logits("oob"), strict=True):
            heard.setdefault(int(image), []).append(special.softmax(logits.astype(float)))
            label[int(image)] = int(target)
    means = {image: np.mean(given, axis=0) for image, given in heard.items()}
    oob = record_of(bagged)["oob"]
    assert oob["images"] == len(heard) < 60 and oob["votes"] == pytest.approx(np.mean([len(g) for g in heard.values()]))
    assert oob["top1"] == pytest.approx(np.mean([means[i].argmax() == label[i] for i in heard]))
    assert oob["loss"] == pytest.approx(np.mean([-np.log(means[i][label[i]]) for i in heard]), abs=1e-5)
    single = np.mean([np.mean([one.argmax() == label[i] for one in given]) for i, given in heard.items()])
    share = (1 - 1 / 3) / (1 - np.mean([1 / len(given) for given in heard.values()]))
    assert oob["top1_of_all"] == pytest.approx(single + (oob["top1"] - single) * share)


def test_a_seed_alone_with_a_bootstrap_sample_is_the_same_run(cli: Cli, bagged: Path) -> None:
    seed = draw_seeds(7, 3)[1]
    assert cli("train", *LEAN, "-s", "data.bootstrap=true", "--seed", seed, "-o", "single").code == 0
    assert sha256_of(Path("single/model.safetensors")) == sha256_of(bagged / "runs/member-2/model.safetensors")


@pytest.mark.parametrize("again", ["train", "resume"])
@pytest.mark.slow
def test_a_kill_in_the_second_member_changes_no_bit(cli: Cli, bagged: Path, again: str) -> None:
    killed_at(5, "train", *BAGGED, "-o", "three")  # a first member's fifth step
    assert cli("compare", "three", bagged).line.startswith("three: an ensemble whose members are not all trained")
    answer = cli(*(["resume", "three"] if again == "resume" else ["train", *BAGGED, "-o", "three"]))
    assert answer.code == 0 and "out of bag top-1" in answer.out
    for name in FILES:
        assert sha256_of(Path("three", name)) == sha256_of(bagged / name), name


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_more_members_can_join(
    cli: Cli, bagged: Path, signal_at: Callable[[int, Signals], None]
) -> None:
    signal_at(2, SIGINT)
    answer = cli("train", *LEAN, "--seed", 7, "--bagging", 2, "-o", "grows")
    assert answer.code == 130 and "go on with: seedwise resume grows" in answer.err
    assert cli("resume", "grows").code == 0 and len(record_of("grows")["members"]) == 2
    assert cli("train", *BAGGED, "-o", "grows").code == 0
    for name in FILES:
        assert sha256_of(Path("grows", name)) == sha256_of(bagged / name), name
    record = record_of("grows")
    assert len(record["members"]) == 3 and record["test_evaluations"] == 2
    before = sha256_of(Path("grows/record.json"))
    assert cli("train", *LEAN, "--seed", 7, "--bagging", 2, "-o", "grows").code == 0
    assert sha256_of(Path("grows/record.json")) == before


def test_members_can_take_models_and_augmentations_in_turns(cli: Cli) -> None:
    turns = ("--bagging-models", "small,timm:test_resnet", "--bagging-augment", "demo, reference")
    answer = cli("train", *LEAN, "--weights", "none", "--epochs", 1, "--bagging", 3, *turns, "-o", "mixed")
    assert answer.code == 0, answer.err
    members = record_of("mixed")["members"]
    assert [member["architecture"] for member in members] == ["seedwise:small", "test_resnet", "seedwise:small"]
    assert record_of("mixed")["relative_time"] is None
    recipes = [seedwise.load(f"mixed/runs/member-{k}").recipe for k in (1, 2, 3)]
    assert [recipe.augment.cutmix is not None for recipe in recipes] == [False, True, False]
    assert all(recipe.data.bootstrap for recipe in recipes)


def test_what_does_not_fit_is_refused_and_nothing_is_lost(cli: Cli, bagged: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bagged, tmp_path / "three"))
    before = sha256_of(folder / "record.json")
    for arguments, said in (
        ([*BAGGED, "--lr", 0.5], "three: holds another recipe: optim.lr"),
        ([*LEAN, "--bagging", 3], "three: holds members of seed 7, not 0"),
        ([*BAGGED, "--bagging-models", "small,efficientnet_lite0"], "three: holds members of 1 recipes, not 2"),
        ([*LEAN], "three: holds an ensemble, not a single run"),
        ([*LEAN, "--seeds", 2], "three: holds an ensemble, not a study"),
        ([*LEAN, "--seeds", 2, "--bagging", 2], "--bagging and --seeds: give one of them"),
        ([*LEAN, "--bagging-models", "small"], "--bagging-models: give the number of members"),
        ([*LEAN, "--bagging", 2, "--bagging-models", "small,small,small"], "--bagging-models: names 3 for 2 members"),
    ):
        answer = cli("train", *arguments, "-o", "three")
        assert answer.code == 2 and said in answer.line, answer
    assert sha256_of(folder / "record.json") == before
    answer = cli("train", *BAGGED, "--bagging-models", "smal", "-o", "new")
    assert answer.code == 2 and "unknown model 'smal'" in answer.line and not Path("new").exists()
    answer = cli("train", "nowhere", *LEAN[1:], "--bagging", 2, "-o", "new")
    assert answer.code == 2 and not Path("new").exists()
    plan = folder / "bagging.json"
    plan.write_bytes(plan.read_bytes()[:-20])
    answer = cli("resume", "three")
    assert answer.code == 2 and "three/bagging.json:" in answer.line and "damaged" in answer.line
