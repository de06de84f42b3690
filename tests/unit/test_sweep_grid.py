"""The grid of a sweep: which settings, and what is refused."""

import pytest

from seedwise.base.errors import UserError
from seedwise.study.grid import grid


def test_options_with_several_values_make_a_grid_and_single_ones_hold_for_all() -> None:
    found = grid("demo", ["optim.lr=1e-3,4e-3", "train.epochs=2", "train.batch_size=32,64", "augment.cutmix=default"])
    assert list(found.settings.values()) == [
        {"optim.lr": lr, "train.batch_size": size} for lr in (1e-3, 4e-3) for size in (32, 64)
    ]
    assert list(found.settings) == [
        "base",
        "lr=0.001 batch_size=64",
        "lr=0.004 batch_size=32",
        "lr=0.004 batch_size=64",
    ]
    every = {"base": found.arms.base, **found.arms.recipes}
    for arm, setting in found.settings.items():
        assert every[arm].optim.lr == setting["optim.lr"] and every[arm].train.batch_size == setting["train.batch_size"]
        assert every[arm].train.epochs == 2 and every[arm].augment.cutmix is not None
        assert not every[arm].train.score_test
    assert "base" not in found.arms.patches and len(found.arms.patches) == 3


def test_lists_and_sections_are_single_values_unless_there_are_several() -> None:
    found = grid("demo", ["augment.rotation=null,{degrees: 5},{degrees: 10}"])
    degrees = [recipe.augment.rotation.degrees for recipe in found.arms.recipes.values() if recipe.augment.rotation]
    assert found.arms.base.augment.rotation is None and degrees == [5, 10]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "no option has several values"),
        (["optim.lr=1e-3"], "no option has several values"),
        (["optim.lr=1e-3,0.001"], "give each value once"),
        (["optim.lr=1e-3,2e-3", "optim.lr=3e-3,4e-3"], "optim.lr is swept twice"),
        (["optim.rl=1e-3,2e-3"], "unknown key"),
        (["optim.lr=1e-3,many"], "many"),
        (["optim.lr"], "no option has several values"),
        (["optim.lr=1e-3,2e-3", "data.val=0"], "set data.val above 0"),
    ],
)
def test_what_makes_no_grid_is_refused(given: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        grid("demo", given)
