"""Recipes in YAML: what loads, where each mistake is reported, overrides, and writing them back."""

import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import Field, ValidationError, model_validator
from test_yaml12 import SCALARS

from seedwise.base.errors import UserError
from seedwise.config import yaml12
from seedwise.config.section import Section, diff, dump, json_schema, load, paths


class Fill(Enum):
    ZERO = "zero"
    REFLECT = "reflect"


class Train(Section):
    epochs: int = Field(10, gt=0)
    """Passes over the training images."""
    batch_size: Annotated[int, Field(gt=0)] | Literal["auto"] = "auto"
    amp: bool = False
    select: Literal["last", "best"] = "last"
    patience: int | None = None
    """Epochs without progress before the run stops."""


class Optim(Section):
    lr: float = Field(1e-3, gt=0)
    eps: float = 1e-8
    betas: tuple[float, float] = (0.9, 0.999)
    milestones: tuple[int, ...] = Field((), max_length=3)
    decay: float | tuple[float, ...] = 0.0


class CutMix(Section):
    prob: float = Field(0.5, ge=0, le=1)
    alpha: float = 1.0


class Crop(Section):
    padding: int
    fill: Fill = Fill.REFLECT


class Augment(Section):
    crop: Crop | None = Crop(padding=4)
    cutmix: CutMix | None = None
    flip: bool | CutMix | None = None


class Cosine(Section):
    kind: Literal["cosine"] = "cosine"
    floor: float = 0.0


class Step(Section):
    kind: Literal["step"] = "step"
    gamma: float = 0.9

    @model_validator(mode="after")
    def _check(self) -> "Step":
        if self.gamma > 1:
            raise ValueError("gamma: must shrink the rate; give at most 1")
        return self


class Recipe(Section):
    name: str = "base"
    train: Train = Train()
    optim: Optim = Optim()
    augment: Augment = Augment()
    schedule: Annotated[Cosine | Step, Field(discriminator="kind")] = Cosine()
    class_weights: dict[str, float] = Field(default_factory=dict)
    weights: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> "Recipe":
        if self.train.patience is not None and self.train.select == "last":
            raise ValueError("train.patience: needs validation; set train.select=best")
        if self.name == "nowhere":
            raise ValueError("this recipe leads nowhere")
        return self


