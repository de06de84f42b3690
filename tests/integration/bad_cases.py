"""Cases of test_bad_input.py: what is wrong in configuration, data and the files of runs."""

import os
from pathlib import Path

from bad_commands import STOPPED_AGAIN, bomb_of_names, on, option, recipe, resume, train, weights
from bad_input import (
    Case,
    cut,
    damaged_cache,
    encoded,
    flip,
    own_cache,
    parquet,
    photos,
    png_bomb,
    png_header,
    table,
    tar_with_link,
    unsealed,
    with_image,
    zipped,
)

CONFIGURATION = [
    Case("yaml: unknown key", recipe("train: {epohcs: 3}\n"), r"^my recipe\.yaml:1:9: train\.epohcs: .* mean 'epochs'"),
    Case(
        "yaml: text for a number", recipe("train:\n  epochs: many\n"), r"^my recipe\.yaml:2:11: train\.epochs: .*'many'"
    ),
    Case("yaml: quoted number", recipe("train:\n  epochs: '3'\n"), r"yaml:2:11: train\.epochs: .*remove the quotes"),
    Case("yaml: yes for a number", recipe("train: {epochs: true}\n"), r"yaml:1:\d+: train\.epochs: .*integer"),
    Case("yaml: too large", recipe("model: {dropout: 1.5}\n"), r"yaml:1:\d+: model\.dropout: must be < 1"),
    Case("yaml: not a number", recipe("optim: {lr: .nan}\n"), r"yaml:1:\d+: optim\.lr: must be a finite number"),
    Case("yaml: a list of sections", recipe("- train\n"), r"^my recipe\.yaml.*mapping"),
    Case("yaml: a section that is a number", recipe("train: 3\n"), r"yaml:1:\d+: train: must be a mapping"),
    Case("yaml: a key twice", recipe("seed: 1\nseed: 2\n"), r"^my recipe\.yaml:2:1: seed: duplicate key"),
    Case("yaml: a bracket open", recipe("train: {epochs: 3\n"), r"^my recipe\.yaml:\d+:\d+: "),
    Case("yaml: a tab", recipe("train:\n\tepochs: 3\n"), r"^my recipe\.yaml:2:\d+: .*[Tt]ab"),
    Case("yaml: two documents", recipe("seed: 1\n---\nseed: 2\n"), r"^my recipe\.yaml:\d+:\d+: "),
    Case("yaml: a Python object", recipe("seed: !!python/object:os.system {}\n"), r"^my recipe\.yaml:1:\d+: "),
    Case("yaml: nested too deeply", recipe("[" * 5000), r"^my recipe\.yaml.*(nested|deep)"),
    Case("yaml: a billion names", bomb_of_names, r"^bomb\.yaml:\d+:\d+: "),
    Case(
        "yaml: another encoding",
        recipe("name: caf\xe9\n".encode("latin-1")),
        r"^my recipe\.yaml:1:10: not UTF-8 text; save",
    ),
    Case("yaml: an image", recipe(encoded()), r"^my recipe\.yaml:1:1: not UTF-8 text; save"),
    Case("yaml: missing", lambda place: ["train", "digits", "-r", "mine.yaml"], r"^mine\.yaml: no such recipe"),
    Case("-s: unknown key", option("train.epohcs=3"), r"^-s train\.epohcs=3: unknown key .*did you mean 'epochs'"),
    Case("-s: no value", option("train.epochs="), r"^-s train\.epochs=: no value after '='"),
    Case("-s: no =", option("train.epochs"), r"^-s train\.epochs: no '='; write it as section\.option=value"),
    Case("-s: type", option("train.epochs=3.5"), r"^-s train\.epochs=3\.5: 3\.5 is not an integer"),
    Case("-s: range", option("augment.cutmix.prob=2"), r"^-s augment\.cutmix\.prob=2: must be <= 1, is 2"),
    Case("-s: broken YAML", option("data.limit={a: [1"), r"^-s data\.limit=\{a: \[1: "),
    Case("-s: a section", option("train=3"), r"^-s train=3: must be a mapping of options"),
    Case(
        "-s: millions of threads",
        option("compute.threads=99999999"),
        r"^compute\.threads: 99999999 is too many, .*auto",
    ),
    Case("-s: below a number", option("train.epochs.x=1"), r"^-s train\.epochs\.x=1: .*without options below it"),
    Case(
        "-s: null",
        option("train.epochs=null"),
        r"^-s train\.epochs=null: must be an integer >= 1 and .*, is null",
    ),
    Case(
        "-m beside an own network",
        lambda place: train("digits", "-s", "model.factory=nets:build"),
        r"^-m small: the model is model\.factory=nets:build; drop one of them",
    ),
    Case(
        "--weights pip beside an own network",
        lambda place: ["train", "digits", "--weights", "pip", "-s", "model.factory=nets:build"],
        r"^--weights pip: is for named models.*give --weights none, or a file or folder",
    ),
]

