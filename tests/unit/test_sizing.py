"""Epochs, batch and image size from the data and the time."""

import pytest

from seedwise.base.errors import UserError
from seedwise.data.glance import Glance
from seedwise.recipe import library
from seedwise.run import resolve, sizing
from seedwise.run.sizing import Price, rule, within


@pytest.mark.parametrize("images", [2, 3, 10, 86, 120, 400, 2000, 10_000, 45_000, 1_000_000])
@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("side", [1, 8, 28, 32, 100, 224, 500, 4000])
def test_every_number_is_within_its_bounds(images: int, classes: int, side: int) -> None:
    found = rule(images, classes, side)
    assert sizing.FEWEST_EPOCHS <= found.epochs <= sizing.MOST_EPOCHS
    assert sizing.SMALLEST_BATCH <= found.batch_size <= sizing.LARGEST_BATCH
    assert found.image_size in sizing.IMAGE_SIZES


@pytest.mark.parametrize(
    ("images", "classes", "side", "expected"),
    [
        (86, 2, 400, (18, 8, 224)),
        (86, 2, 191, (18, 8, 160)),
        (120, 3, 100, (13, 8, 160)),
        (900, 2, 400, (6, 16, 224)),
        (1000, 2, 400, (5, 16, 160)),
        (5000, 2, 400, (7, 64, 96)),
        (1400, 10, 100, (9, 32, 128)),
        (2000, 100, 32, (13, 32, 128)),
        (45_000, 100, 32, (6, 128, 96)),
    ],
)
def test_the_rule(images: int, classes: int, side: int, expected: tuple[int, int, int]) -> None:
    assert rule(images, classes, side) == sizing.Numbers(*expected)


def test_early_stages_are_frozen_where_photos_are_few_and_weights_are_published() -> None:
    def frozen(images: int, *settings: str) -> int:
        recipe = sizing.filled(library.read("photos", settings), Glance(images, 2, 400))
        return resolve.resolve(recipe).model.freeze

    assert frozen(86) == frozen(sizing.FEW - 1) == sizing.FROZEN_OF_FEW
    assert frozen(sizing.FEW) == frozen(sizing.MANY - 1) == sizing.FROZEN and frozen(sizing.MANY) == 0
    for settings in (("model.name=small",), ("model.weights=none",), ("model.name=timm:resnet18",)):
        assert frozen(86, *settings) == 0
    assert frozen(86, "model.freeze=2") == 2
    base = resolve.resolve(sizing.filled(library.read("photos"), Glance(86, 2, 400)))
    assert resolve.adopt(library.read("photos", ["model.name=small"]), base).model.freeze == 0
    assert resolve.adopt(library.read("photos"), base).model.freeze == sizing.FROZEN_OF_FEW


def test_a_recipe_is_filled_where_it_says_auto_and_only_there() -> None:
    seen = Glance(86, 2, 400)
    numbers = rule(seen.train, seen.classes, seen.short_side)
    whole = sizing.filled(library.read("photos"), seen).train
    assert (whole.epochs, whole.batch_size, whole.image_size) == tuple(vars(numbers).values())
    own = sizing.filled(library.read("photos", ["train.epochs=7", "train.image_size=48"]), seen).train
    assert (own.epochs, own.batch_size, own.image_size) == (7, numbers.batch_size, 48)


def test_epochs_follow_from_the_batch_that_is_given() -> None:
    seen = Glance(2000, 10, 400)
    small, large = (sizing.filled(library.read("photos", [f"train.batch_size={b}"]), seen).train for b in (8, 128))
    assert small.epochs < large.epochs  # as many steps, not as many epochs


def test_what_contradicts_only_once_the_numbers_are_known_is_a_line() -> None:
    recipe = library.read("photos", ["augment.mix_off_epochs=500"])
    with pytest.raises(UserError, match=r"augment\.mix_off_epochs: must be below train\.epochs \(\d+\), is 500"):
        sizing.filled(recipe, Glance(86, 2, 400))
    with pytest.raises(UserError, match=r"mix_off_epochs"):
        library.read("lite", ["augment.mix_off_epochs=500"])


