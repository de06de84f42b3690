"""Beside every verdict: where it holds, what may have been too short for it, and what to do next; on made-up runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Cli
from made_runs import answers_for, make_run

from seedwise.base.errors import UserError
from seedwise.config.options import plain
from seedwise.recipe import library
from seedwise.recipe.schema import Recipe
from seedwise.records.run import read_record
from seedwise.reports import render
from seedwise.study.progress import trial_folder
from seedwise.study.record import StudyRecord, read_study, write_study
from seedwise.study.results import Results
from seedwise.study.setting import Setting, setting, together

IMAGES = 400
LABELS = np.arange(IMAGES) % 4
BASE = library.read("lite", ["augment.cutmix=null", "train.epochs=3"])
CUTMIX = library.read("lite", ["augment.cutmix=default", "train.epochs=3"])
RISING, LEVEL = (0.3, 0.5, 0.7), (0.5, 0.7, 0.7)
COMMAND = "seedwise ablate photos --toggle cutmix --seeds 4 -s train.epochs=3 -o study"
FOLDER = Path("study")


def run(place: Path, recipe: Recipe, share: float, seed: int, **options: Any) -> Path:
    right = np.random.default_rng([int(1000 * share), seed]).random(IMAGES) < share
    answers = dict.fromkeys(("val", "test"), answers_for(LABELS, right))
    return make_run(place, LABELS, answers, seed=seed, recipe=recipe, **options)


def study(share: float, **options: Any) -> StudyRecord:
    """Four seeds of the base at 70%, and of CutMix at this share."""
    for arm, recipe, right in (("base", BASE, 0.7), ("cutmix", CUTMIX, share)):
        for seed in range(4):
            run(FOLDER / trial_folder(arm, seed), recipe, right, seed, **{"curve": LEVEL, **options})
    arms = {"base": plain(BASE), "cutmix": plain(CUTMIX)}
    record = StudyRecord(data="photos", data_dir=None, master_seed=0, seeds=list(range(4)), arms=arms, margin=0.005)
    results = Results(FOLDER)
    record = results.look(results.refresh(record.model_copy(update={"commands": [COMMAND]})))
    write_study(FOLDER, record)
    return record


@pytest.mark.parametrize(
    ("options", "state", "reason"),
    [
        ({"curve": LEVEL, "steps": 20}, "no", "few steps"),
        ({"curve": RISING}, "no", "rising"),
        ({"curve": LEVEL}, "unknown", "noisy"),
        ({"curve": LEVEL[-1:]}, "unknown", "no curve"),
        ({}, "unknown", "no curve"),
        ({"curve": RISING, "steps": 20, "train_top1": 1.0}, "yes", "learned"),
    ],
)
def test_a_record_tells_what_was_trained_and_whether_it_converged(
    options: dict[str, Any], state: str, reason: str
) -> None:
    found = setting(read_record(run(Path("run"), BASE, 0.7, 0, **options)))
    epochs = len(options.get("curve", ()))
    steps = epochs * options.get("steps", 100)
    assert (found.converged, found.reason) == (state, reason)
    size = 32 if epochs else None
    assert (found.model, found.image_size, found.images) == ("small", size, 100)
    assert (found.epochs, found.steps) == ((epochs, steps) if epochs else (None, None))


def test_a_level_curve_tells_only_with_validation_images_enough() -> None:
    record = read_record(run(Path("run"), BASE, 0.7, 0, curve=LEVEL))
    many = record.data.model_copy(update={"splits": record.data.splits | {"val": 20_000}})
    found = setting(record.model_copy(update={"data": many}))
    assert (found.converged, found.reason) == ("yes", "level")


def test_an_arm_has_not_converged_if_half_of_its_seeds_have_not() -> None:
    yes, no = (Setting("small", 32, 100, 3, steps, state, why=state) for steps, state in ((300, "yes"), (200, "no")))
    assert together([yes, no, yes]).converged == "yes" and together([yes, no]).converged == "no"
    assert (together([yes, no, yes]).steps, together([no, yes]).why) == (300, "no (1 of 2 runs)")
    with pytest.raises(ValueError, match="no runs"):
        together([])


def test_every_verdict_of_a_study_says_where_it_holds(cli: Cli) -> None:
    study(0.55, curve=RISING)
    shown = cli("status", FOLDER).out
    assert "holds for: small, 32 px, 100 training images, 3 epochs, 300 steps; base not converged: valid" in shown
    assert "cutmix  hurts: −1" in shown and "short schedules hurt cutmix (says the card)" in " ".join(shown.split())
    line = "seedwise ablate photos --toggle cutmix --seeds 4 -s train.epochs=10 -o study-10-epochs"
    assert f"          {line}\n" in shown
    found = json.loads(cli("status", FOLDER, "--json").out)["comparisons"]["cutmix"]["test"]
    assert found["holds"]["base"]["steps"] == 300 and found["holds"]["base"]["converged"] == "no"
    assert [each["command"] for each in found["advice"]] == [line]
    assert read_study(FOLDER).comparisons["cutmix"]["test"]["sentence"].endswith("and 3 epochs are short")
    alone = cli("compare", FOLDER).out  # as the study does it itself
    assert "holds for: small, 32 px" in alone and f"    {line}\n" in alone


def test_undecided_ends_with_a_command_or_with_not_worth_it(cli: Cli) -> None:
    study(0.71)
    advice = read_study(FOLDER).comparisons["cutmix"]["test"]["advice"]
    sentence = read_study(FOLDER).comparisons["cutmix"]["test"]["sentence"]
    assert sentence.startswith("undecided: ")
    seeds = [each for each in advice if each["kind"] == "seeds"]
    assert ("not worth it" in sentence) == (not seeds)
    assert all(f"--seeds {each['count']}" in each["command"] and each["seconds"] > 0 for each in seeds)


def test_an_arm_that_was_trained_otherwise_says_so(cli: Cli) -> None:
    record = study(0.55)
    shutil.rmtree(FOLDER / "runs/cutmix")
    for seed in range(4):
        run(FOLDER / trial_folder("cutmix", seed), CUTMIX, 0.55, seed, curve=(0.3, 0.4, 0.5, 0.6))
    write_study(FOLDER, Results(FOLDER).refresh(record))
    shown = " ".join(cli("status", FOLDER).out.split())
    assert "base perhaps converged: there are too few validation images" in shown
    assert "(this arm: 4 epochs, 400 steps, not converged: validation still rose at the end)" in shown
    page = render(FOLDER)
    assert "This arm: 4 epochs, 400 optimizer steps. It has not converged: validation still rose at the end." in page


def test_the_page_shows_place_command_and_recipe_in_both_languages() -> None:
    study(0.55, curve=RISING)
    page = render(FOLDER)
    assert "hold for small, 32 px, 100 training images, 3 epochs, 300 optimizer steps. The base has not conv" in page
    assert page.index('id="place"') < page.index('<li data-verdict="hurts"') < page.index("train.epochs=10")
    made = page[page.index("The command that made it") :]
    assert COMMAND in made and '<th scope="row">train.epochs</th><td>3</td>' in made
    korean = render(FOLDER, "ko")
    assert "학습 이미지 100장" in korean and "기준이 아직 수렴하지 않았습니다" in korean and COMMAND in korean


def test_an_older_study_without_any_of_this_is_shown_as_it_was(cli: Cli) -> None:
    record = study(0.55)
    old = {key: it for key, it in record.comparisons["cutmix"]["test"].items() if key not in ("holds", "advice")}
    write_study(FOLDER, record.model_copy(update={"comparisons": {"cutmix": {"test": old}}, "commands": []}))
    shown = cli("status", FOLDER)
    assert shown.code == 0 and "cutmix  hurts" in shown.out and "holds for" not in shown.out
    assert 'data-verdict="hurts"' in render(FOLDER) and 'id="place"' not in render(FOLDER)


def test_compare_lists_the_options_in_which_runs_differ_seeds_and_folders_apart(cli: Cli) -> None:
    run(Path("a/seed-1"), BASE.model_copy(update={"name": "mine", "seed": 7}), 0.7, 1, curve=LEVEL)
    faster = CUTMIX.model_copy(update={"optim": CUTMIX.optim.model_copy(update={"lr": 0.5})})
    run(Path("b/seed-2"), faster, 0.7, 2, curve=LEVEL)
    run(Path("c/seed-1"), BASE, 0.7, 1, curve=LEVEL)
    found = json.loads(cli("compare", "a", "b", "c", "--json").out)["comparisons"]
    paths = [line.split(":")[0] for line in found["b"]["differs"]]
    assert sorted(paths) == ["augment.cutmix", "optim.lr"] and found["c"]["differs"] == []
    assert found["b"]["holds"]["base"]["epochs"] == 3
    shown = cli("compare", "a", "b").out
    assert "  differs in augment.cutmix: null -> {" in shown and f"optim.lr: {BASE.optim.lr} -> 0.5" in shown
    assert "train both with --seeds 5" in shown and "train both with -s train.epochs=10" in shown


def test_an_ensemble_is_compared_without_a_curve_and_without_advice_on_seeds(cli: Cli) -> None:
    for seed in (1, 2, 3):
        run(Path(f"a/seed-{seed}"), BASE, 0.7, seed, curve=LEVEL)
    assert cli("ensemble", "a", "-o", "vote").code == 0
    found = json.loads(cli("compare", "a/seed-1", "vote", "--json").out)["comparisons"]["vote"]
    assert found["test"]["verdict"] == "undecided" and found["advice"] == []
    assert found["holds"]["arm"]["model"].startswith("3 networks (") and found["differs"] == []
    assert "this arm: 3 networks" in " ".join(cli("compare", "a/seed-1", "vote").out.split())


def test_the_command_is_kept_without_what_is_this_machines_own(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from seedwise.study import execute as study_run

    kept = []

    def noted(*given: Any, options: Any, **rest: Any) -> Any:
        kept.append(options.command)
        raise UserError("that will do")

    monkeypatch.setattr(study_run, "ablate", noted)
    home = Path.cwd()
    monkeypatch.setenv("HOME", str(home))
    (home / "work").mkdir()
    monkeypatch.chdir(home / "work")
    photos, here = home / "my photos", home / "work" / "here"
    for folder in (photos, here):
        folder.mkdir()
    options = ["--toggle", "cutmix", "--set", "train.epochs=2", "-s", "optim.lr=0.1", "--data-dir", home, "--json"]
    cli("ablate", photos, *options, "--budget", "2h")
    cli("ablate", here, "--toggle", "cutmix", "--on", "ray", "--address", "node1.lab.example:6379", "-o", home / "out")
    given, out = kept[0].split(" -o runs/my_photos-")  # the default one, which `more seeds` must find again
    assert given == "seedwise ablate ~/'my photos' --toggle cutmix -s train.epochs=2 -s optim.lr=0.1"
    assert out.endswith("-ablation")
    assert kept[1] == "seedwise ablate here --toggle cutmix --on ray -o ~/out"