DATA = [
    Case("data: missing", lambda place: train("./phtos"), r"^\./phtos: no such data: give a folder"),
    Case("data: an empty folder", on(lambda place: photos(place, classes=())), r"no such data"),
    Case(
        "data: an empty folder that exists", on(lambda p: p.file("d/notes.txt", "").parent), r"/d: no images in class"
    ),
    Case("data: one class", on(lambda place: photos(place, classes=("a",))), r"/d: only the class 'a'"),
    Case("data: a class without images", on(lambda p: p.file("d/c/x.txt", "").parents[1] and photos(p)), r"/d/c: this"),
    Case("data: one image", on(lambda place: place.file("it.png", encoded())), r"/it\.png: is a file of no known kind"),
    Case("data: fewer than classes", option("data.limit=3"), r"^data\.limit=3 is less than one image for each of 10"),
    Case(
        "data: a pipe", on(lambda p: (photos(p), os.mkfifo(p.root / "d/b/9.png")) and p.root / "d"), r"/9\.png: not an"
    ),
    Case(
        "data: a link to nowhere", on(lambda p: (photos(p) / "b/9.png").symlink_to("x") or p.root / "d"), r"/9\.png: c"
    ),
    Case("data: not downloaded", lambda place: train("cifar100"), r"^cifar100: no local copy named: give its folder"),
    Case("image: truncated", on(lambda p: with_image(p, encoded("JPEG")[:-200])), r"/d/b/9\.jpg: not a readable image"),
    Case("image: empty", on(with_image, b""), r"/d/b/9\.jpg: not a readable image \(it is empty\): replace or remove"),
    Case("image: text", on(with_image, b"<html>404\n</html>"), r"/9\.jpg: not .*in no image format known here"),
    Case("image: only a header", on(with_image, png_header(20, 12), "9.png"), r"/d/b/9\.png: not a readable image"),
    Case(
        "image: bomb in a header", on(with_image, png_header(60000, 60000), "9.png"), r"/9\.png: not a readable image"
    ),
    Case(
        "image: bomb of pixels", on(with_image, png_bomb(14000), "9.png"), r"/9\.png: .*14000 x 14000|/9\.png: .*bomb"
    ),
    Case("image: a program", on(with_image, b"%!PS-Adobe-3.0 EPSF-3.0\n%%EOF\n"), r"/9\.jpg: not a readable image"),
    Case(
        "csv: no column of labels",
        on(table, "path,width,height\nd/a/0.png,1,2\n"),
        r"d\.csv: .*a label cannot be told from th",
    ),
    Case(
        "csv: another column of labels",
        on(table, "path,label\nd/a/0.png,a\n", more=("-s", "data.label_column=kind")),
        r"data\.label_column=kind: no such column; there are path, label",
    ),
    Case(
        "csv: a label missing", on(table, "path,label\nd/a/0.png,a\nd/b/0.png,\n"), r"d\.csv:3: nothing in column 'lab"
    ),
    Case("csv: an image missing", on(table, "path,label\nd/a/0.png,a\nd/x.png,b\n"), r"/d/x\.png: cannot be read \(No"),
    Case("csv: a line too short", on(table, "path,label\nd/a/0.png\n"), r"d\.csv:2: 1 field, but the header has 2"),
    Case(
        "parquet: no label",
        on(parquet, {"image": [encoded()], "x": [1], "y": [2]}),
        r"label cannot be told .*-s data\.",
    ),
    Case(
        "parquet: labels of floats",
        on(parquet, {"image": [encoded()] * 2, "label": [0.5, 1.5]}),
        r"row 0: column 'label' holds 0\.5",
    ),
    Case(
        "parquet: truncated", on(lambda p: cut(parquet(p, {"x": [1]})) or p.root / "d.parquet"), r"t a readable Parquet"
    ),
    Case("archive: a place outside", on(zipped, [("../x.png", encoded())]), r"d\.zip: .*names a place outside"),
    Case("archive: a link", on(tar_with_link), r"d\.tar: .*is a link or a device"),
    Case(
        "archive: truncated",
        on(lambda p: cut(zipped(p, ()), 0.9) or p.root / "d.zip"),
        r"d\.zip: not a readable archive",
    ),
    Case(
        "cache: flipped bits",
        on(damaged_cache, more=("-o", "run")),
        r"train\.pixels: damaged, .*delete .*give the command again",
        ("run", "run/*"),  # it had begun
    ),
    Case(
        "cache: a file",
        lambda p: train(photos(p)) if own_cache(p).write_text("") == 0 else [],
        r"SEEDWISE_CACHE to a f",
    ),
]