def test_the_arms_of_a_study_share_the_numbers_of_their_base() -> None:
    base = resolve.resolve(sizing.filled(library.read("photos"), Glance(86, 2, 400)))
    arm = resolve.adopt(library.read("photos", ["augment.cutmix={}", "data.limit=40"]), base)
    assert arm.train == base.train and arm.augment.cutmix is not None
    longer = resolve.adopt(library.read("photos", ["train.epochs=99"]), base)
    assert longer.train == base.train.model_copy(update={"epochs": 99})
    with pytest.raises(UserError, match="mix_off_epochs"):
        resolve.adopt(library.read("photos", ["augment.mix_off_epochs=500"]), base)


def test_a_resolved_recipe_is_the_unresolved_one_again() -> None:
    stored = resolve.resolve(sizing.filled(library.read("photos"), Glance(86, 2, 400)))
    resolve.demand_same(library.read("photos"), stored, "a folder")
    with pytest.raises(UserError, match=r"train\.epochs"):
        resolve.demand_same(library.read("photos", ["train.epochs=99"]), stored, "a folder")


def at(costs: dict[int, float]) -> "tuple[list[int], object]":
    asked: list[int] = []

    def price(size: int) -> Price:
        asked.append(size)
        return Price(1.0, costs[size])

    return asked, price


COSTS = {64: 0.5, 96: 1.0, 128: 2.0, 160: 3.0, 192: 4.0, 224: 6.0}


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (41, (20, 128)),  # what the rule wants
        (31, (15, 128)),  # fewer epochs, while they are half of them
        (20, (19, 96)),  # then a smaller size
        (10, (18, 64)),
        (70, (34, 128)),  # more epochs, up to twice as many
        (85, (28, 160)),  # then a larger size
        (1000, (40, 224)),
    ],
)
def test_the_time_buys_epochs_and_then_size(left: float, expected: tuple[int, int]) -> None:
    _, price = at(COSTS)
    epochs, size = within(lambda: left, 20, 11, (128, 64, 96, 160, 192, 224), price)  # type: ignore[arg-type]
    assert (epochs, size) == expected
    assert 1 + epochs * COSTS[size] <= left


def test_a_size_that_was_given_stays() -> None:
    _, price = at(COSTS)
    assert within(lambda: 21.0, 20, 11, (128,), price) == (10, 128)  # type: ignore[arg-type]


def test_too_little_time_says_what_fits() -> None:
    _, price = at(COSTS)
    with pytest.raises(UserError, match=r"10 epochs at 64 px \(110 steps\) take about 15 s here; give --time 0\.5m"):
        within(lambda: 3.0, 20, 11, (128, 64, 96), price)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"take about 2 min here; give --time 2m"):  # what measuring took counts too
        within(lambda: 3.0, 20, 11, (128, 64, 96), price, lambda: 100.0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"take about 15 s here; give --time 1m for 4 runs"):
        within(lambda: 3.0, 20, 11, (128, 64, 96), price, trials=4)  # type: ignore[arg-type]


def test_a_refusal_measures_the_largest_and_the_smallest_size_alone() -> None:
    asked, price = at(COSTS)
    with pytest.raises(UserError, match="too little"):
        within(lambda: 3.0, 20, 11, (160, 64, 96, 128, 192, 224), price)  # type: ignore[arg-type]
    assert set(asked) == {160, 64}


def test_what_was_chosen_is_said_in_a_line() -> None:
    recipe = sizing.filled(library.read("photos", ["train.epochs=40", "train.batch_size=8"]), Glance(86, 2, 400))
    said = sizing.sentence(recipe, 86, 440, 178.0)
    assert said == f"86 photos: 40 epochs of batch 8, 440 steps at {recipe.train.image_size} px, about 3 min"
    assert [sizing.about(s) for s in (3, 42, 56, 4000)] == ["5 s", "40 s", "1 min", "1 h 7 min"]