def problem(text: str | Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load(Recipe, text, "recipe.yaml", overrides)
    return str(caught.value)


BAD = [
    # Keys.
    ("name: a\n\ntrain:\n  epohcs: 5\n", "4:3: train.epohcs: unknown key; did you mean 'epochs'?"),
    ("optim:\n  epochs: 5\n", "2:3: optim.epochs: unknown key; 'epochs' belongs to 'train'"),
    ("train: {name: x}", "1:9: train.name: unknown key; 'name' belongs to the top level"),
    ("alpha: 1", "1:1: alpha: unknown key; 'alpha' belongs to 'augment.cutmix' or 'augment.flip'"),
    ("trian:\n  epochs: 5", "1:1: trian: unknown key; did you mean 'train'?"),
    ("train: {batch-size: 5}", "1:9: train.batch-size: unknown key; did you mean 'batch_size'?"),
    ("augment:\n  cutmix:\n    q: 1", "3:5: augment.cutmix.q: unknown key; the keys here are prob, alpha"),
    ("name: a\nname: b", "2:1: name: duplicate key; it is on line 1 already, remove one"),
    ("train:\n  amp: true\n  amp: true", "3:3: train.amp: duplicate key; it is on line 2 already, remove one"),
    ("? [a]\n: 1", "1:3: a key must be a name, not a list or mapping"),
    ("augment: {crop: {fill: zero}}", "1:11: augment.crop.padding: missing; must be an integer"),
    # Types.
    ("optim:\n  lr: fast", "2:7: optim.lr: 'fast' is not a number; must be a number > 0"),
    ("optim:\n  lr: '0.1'", "2:7: optim.lr: '0.1' is not a number; remove the quotes"),
    ("optim: {eps: true}", "1:14: optim.eps: true is not a number"),
    ("train: {epochs: true}", "1:17: train.epochs: true is not an integer; must be an integer > 0"),
    ("train: {epochs: 2.0}", "1:17: train.epochs: 2.0 is not an integer; write 2"),
    ("train: {amp: off}", "1:14: train.amp: 'off' is not true or false; write false"),
    ("train: {amp: 1}", "1:14: train.amp: 1 is not true or false"),
    ("name: 12", "1:7: name: 12 is not a string; put it in quotes"),
    ("name: [a]", "1:7: name: must be a string, is [a]"),
    ("train: {epochs: {a: 1}}", "1:17: train.epochs: must be an integer > 0, is a mapping"),
    ("train: {epochs: }", "1:16: train.epochs: must be an integer > 0, is null"),
    ("train: 5", "1:8: train: must be a mapping of options (epochs, batch_size, amp, select, patience), is 5"),
    ("augment:\n  cutmix: 0.5", "2:11: augment.cutmix: must be a mapping of options (prob, alpha), is 0.5"),
    ("optim: {milestones: 3}", "1:21: optim.milestones: must be a list (each an integer), is 3"),
    ("optim:\n  milestones:\n  - 1\n  - x", "4:5: optim.milestones[1]: 'x' is not an integer"),
    ("class_weights: {cat: x}", "1:22: class_weights.cat: 'x' is not a number"),
    ('class_weights: {"a\\nb": x}', "1:25: class_weights.'a\\nb': 'x' is not a number"),
    # Ranges and choices.
    ("train:\n  epochs: -1", "2:11: train.epochs: must be > 0, is -1"),
    ("augment: {cutmix: {prob: 1.5}}", "1:26: augment.cutmix.prob: must be <= 1, is 1.5"),
    ("optim: {lr: .inf}", "1:13: optim.lr: must be a finite number, is .inf"),
    ("optim: {lr: 1e999}", "1:13: optim.lr: must be a finite number, is .inf"),
    ("optim: {betas: [0.9]}", "1:9: optim.betas[1]: missing; must be a number"),
    ("optim: {betas: [1, 2, 3]}", "1:16: optim.betas: must have at most 2 items, has 3"),
    ("optim: {milestones: [1, 2, 3, 4]}", "1:21: optim.milestones: must have at most 3 items, has 4"),
    ("train: {select: bset}", "1:17: train.select: must be 'last' or 'best', is 'bset'; did you mean 'best'?"),
    (
        "augment: {crop: {padding: 4, fill: refelct}}",
        "1:36: augment.crop.fill: must be 'zero' or 'reflect', is 'refelct'; did you mean 'reflect'?",
    ),
    # Unions are one line, and a mapping meant for the section in a union is told about its own mistake.
    ("train: {batch_size: fast}", "1:21: train.batch_size: must be an integer > 0 or 'auto', is 'fast'"),
    ("train: {batch_size: 0}", "1:21: train.batch_size: must be an integer > 0 or 'auto', is 0"),
    ("optim: {decay: [1, x]}", "1:16: optim.decay: must be a number or a list (each a number), is [1, x]"),
    ("augment: {flip: {prob: 2}}", "1:24: augment.flip.prob: must be <= 1, is 2"),
    ("augment: {flip: 3}", "1:17: augment.flip: must be true or false or a mapping of options (prob, alpha), is 3"),
    ("schedule: {kind: cosin}", "1:18: schedule.kind: must be 'cosine' or 'step', is 'cosin'; did you mean 'cosine'?"),
    ("schedule: {floor: 1}", "1:1: schedule.kind: missing; must be 'cosine' or 'step'"),
    ("schedule: {kind: step, gama: 1}", "1:24: schedule.gama: unknown key; did you mean 'gamma'?"),
    ("schedule: {kind: step, gamma: x}", "1:31: schedule.gamma: 'x' is not a number"),
    # Across fields: at the option that the message names, else at the section.
    ("train:\n  patience: 3", "2:13: train.patience: needs validation; set train.select=best"),
    ("schedule: {kind: step, gamma: 2}", "1:31: schedule.gamma: must shrink the rate; give at most 1"),
    ("\nname: nowhere", "2:1: this recipe leads nowhere"),
    # YAML itself.
    (
        "- a",
        "1:1: must be a mapping of options (name, train, optim, augment, schedule, class_weights, weights), is [a]",
    ),
    ("train:\n\tepochs: 1", "2:1: a tab character; indent with spaces"),
    ("name: a\x00b", "1:8: control character U+0000; remove it"),
    ("name: a\n# \x1b", "2:3: control character U+001B; remove it"),
    ("name: a\n---\nname: b", "2:1: a second document; keep one per file, without a '---' between"),
    ("name: !!python/name:os.system x", "1:7: tag '!!python/name:os.system'; remove it, values here need no tags"),
    ("name: !x a", "1:7: tag '!x'; remove it, values here need no tags"),
    ("train: &t {amp: *t}", "1:8: train.amp: the alias stands inside its own anchor; write the values out"),
    ("name: *x", "1:7: not valid YAML: found undefined alias 'x'"),
    ("name: a: b", "1:8: not valid YAML: mapping values are not allowed here"),
    ("name: 'a", "1:9: not valid YAML: found unexpected end of stream (while scanning a quoted scalar)"),
    ('name: "\\UFFFFFFFF"', "1:10: not valid YAML; check the escape before this"),
    ('name: "\\ud800"', "1:7: name: a lone surrogate is no character; remove the escape"),
    ("name: " + "9" * 5000, "1:7: name: a number of 5,000 digits is too long"),
    ("- a\n" * 20_000, "10000:3: more than 10,000 values"),
    ("[" * 5000, "1:33: nested deeper than 32 levels"),
]


@pytest.mark.parametrize(("text", "expected"), BAD)
def test_a_mistake_is_one_line_with_its_place(text: str, expected: str) -> None:
    assert problem(text) == f"recipe.yaml:{expected}"


def test_every_mistake_has_its_line_in_the_order_of_the_file() -> None:
    assert problem("optim: {lr: -1, x: 1}\ntrain: {epochs: 0}\n", "name=5").splitlines() == [
        "recipe.yaml:1:13: optim.lr: must be > 0, is -1",
        "recipe.yaml:1:17: optim.x: unknown key; the keys here are lr, eps, betas, milestones, decay",
        "recipe.yaml:2:17: train.epochs: must be > 0, is 0",
        "-s name=5: 5 is not a string; put it in quotes",
    ]


def test_aliases_work_and_alias_bombs_do_not() -> None:
    recipe = load(Recipe, "augment:\n  cutmix: &mix {prob: 0.25}\n  flip: *mix\n")
    assert recipe.augment.flip == recipe.augment.cutmix == CutMix(prob=0.25)
    bomb = "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]\n" for i in range(9))
    assert "more than 10,000 values once aliases are expanded" in problem(bomb)


