"""Progressive learning's stages: the published tables, rescaling, what is written into the recipe, and mistakes."""

from typing import Any

import pytest

from seedwise.base.errors import UserError
from seedwise.config.section import dump, load
from seedwise.recipe import library
from seedwise.recipe.progressive import PlannedStage, planned, preset, resolve, scaled
from seedwise.recipe.schema import Recipe
from seedwise.run import resolve as plan

PAPER = [
    ("efficientnetv2_s", 300, [128, 185, 243, 300], (5, 15), (None, None), (0.1, 0.3)),
    ("efficientnetv2_m", 380, [128, 212, 296, 380], (5, 20), (0, 0.2), (0.1, 0.4)),
    ("efficientnetv2_l", 380, [128, 212, 296, 380], (5, 25), (0, 0.5), (0.1, 0.5)),
]
AUTOML = [
    ("efficientnetv2_s", 300, [171, 214, 257, 300], (5, 10), (None, None), (None, None)),
    ("efficientnetv2_m", 384, [192, 256, 320, 384], (5, 15), (0, 0.2), (None, None)),
    ("efficientnetv2_l", 384, [192, 256, 320, 384], (5, 20), (0, 0.5), (None, None)),
]


@pytest.mark.parametrize("case", [("paper", *row) for row in PAPER] + [("automl", *row) for row in AUTOML], ids=str)
def test_the_published_tables(case: tuple[Any, ...]) -> None:
    name, model, final, sizes, magnitude, mixup, dropout = case
    stages = preset(name, model, final)
    assert [stage.image_size for stage in stages] == sizes
    assert [stage.until for stage in stages] == [0.25, 0.5, 0.75, 1.0]
    ends = stages[0], stages[-1]
    assert tuple(stage.rand_augment_magnitude for stage in ends) == magnitude
    assert tuple(stage.mixup_alpha for stage in ends) == mixup
    assert tuple(stage.cutmix_alpha for stage in ends) == (mixup if name == "automl" else (None, None))
    assert tuple(stage.dropout for stage in ends) == dropout
    low, high = magnitude
    middle = [stage.rand_augment_magnitude for stage in stages[1:3]]
    assert middle == pytest.approx([low + (high - low) / 3, low + (high - low) * 2 / 3], abs=1e-4)


@pytest.mark.parametrize("model", ["efficientnet_lite0", "small", "timm:resnet18"])
def test_other_networks_follow_s_and_sizes_are_rescaled(model: str) -> None:
    assert preset("paper", model, 300) == preset("paper", "efficientnetv2_s", 300)
    assert preset("paper", "timm:tf_efficientnetv2_m", 380) == preset("paper", "efficientnetv2_m", 380)
    assert [stage.image_size for stage in preset("paper", model, 96)] == [40, 56, 80, 96]
    assert [stage.image_size for stage in preset("automl", model, 96)] == [56, 72, 80, 96]
    assert [stage.image_size for stage in preset("paper", model, 20)] == [16, 16, 16, 20]
    assert [stage.image_size for stage in preset("paper", model, 8)] == [8] * 4


def test_rescaled_sizes_are_multiples_of_eight() -> None:
    assert [scaled(share, 100) for share in (0.01, 0.36, 0.44, 0.5, 0.999, 1)] == [16, 40, 48, 48, 96, 100]


def test_a_preset_is_written_out_and_switches_on_what_it_raises() -> None:
    recipe = library.read("lite", ["model.name=efficientnetv2_l", "progressive=automl", "model.dropout=0.0"])
    resolved = resolve(recipe)
    assert resolved.augment.rand_augment and resolved.augment.mixup and resolved.augment.cutmix
    assert (resolved.augment.mixup.prob, resolved.augment.cutmix.prob) == (1.0, 1.0)
    assert load(Recipe, dump(resolved)) == resolved
    assert resolve(resolved) == resolved
    plan.demand_same(recipe, plan.adopt(recipe, resolved), "folder")
    kept = resolve(library.read("strong", ["progressive=paper"]))
    assert kept.augment.cutmix == library.read("strong").augment.cutmix and kept.augment.mixup is None
    off = resolve(library.read("lite", ["progressive=paper", "model.dropout=0.0"]))
    assert off.model.dropout == 0.3


def test_none_is_the_default_and_changes_nothing() -> None:
    assert library.read("lite", ["progressive=none"]) == library.read("lite") == resolve(library.read("lite"))


def test_a_list_of_ones_own() -> None:
    stages = "[{until: 0.2, size: 0.5, dropout: 0.1}, {until: 0.6, mixup_alpha: 0.1}, {image_size: 90}]"
    recipe = library.read("lite", ["train.image_size=96", "augment.mixup={}", f"progressive={stages}"])
    resolved = resolve(recipe)
    assert isinstance(resolved.progressive, tuple)
    assert planned(resolved.progressive, 10) == (
        PlannedStage(1, 0, 48, {}, 0.1),
        PlannedStage(2, 2, 96, {"mixup.alpha": 0.1}, 0.2),
        PlannedStage(3, 6, 90, {}, 0.2),
    )
    assert [stage.number for stage in planned(resolved.progressive, 2)] == [2, 3]
    thirds = resolve(library.read("lite", ["progressive=[{size: 0.5}, {}, {}]"])).progressive
    assert [stage.first_step for stage in planned(thirds, 9)] == [0, 3, 6]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[{until: .5}, {until: .4}]", "progressive[1].until: must be above the stage before's 0.5, is 0.4"),
        ("[{until: .5}, {until: .6}]", "progressive[1].until: must be 1 in the last stage, is 0.6"),
        ("[{}, {until: 1}]", "progressive[0]: has no until; give it to every stage, or to none"),
        (
            "[{image_size: 99}]",
            "progressive[0].image_size: must be at most train.image_size (96), the final size, is 99",
        ),
        ("[{image_size: 64, size: .5}]", "progressive[0].size: image_size is given too; drop one of them"),
        ("[{mixup_alpha: .1}, {}]", "progressive[1]: has no mixup_alpha; give it to every stage, or set augment.mixup"),
        ("[{untill: 1}]", "unknown key 'untill' in progressive[0]; did you mean 'until'?"),
        ("[{}, {dropout: 1.5}]", "progressive[1].dropout: must be < 1, is 1.5"),
    ],
)
def test_mistakes_are_one_line_with_their_place(text: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        library.read("lite", ["train.image_size=96", f"progressive={text}"])
    assert str(caught.value) == f"-s progressive={text}: {line}"
    with pytest.raises(UserError, match=r"^r\.yaml:\d+:\d+: .*progressive") as caught:
        load(Recipe, f"train: {{image_size: 96}}\nprogressive: {text}\n", "r.yaml")
    assert str(caught.value).startswith("r.yaml:2:") and "\n" not in str(caught.value)


def test_a_misspelt_preset() -> None:
    with pytest.raises(UserError, match="did you mean 'paper'"):
        library.read("lite", ["progressive=papr"])


def test_a_magnitude_beyond_the_scale() -> None:
    narrow = library.read("lite", ["augment.rand_augment={num_magnitude_bins: 12}", "progressive=paper"])
    with pytest.raises(UserError, match=r"^progressive\.2\.rand_augment_magnitude: must be at most 11,"):
        resolve(narrow)
