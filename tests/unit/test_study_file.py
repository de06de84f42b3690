"""Study files: patches nested or dotted, and every mistake at its line and column."""

from pathlib import Path

import pytest

from seedwise.base.errors import UserError
from seedwise.config.section import diff
from seedwise.study.arms import read_study_file

REPOSITORY = Path(__file__).parents[2]

HEAD = "data: digits\nbase:\n  recipe: demo\n  set:\n    train.epochs: 3\n    optim: {lr: 0.002}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "my study.yaml"
    path.write_text(text)
    return path


def test_nested_and_dotted_patches_mean_the_same(tmp_path: Path) -> None:
    file, arms = read_study_file(
        write(
            tmp_path,
            f"{HEAD}seeds: [3, 5]\nmargin: 1\narms:\n"
            "  a: {augment.rotation: {degrees: 5}, optim.schedule: {name: cosine}}\n"
            "  c: {optim: {lr: 0.1}, train: {epochs: 2}}\n",
        ),
        ["train.batch_size=32"],
    )
    assert (file.data, file.seeds, file.margin) == ("digits", (3, 5), 1)
    assert (arms.base.train.epochs, arms.base.optim.lr, arms.base.train.batch_size) == (3, 0.002, 32)
    assert dict(arms.patches["c"]) == {"optim.lr": 0.1, "train.epochs": 2}
    assert diff(arms.base, arms.recipes["c"]) == ["optim.lr: 0.002 -> 0.1", "train.epochs: 3 -> 2"]
    assert arms.recipes["a"].augment.rotation is not None and arms.recipes["a"].optim.schedule.name == "cosine"
    _, nested = read_study_file(
        write(
            tmp_path,
            f"{HEAD}arms:\n  a:\n    augment:\n      rotation: {{degrees: 5}}\n"
            "    optim:\n      schedule: {name: cosine}\n",
        ),
        ["train.batch_size=32"],
    )
    assert nested.recipes["a"] == arms.recipes["a"] and dict(nested.patches["a"]) == dict(arms.patches["a"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: digits\n", ":1:1: arms"),
        (f"{HEAD}arms: {{}}\n", ":7:7: arms:"),
        (f"{HEAD}arms:\n  x:\n    augment.rotatoin: {{}}\n", ":9:5: arms.x.'augment.rotatoin': unknown key 'rotatoin'"),
        (
            f"{HEAD}arms:\n  x:\n    optim:\n      lr: fast\n",
            ":10:7: arms.x.optim.lr: 'fast' is not a number; must be a number > 0",
        ),
        (f"{HEAD}arms:\n  x:\n    train.epochs: 3\n", ":8:3: arms.x: is the same recipe as base"),
        (f"{HEAD}arms:\n  x: {{optim.lr: 1}}\n  y: {{optim: {{lr: 1}}}}\n", ":9:3: arms.y: is the same recipe as x"),
        (f"{HEAD}arms:\n  base: {{optim.lr: 1}}\n", ":8:3: arms.base: is the base's own name"),
        (f"{HEAD}arms:\n  ../x: {{optim.lr: 1}}\n", ":8:3: arms"),
        (f"{HEAD}sedes: 3\narms:\n  x: {{optim.lr: 1}}\n", ":7:1: sedes: unknown key; did you mean 'seeds'?"),
        ("data: digits\nbase: demmo\narms:\n  x: {optim.lr: 1}\n", ":2:1: base: demmo: no such recipe; did you mean"),
        (HEAD.replace("epochs: 3", "epochs: 0") + "arms:\n  x: {optim.lr: 1}\n", ":5:5: base.set.'train.epochs': must"),
    ],
)
def test_mistakes_are_placed(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        read_study_file(path)
    lines = str(caught.value).splitlines()
    assert any(line.startswith(f"{path}{said}") for line in lines), lines


def test_the_reference_study_has_the_arms_that_it_promises() -> None:
    file, arms = read_study_file(REPOSITORY / "studies" / "reference.yaml")
    assert file.data == "cifar100" and file.seeds == 6 and arms.base.data.limit == 10_000
    assert arms.base.model.name == "efficientnet_lite0" and arms.base.train.image_size <= 64
    assert list(arms.recipes) == [
        *("no-crop", "no-flip", "no-rotation", "no-cutmix", "bilinear", "color_jitter", "drop_path", "progressive"),
        *("large-lr", "annealing"),
    ]
    assert arms.base.augment.resize.interpolation == "nearest" and arms.base.optim.schedule.name == "step"
    for arm, recipe in arms.recipes.items():
        assert diff(arms.base, recipe), arm
