"""`--toggle`: names as people write them, which way each switch goes, and that every arm is a recipe that differs."""

import pytest

from seedwise.augment.config import AugmentConfig
from seedwise.base.errors import UserError
from seedwise.config.section import diff
from seedwise.recipe import library
from seedwise.recipe.techniques import TECHNIQUES
from seedwise.run import resolve
from seedwise.study.arms import toggled
from seedwise.study.toggles import ALIASES, NO_TOGGLE, TOGGLES, find


def test_every_optional_augmentation_and_every_technique_has_a_toggle() -> None:
    optional = {name for name, field in AugmentConfig.model_fields.items() if field.default is None}
    assert optional - set(TOGGLES) == {"custom"}
    assert {technique.name for technique in TECHNIQUES} - set(TOGGLES) == {"custom", "distill", "tta"}


@pytest.mark.parametrize("name", TOGGLES)
def test_a_toggle_changes_the_base_and_toggling_twice_gives_it_back(name: str) -> None:
    base = library.read("lite")
    arms = toggled("lite", (), [name])
    [(arm, changed)] = arms.recipes.items()
    differences = diff(base, changed)
    assert differences and all(line.startswith(TOGGLES[name].path) for line in differences)
    has, patch = TOGGLES[name].patch(changed)
    assert has is not arm.startswith("no-")
    if has:  # the base had not: taken out again it is the base
        back = toggled(
            "lite", [f"{path}={'null' if value is None else value}" for path, value in patch.items()], ["ema"]
        )
        assert not diff(back.base, base)


def test_arms_are_named_after_what_was_typed_and_say_what_they_change() -> None:
    arms = toggled("reference", (), ["flip", "CutMix", "drop_path", "color-jitter"])
    assert dict(arms.patches) == {
        "no-flip": {"augment.horizontal_flip": None},
        "no-CutMix": {"augment.cutmix": None},
        "drop_path": {"model.drop_path": 0.2},
        "color-jitter": {"augment.color_jitter": {}},
    }
    assert diff(arms.base, arms.recipes["drop_path"]) == ["model.drop_path: 0.0 -> 0.2"]
    assert arms.recipes["no-flip"].augment.horizontal_flip is None


def test_overrides_of_the_base_hold_for_its_arms_too() -> None:
    arms = toggled("lite", ["train.epochs=7", "augment.rotation={degrees: 5}"], ["rotation", "dropout"])
    assert {recipe.train.epochs for recipe in (arms.base, *arms.recipes.values())} == {7}
    assert list(arms.patches) == ["no-rotation", "no-dropout"]


@pytest.mark.parametrize("alias", [alias for alias, name in ALIASES.items() if name not in NO_TOGGLE])
def test_aliases_lead_to_toggles(alias: str) -> None:
    assert find(alias.replace("_", "-").upper()) is TOGGLES[ALIASES[alias]]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["cutmx"], "--toggle cutmx: no such technique; did you mean 'cutmix'?"),
        (["rotatoin"], "--toggle rotatoin: no such technique; did you mean 'rotation'?"),
        (["resize"], "--toggle resize: resizing is always on"),
        (["custom"], "--toggle custom: your own function has no default"),
        (["teacher"], "--toggle teacher: it needs a teacher; name it in a study file"),
        (["TTA"], "--toggle TTA: it changes no trained weights"),
        (["zzz"], "--toggle zzz: no such technique; use random_resized_crop, "),
        (["flip", "hflip"], "--toggle hflip: is there twice"),
        ([], "--toggle: no technique named"),
    ],
)
def test_what_cant_be_toggled_is_said_in_a_line(names: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        toggled("lite", (), names)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_arms_take_the_bases_automatic_choices() -> None:
    arms = toggled("demo", ["compute.kernels=fallback"], ["rotation"])
    base = resolve.resolve(arms.base)
    assert resolve.adopt(arms.recipes["rotation"], base).compute == base.compute