FILES = [
    (b"", ": empty; write at least one option, as 'key: value'"),
    (b"# nothing yet\n", ": empty; write at least one option, as 'key: value'"),
    (b"name: a\ntrain: \xff", ":2:8: not UTF-8 text; save the file as UTF-8"),
    ("name: ü\n".encode("utf-16"), ":1:1: not UTF-8 text; save the file as UTF-8"),
    (b"x" * 1_000_001, ": 1,000,001 characters, too long for a recipe; at most 1,000,000"),
    (b"\xef\xbb\xbfname: 5", ":1:7: name: 5 is not a string; put it in quotes"),
]


@pytest.mark.parametrize(("content", "expected"), FILES)
def test_bad_files(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load(Recipe, file)
    assert str(caught.value) == f"{file}{expected}"


def test_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.yaml: no such file"):
        load(Recipe, tmp_path / "no.yaml")
    with pytest.raises(UserError, match="a directory, not a recipe file"):
        load(Recipe, tmp_path)
    assert problem(tmp_path / "a\0b").startswith("recipe.yaml: can't be read: ")


OVERRIDES = [
    ("optim.lr=1e-2", {"optim": {"lr": 0.01}}),
    ("optim.lr=3", {"optim": {"lr": 3.0}}),
    ("optim.betas=[0.8,0.9]", {"optim": {"betas": [0.8, 0.9]}}),
    ("optim={lr: 2, eps: 1e-6}", {"optim": {"lr": 2, "eps": 1e-6}}),
    ("name=off", {"name": "off"}),
    ("name='12'", {"name": "12"}),
    ('name="a\\tb"', {"name": "a\tb"}),
    ("name=a=b", {"name": "a=b"}),
    ("name=timm:resnet18", {"name": "timm:resnet18"}),
    ("name=a: b", {"name": "a: b"}),
    ("name=@home", {"name": "@home"}),
    ("name=*", {"name": "*"}),
    ("name=- a", {"name": "- a"}),
    ("name=a #1", {"name": "a #1"}),
    ("name=#1", {"name": "#1"}),
    ("name=[a", {"name": "[a"}),
    ("name='a' b", {"name": "'a' b"}),
    ("name=!x", {"name": "!x"}),
    ("name=''", {"name": ""}),
    ("name='default'", {"name": "default"}),
    (" train.epochs = 3 ", {"train": {"epochs": 3}}),
    ("augment.cutmix.prob=0.25", {"augment": {"cutmix": {"prob": 0.25}}}),
    ("augment.cutmix=default", {"augment": {"cutmix": {}}}),
    ("augment.crop=null", {"augment": {"crop": None}}),
    ("augment.crop.fill=zero", {"augment": {"crop": {"padding": 4, "fill": "zero"}}}),
    ("class_weights.cat=2", {"class_weights": {"cat": 2}}),
    ("weights=a/b", {"weights": "a/b"}),
]


@pytest.mark.parametrize(("override", "same_as"), OVERRIDES)
def test_overrides(override: str, same_as: dict[str, Any]) -> None:
    assert load(Recipe, "{}", "x", [override]) == load(Recipe, yaml12.write(same_as))


def test_overrides_beat_the_file_and_the_later_one_wins() -> None:
    text = "optim: {lr: wrong, eps: 1.0}\naugment: {cutmix: {prob: 0.1, alpha: 2.0}, crop: null}\ntrain: {patience: 3}"
    more = ["optim.lr=1", "optim.lr=2", "augment.cutmix.prob=0.2", "augment.crop.padding=2", "train.patience=null"]
    recipe = load(Recipe, text, "x", more)
    assert (recipe.optim.lr, recipe.optim.eps) == (2.0, 1.0)
    assert recipe.augment.cutmix == CutMix(prob=0.2, alpha=2.0)
    assert recipe.augment.crop == Crop(padding=2)
    assert recipe.train.patience is None
    assert load(Recipe, text, "x", [*more, "optim.eps=default", "augment.cutmix=null"]).optim.eps == 1e-8
    assert load(Recipe, text, "x", [*more, "augment.cutmix=null", "augment.cutmix=default"]).augment.cutmix == CutMix()
    assert load(Recipe, text, "x", [*more, "augment.crop=default"]).augment.crop == Crop(padding=4)


BAD_OVERRIDES = [
    ("train.epohcs=5", "train.epohcs=5: unknown key 'epohcs' in train; did you mean 'epochs'?"),
    ("train.epohcs=default", "train.epohcs=default: unknown key 'epohcs' in train; did you mean 'epochs'?"),
    ("trian.epochs=5", "trian.epochs=5: unknown key 'trian'; did you mean 'train'?"),
    ("optim.epochs=5", "optim.epochs=5: unknown key 'epochs' in optim; 'epochs' belongs to 'train'"),
    ("train.epochs", "train.epochs: no '='; write it as section.option=value"),
    ("=5", "=5: an empty name before '='; write it as section.option=value"),
    ("train..epochs=5", "train..epochs=5: an empty name before '='; write it as section.option=value"),
    ("name=", "name=: no value after '='; null takes an option out, '' is the empty string"),
    ("train.epochs.x=5", "train.epochs.x=5: train.epochs is an integer > 0, without options below it"),
    ("optim.lr=fast", "optim.lr=fast: 'fast' is not a number; must be a number > 0"),
    ("optim={lr: fast}", "optim={lr: fast}: optim.lr: 'fast' is not a number; must be a number > 0"),
    ("train.epochs=null", "train.epochs=null: must be an integer > 0, is null"),
    ("train.batch_size=x", "train.batch_size=x: must be an integer > 0 or 'auto', is 'x'"),
    ("augment.crop={}", "augment.crop={}: augment.crop.padding: missing; must be an integer"),
    ("schedule.gamma=1", "schedule.gamma=1: unknown key 'gamma' in schedule; the keys here are kind, floor"),
    ("schedule.gama=default", "schedule.gama=default: unknown key 'gama' in schedule; did you mean 'gamma'?"),
    (
        "augment.crop.padding=default",
        "augment.crop.padding=default: augment.crop.padding has no default; give an integer",
    ),
    ("train.patience=2", "train.patience=2: needs validation; set train.select=best"),
    ("name=\udcff", "'name=\\udcff': not valid UTF-8; type it again"),
]


@pytest.mark.parametrize(("override", "expected"), BAD_OVERRIDES)
def test_bad_overrides_name_the_override(override: str, expected: str) -> None:
    assert problem("{}", override) == f"-s {expected}"


def test_an_override_below_a_wrong_value_of_the_file() -> None:
    assert problem("train: 5", "train.epochs=5") == (
        "-s train.epochs=5: train is 5 in the recipe, not a mapping; correct it there"
    )
    assert problem("augment: {crop: null}", "augment.crop.fill=zero") == (
        "-s augment.crop.fill=zero: augment.crop.padding: missing; must be an integer"
    )


ROUND_TRIPS: list[Section] = [
    Recipe(),
    Recipe(name="off", optim=Optim(lr=1e-3, eps=1e-8, milestones=(3, 5), decay=(0.1, 1e22))),
    Recipe(augment=Augment(crop=None, cutmix=CutMix(prob=1.0), flip=True), schedule=Step(gamma=0.5)),
    Recipe(class_weights={"cat": 1e-300, "1": 2.0, "null": 1.0, "a b": 0.5, "": 1.0}, weights=Path("a/b.safetensors")),
    *[Recipe(name=name) for name, _ in SCALARS],
    *[
        Recipe(name=name)
        for name in ("a\nb", " a ", "# a", "a: b", "é🙂\u2028\x85", "\t", "'\"", "x" * 300, "- a", "@")
    ],
]


@pytest.mark.parametrize("recipe", ROUND_TRIPS)
def test_what_is_written_loads_back_and_reads_alike_in_yaml_1_1(recipe: Section) -> None:
    text = dump(recipe)
    assert load(type(recipe), text) == recipe
    assert yaml.safe_load(text) == recipe.model_dump(mode="json")
    assert yaml12.read(text, "x").value == recipe.model_dump(mode="json")


def test_dump_is_complete_ordered_and_headed() -> None:
    assert dump(Optim(), "For tests.\n\nSecond") == (
        "# For tests.\n#\n# Second\n"
        "lr: 0.001\neps: 1.0e-08\nbetas: [0.9, 0.999]\nmilestones: []\ndecay: 0.0\n"
    )  # fmt: skip


def test_diff() -> None:
    other = Recipe(optim=Optim(lr=4e-4), augment=Augment(cutmix=CutMix()), schedule=Step())
    assert diff(Recipe(), Recipe()) == []
    assert yaml12.write_inline([[1, [2]], {"a": "x\ny"}]) == '[[1, [2]], {a: "x\\ny"}]'
    assert diff(Recipe(), other) == [
        "optim.lr: 0.001 -> 0.0004",
        "augment.cutmix: null -> {prob: 0.5, alpha: 1.0}",
        "schedule.kind: cosine -> step",
        "schedule.floor: 0.0 -> absent",
        "schedule.gamma: absent -> 0.9",
    ]


def test_paths() -> None:
    options = {option.path: option for option in paths(Recipe)}
    assert list(options)[:3] == ["name", "train.epochs", "train.batch_size"]
    assert options["train.epochs"].description == "Passes over the training images."
    assert (options["train.epochs"].type, options["train.epochs"].default) == ("an integer > 0", "10")
    assert options["train.patience"].type == "an integer or null"
    assert options["augment.cutmix"].default == "null"
    assert options["augment.crop.padding"].default is None
    assert options["optim.betas"].default == "[0.9, 0.999]"
    assert {"augment.flip", "augment.flip.prob", "schedule.floor", "schedule.gamma"} <= set(options)


def test_json_schema_carries_descriptions() -> None:
    schema = json_schema(Recipe)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    epochs = schema["$defs"]["Train"]["properties"]["epochs"]
    assert (epochs["description"], epochs["exclusiveMinimum"]) == ("Passes over the training images.", 0)
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("values", [{"epochs": "3"}, {"epochs": True}, {"amp": 1}, {"epocs": 1}])
def test_sections_are_strict_from_python_too(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Train(**values)


def test_loading_needs_no_torch() -> None:
    code = "import sys, seedwise.config.section; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
