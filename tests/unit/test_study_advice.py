"""What to do after a verdict: which techniques need a longer schedule, and the commands that give more."""

import shlex
from itertools import pairwise
from typing import Any

import pytest

from seedwise.base.rng import draw_seeds
from seedwise.config.options import plain
from seedwise.recipe import library
from seedwise.study.advice import advise, caveat, general, impatient, joined, longer, seeds_wanted, too_short
from seedwise.study.record import StudyRecord, Trial, parse_seeds
from seedwise.study.setting import Setting, together

BASE = Setting("small", 32, 100, epochs=3, steps=36, converged="no", reason="few steps", why="36 steps are few")
COMMAND = "seedwise ablate ~/photos --toggle cutmix --seeds 3 -s train.epochs=3 -o runs/mine"


def undecided(more: int | None = 26, **changed: Any) -> dict[str, Any]:
    found = {"verdict": "undecided", "n": 3, "mean": 0.01, "ci95_simultaneous": [-0.02, 0.04], "seeds_to_decide": more}
    return found | changed


def study(seeds: list[int], finished: int | None = None, **changed: Any) -> StudyRecord:
    arms = {arm: plain(library.read("lite", list(patch))) for arm, patch in (("base", ()), ("cutmix", ["seed=0"]))}
    done = seeds[:finished]
    trials = [
        Trial(arm=arm, seed=seed, folder="x", status="finished" if seed in done else "planned")
        for seed in seeds
        for arm in arms
    ]
    record = StudyRecord(data="x", data_dir=None, master_seed=0, seeds=seeds, arms=arms, trials=trials)
    return record.model_copy(update={"commands": [COMMAND]} | changed)


def option(command: str | None, name: str) -> list[str]:
    words = shlex.split(command or "")
    return [value for word, value in pairwise(words) if word == name]


@pytest.mark.parametrize(
    ("override", "verdict", "names"),
    [
        ("augment.cutmix=default", "hurts", ["cutmix"]),
        ("augment.cutmix=default", "undecided", ["cutmix"]),
        ("augment.cutmix=default", "helps", []),
        ("augment.rotation=default", "hurts", []),  # its card says nothing of schedules
        ("optim.lr=0.1", "hurts", []),
    ],
)
def test_a_technique_that_needs_epochs_is_named_where_it_shows_no_gain(
    override: str, verdict: str, names: list[str]
) -> None:
    base, arm = library.read("lite", ["augment.cutmix=null"]), library.read("lite", ["augment.cutmix=null", override])
    assert too_short(impatient(base, arm), verdict, BASE) == names
    mirrored = {"helps": "hurts", "hurts": "helps"}.get(verdict, verdict)
    assert too_short(impatient(arm, base), mirrored, BASE) == names  # without it the arm is better: the same thing
    assert bool(caveat(names, BASE)) == bool(names)


def test_a_long_schedule_that_converged_is_no_excuse() -> None:
    switched = {"cutmix": True}
    long = Setting("small", 32, 100, epochs=30, steps=3000, converged="yes")
    assert too_short(switched, "hurts", long) == []
    assert too_short(switched, "hurts", together([long, BASE])) == ["cutmix"]
    assert caveat(["cutmix"], BASE) == "; short schedules hurt cutmix (says the card), and 3 epochs are short"
    assert longer(BASE) == 10 and longer(long) == 90
    assert longer(Setting("small", 32, 10, epochs=3, steps=3)) == 100  # epochs of one step


def test_more_seeds_come_with_the_studys_own_command_and_their_hours() -> None:
    seeds = list(draw_seeds(0, 3))
    (advice,) = advise(study(seeds), undecided(26), [], BASE, 100.0)
    assert option(advice["command"], "--seeds") == ["26"] and option(advice["command"], "-o") == ["runs/mine"]
    assert set(parse_seeds("26", 0)) >= set(seeds)
    assert advice["seconds"] == 2300.0 and advice["said"] == "for 26 seeds, about 38 min more"
    assert advise(study(seeds, jobs=2), undecided(26), [], BASE, 100.0)[0]["seconds"] == 1150.0
    own = [3, 7, 11]  # not those that a count draws: these stay, and so many more are drawn
    (advice,) = advise(study(own), undecided(10), [], BASE, None)
    (count,) = option(advice["command"], "--seeds")
    assert len({*own, *parse_seeds(count, 0)}) == 10 and advice["said"] == "for 10 seeds"


def test_who_decides_with_how_many() -> None:
    assert seeds_wanted(undecided(50)) == 50
    assert seeds_wanted(undecided(51)) is seeds_wanted(undecided(None)) is None  # the sentence says: not worth it
    assert seeds_wanted(undecided(None, ci95_simultaneous=None)) == 5
    assert seeds_wanted(undecided(None, ci95_simultaneous=[0.0, 0.01])) == 6
    assert seeds_wanted(undecided(verdict="helps")) is None
    seeds = list(draw_seeds(0, 30))
    assert advise(study(seeds, finished=3), undecided(26), [], BASE, 100.0) == []  # those that are planned may do
    assert advise(study(seeds, finished=3), undecided(31), [], BASE, 100.0) != []


def test_a_longer_schedule_goes_to_a_folder_of_its_own() -> None:
    (advice,) = advise(study([1, 2, 3]), undecided(None), ["cutmix"], BASE, 60.0)
    assert option(advice["command"], "-s") == ["train.epochs=10"] and option(advice["command"], "--seeds") == ["3"]
    assert option(advice["command"], "-o") == ["runs/mine-10-epochs"] and advice["techniques"] == ["cutmix"]
    assert advice["seconds"] == pytest.approx(600) and advice["said"] == "with 10 epochs, about 10 min"
    flag = study([1, 2, 3], commands=[COMMAND.replace("-s train.epochs=3", "--epochs 3 -s optim.lr=0.1")])
    (advice,) = advise(flag, undecided(None), ["cutmix"], BASE, None)
    assert option(advice["command"], "--epochs") == []
    assert option(advice["command"], "-s") == ["optim.lr=0.1", "train.epochs=10"]


def test_without_a_command_the_words_remain() -> None:
    (advice,) = advise(study([1, 2, 3], commands=[]), undecided(10), [], BASE, None)
    assert advice["command"] is None and advice["said"] == "for 10 seeds"
    seeds, epochs = general(undecided(10), ["cutmix"], BASE, 3600.0)
    assert seeds["said"] == "train both with --seeds 10, about 7.0 h more"
    assert epochs["said"] == "train both with -s train.epochs=10, about 10 h"


def test_a_command_can_be_given_to_a_shell() -> None:
    words = ["seedwise", "ablate", "~/my photos", "-s", "augment.cutmix={prob: 0.5}"]
    assert joined(words) == "seedwise ablate ~/'my photos' -s 'augment.cutmix={prob: 0.5}'"
    assert shlex.split(joined(words)) == words


def test_of_several_commands_the_last_that_names_the_technique_is_made_longer() -> None:
    commands = [COMMAND, COMMAND.replace("--seeds 3", "--seeds 5"), COMMAND.replace("cutmix", "rotation")]
    (advice,) = advise(study([1, 2, 3], commands=commands), undecided(None), ["cutmix"], BASE, None)
    assert option(advice["command"], "--seeds") == ["5"] and option(advice["command"], "--toggle") == ["cutmix"]