FILES = [
    Case(
        "checkpoint: truncated", resume(cut, name="checkpoint-*"), r"run/checkpoint-5-\w+\.saf.*damaged", STOPPED_AGAIN
    ),
    Case(
        "checkpoint: flipped", resume(flip, name="checkpoint-*"), r"run/checkpoint-5-\w+\.saf.*damaged", STOPPED_AGAIN
    ),
    Case("checkpoint: missing", resume(Path.unlink, name="checkpoint-*"), r"missing, though checkpoint", STOPPED_AGAIN),
    Case(
        "checkpoint: pointer cut", resume(cut, name="checkpoint.json"), r"run/checkpoint\.json:\d.*damag", STOPPED_AGAIN
    ),
    Case(
        "checkpoint: pointer flipped", resume(flip, name="checkpoint.json"), r"run/checkpoint.*damaged", STOPPED_AGAIN
    ),
    Case("record: truncated", resume(cut, name="record.json"), r"^run/record\.json:\d+:\d+: damaged, not JSON"),
    Case("record: flipped", resume(flip, name="record.json"), r"^run/record\.json.*damaged"),
    Case(
        "record: empty", resume(lambda file: file.write_text(""), name="record.json"), r"^run/record\.json:1:1: damaged"
    ),
    Case(
        "record: of the future", resume(lambda run: unsealed(run, schema_version=9)), r"^run/record\.json: schema vers"
    ),
    Case("record: without scores", resume(lambda run: unsealed(run, final=None), finished=True), r"without its scores"),
    Case(
        "record: missing", resume(Path.unlink, name="record.json"), r"^run: not a run folder \(it has no record\.json\)"
    ),
    Case("recipe of a run: flipped", resume(flip, name="recipe.yaml"), r"^run/recipe\.yaml: damaged, its checksum"),
    Case(
        "predictions: flipped", resume(flip, name="predictions.npz", finished=True), r"^run/predictions\.npz: damaged"
    ),
    Case(
        "weights of a run: truncated", resume(cut, name="model.*", finished=True), r"^run/model\.safetensors: damaged"
    ),
    Case("weights: truncated", weights(cut), r"/weights\.safetensors: can't be read as weights .*fetch it again"),
    Case(
        "weights: flipped header", weights(lambda file: flip(file, 0)), r"/weights\.safetensors: can't be read as wei"
    ),
    Case(
        "weights: text", weights(lambda file: file.write_text("<html>"), ".pth"), r"/weights\.pth: can't be read as wei"
    ),
    Case(
        "weights: missing", weights(Path.unlink), r"/weights\.safetensors: no such weights file or folder; give a path"
    ),
    Case(
        "weights: of a run, flipped",
        lambda p: train("digits", "--weights", flip(p.finished() / "model.safetensors") or "run"),
        r"run/model\.safetensors: .*checksum",
    ),
]
