"""What a study makes of its runs, on made-up ones: looks, failed arms, runs that are not its own, other images."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Cli
from made_runs import answers_for, make_run, make_study

from seedwise.base.errors import UserError
from seedwise.recipe.schema import Recipe
from seedwise.study.progress import looked, trial_folder
from seedwise.study.record import StudyRecord, extend, read_study, trial_hash, write_study
from seedwise.study.results import Results

IMAGES = 400
LABELS = np.arange(IMAGES) % 4
FOLDER = Path("study")


def logits(share: float, seed: int) -> dict[str, Any]:
    right = np.random.default_rng([int(1000 * share), seed]).random(IMAGES) < share
    return dict.fromkeys(("val", "test"), answers_for(LABELS, right))


def study_of(seeds: int, **shares: float) -> StudyRecord:
    arms = {arm: {seed: logits(share, seed) for seed in range(seeds)} for arm, share in shares.items()}
    make_study(FOLDER, LABELS, arms)
    return read_study(FOLDER).model_copy(update={"margin": 0.005})


def finish(arm: str, seed: int, share: float, **options: Any) -> None:
    make_run(FOLDER / trial_folder(arm, seed), LABELS, logits(share, seed), seed=seed, **options)


def test_more_seeds_are_another_look_from_the_first_trial_that_ends(cli: Cli) -> None:
    results = Results(FOLDER)
    study = results.look(results.refresh(study_of(6, base=0.7, worse=0.6, same=0.7)))
    assert looked(study) and study.comparisons["worse"]["test"]["alpha"] == 0.025
    study = extend(study, [6])
    finish("base", 6, 0.7)
    finish("worse", 6, 0.6)
    study = results.refresh(study)
    found = study.comparisons["worse"]["test"]
    assert (found["n"], found["alpha"], looked(study)) == (7, 0.0125, False)
    write_study(FOLDER, study)
    assert "(so far, not yet verdicts: look 2, 2 arms together, p below 0.0125" in cli("status", FOLDER).out
    finish("same", 6, 0.7)
    study = results.look(results.refresh(study))
    assert looked(study) and [(look.seeds, look.trials) for look in study.looks] == [(6, 18), (7, 21)]
    assert results.look(results.refresh(study)).looks == study.looks


def test_an_arm_that_always_fails_keeps_no_other_from_its_verdict() -> None:
    study = study_of(6, base=0.7, worse=0.5, large=0.7)
    for seed in range(6):
        shutil.rmtree(FOLDER / trial_folder("large", seed))
        finish("large", seed, 0.7, status="failed")
    results = Results(FOLDER)
    study = results.look(results.refresh(study))
    assert looked(study) and list(study.comparisons) == ["worse"]
    found = study.comparisons["worse"]["test"]
    assert found["verdict"] == "hurts" and found["p_holm"] == pytest.approx(2 * found["p_t"])  # the family stays two


def test_a_run_of_another_arm_in_a_trials_place_is_refused() -> None:
    study = study_of(2, base=0.7, other=0.6)
    quick = Recipe().model_copy(update={"optim": Recipe().optim.model_copy(update={"lr": 0.5})})
    shutil.rmtree(FOLDER / trial_folder("other", 1))
    finish("other", 1, 0.6, recipe=quick)
    with pytest.raises(UserError, match=r"other/seed-1: is not this study's trial \(optim\.lr: 0\.0004 -> 0\.5\)"):
        Results(FOLDER).refresh(study)
    shutil.rmtree(FOLDER / trial_folder("other", 1))
    finish("other", 1, 0.6, recipe=Recipe().model_copy(update={"name": "mine"}))  # a name changes nothing
    assert list(Results(FOLDER).refresh(study).comparisons) == ["other"]


def test_outcomes_on_other_images_are_no_pairs() -> None:
    study = study_of(3, base=0.7)
    study = study.model_copy(update={"arms": study.arms | {"all": study.arms["base"]}})
    for seed in range(3):
        finish("all", seed, 0.7, ids={"val": np.arange(IMAGES) + 1000})
    assert list(Results(FOLDER).refresh(study).comparisons["all"]) == ["test"]


def test_finished_trials_keep_the_hash_of_the_numerics_that_made_them() -> None:
    known = {"fingerprints": {"base": "f" * 64}, "numerics_version": 1}
    study = Results(FOLDER).refresh(extend(study_of(2, base=0.7).model_copy(update=known), [2]))
    before = [trial.hash for trial in study.trials]
    study = Results(FOLDER).refresh(study.model_copy(update={"numerics_version": 2}))
    after = [trial.hash for trial in study.trials]
    assert after[:2] == before[:2] and after[2] == trial_hash(study.arms["base"], "f" * 64, 2, 2) != before[2]


def test_arms_that_would_be_scored_on_other_images_are_refused_and_leave_nothing(cli: Cli) -> None:
    Path("split.yaml").write_text("data: digits\nbase: demo\narms: {other: {data.split_seed: 7}}\n")
    answer = cli("ablate", "split.yaml", "-o", "new")
    assert answer.code == 2 and answer.err.splitlines()[-1].startswith("other: is scored on other test images than the")
    assert not Path("new").exists()
