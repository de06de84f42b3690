"""Verbs without training, and what typos get: one line that says what, where and what to do, and exit code 2."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import TINY, Cli, command, process
from PIL import Image

TYPO = "model:\n  name: small\ntrain:\n  epohcs: 3\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'?; see `seedwise --help`"),
        (["train"], "Missing argument 'DATA'; see `seedwise train --help`"),
        (["train", "digits", "--epoch", "3"], "No such option: --epoch; did you mean '--epochs'?; see `seedwise train"),
        (["ablate", "digits", "--time", "9m"], "No such option: --time; a study has --budget TIME: as many seeds as"),
        (["sweep", "digits", "--time", "9m"], "No such option: --time; a study has --budget TIME: as many seeds as"),
        (["train", "digits", "--budget", "9m"], "No such option: --budget; give --time TIME: epochs and image size"),
        (["predict", "x", "y", "--threads", "2"], "No such option: --threads; it is an option of train, ablate, sweep"),
        (["predict", "x", "y", "--nonsense"], "No such option: --nonsense; see `seedwise predict --help`"),
        (
            ["train", "digits", "--epochs", "x"],
            "-s train.epochs=x: must be an integer >= 1 and <= 100000 or 'auto', is 'x'",
        ),
        (["train", "digits", "--lr", "fast"], "Invalid value for '--lr'"),
        (["train", "digits", "--lr", "nan"], "-s optim.lr=.nan: must be a finite number"),
        (["train", "digits", "--seed", "-1"], "Invalid value for '--seed'"),
        (
            ["train", "digits", "--epochs", "0"],
            "-s train.epochs=0: must be an integer >= 1 and <= 100000 or 'auto', is 0",
        ),
        (["train", "digits", "-m", "efficientnetv2_x"], "did you mean 'efficientnetv2_s'?"),
        (["train", "digits", "-m", "timm:efficientnet_lite99", "--weights", "none", "-o", "x"], "efficientnet_lite99"),
        (["train", "digits", "--weights", "my weights: v2 #3.safetensors", "-o", "x"], "my weights: v2 #3.safetensors"),
        (["train", "digits", "--threads", "0"], "-s compute.threads=0: must be an integer >= 1 or 'auto', is 0"),
        (
            ["train", "digits", "--precision", "half"],
            "-s compute.precision=half: must be 'auto', 'fp32', 'tf32', 'bf16' or 'fp16'",
        ),
        (["train", "digits", "--device", "cuda:77"], "compute.device: cuda:77 is not here"),
        (["train", "digits", "-s", "train.epohcs=3"], "-s train.epohcs=3: unknown key 'epohcs' in train; did you mean"),
        (["train", "digits", "-s", "foo"], "-s foo: no '='; write it as section.option=value"),
        (["train", "digits", "-s", "data.limit=3"], "data.limit=3 is less than one image for each of 10 classes"),
        (["train", "digits", "-s", "data.limit=3", "--seeds", "3,", "-o", "x"], "data.limit=3"),
        (["train", "digits", "-s", "data.val=0", "--select", "best"], "'best' needs validation images"),
        (["train", "digits", "-r", "lit"], "lit: no such recipe; did you mean 'lite'?"),
        (["train", "digits", "-r", ""], "'': no such recipe"),
        (["train", "digits", "-r", "."], ".: a directory, not a recipe file"),
        (["train", "digits", "--seeds", "0"], "--seeds 0: the count must be from 1 to 10000"),
        (["train", "digits", "--seeds", "five"], "--seeds five: give a count such as 5, or seeds such as 3,7,11"),
        (["train", "digits", "--seeds", "3,3"], "--seeds 3,3: seeds must be different"),
        (["train", "digits", "--seed", "1", "--seeds", "2"], "--seed and --seeds: give one of them"),
        (["train", "digts"], "digts: no such data: did you mean 'digits'?"),
        (["train", "~nobody_of_this_name/x"], "no such data"),
        (["train", "x" * 5000], "no such data"),
        (["train", "cifar100"], "cifar100: no local copy named: give its folder"),
        (["train", "cifar100", "--data-dir", "nowhere"], "cifar100: no Parquet files"),
        (["resume"], "Missing argument 'RUN|STUDY'; see `seedwise resume --help`"),
        (["resume", "nowhere"], "nowhere: no such folder; give a run's or a study's"),
        (["resume", "."], ".: not a run folder (it has no record.json)"),
        (["recipes", "show", "nope"], "nope: no such recipe; give a path, or one of demo, lite"),
        (["recipes", "show", "."], ".: can't be read (Is a directory)"),
        (["recipes", "show", sys.executable], "not UTF-8 text at byte"),
        (["recipes", "show", "~nobody_of_this_name/x"], "no such recipe"),
        (["recipes", "show", "x" * 5000], "no such recipe"),
        (["recipes", "cp", "lite", "no/such/place.yaml"], "no/such: no such folder; create it first"),
        (["augment", "digits", "-o", "nowhere/grid.png"], "nowhere: no such folder; create it first"),
        (["augment", "digits", "-o", "."], ".: is a folder; give a PNG file to write"),
        (["augment", "digits", "-o", "g.svg"], "g.svg: the grid is a PNG; give a name that ends in .png"),
        (["augment", "digits", "--seed", "-1"], "Invalid value for '--seed'"),
        (["augment", "digits", "-s", "augment.cutmx=default"], "did you mean 'cutmix'?"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2_and_leaves_no_trace(cli: Cli, arguments: list[str], said: str) -> None:
    answer = cli(*arguments)
    assert answer.code == 2
    assert said in (answer.err.splitlines()[-1] if "--seeds" in arguments else answer.line)
    assert not [path for path in Path().rglob("*") if path.is_file()]


def test_a_typo_in_a_recipe_has_a_line_and_a_column(cli: Cli) -> None:
    Path("recipe.yaml").write_text(TYPO)
    for verb in (["recipes", "validate", "recipe.yaml"], ["train", "digits", "-r", "recipe.yaml"]):
        answer = cli(*verb)
        assert answer.code == 2
        assert answer.line == "recipe.yaml:4:3: train.epohcs: unknown key; did you mean 'epochs'?"


def test_recipes_are_listed_shown_copied_and_validated(cli: Cli) -> None:
    listed = cli("recipes", "ls").out
    assert [line.split()[0] for line in listed.splitlines()] == [
        *("demo", "lite", "photos", "reference", "reference-l", "reference-m", "strong")
    ]
    shown = cli("recipes", "show", "lite").out
    assert shown.startswith("# ") and "efficientnet_lite0" in shown
    Path("it's a folder").mkdir()
    assert cli("recipes", "cp", "lite", "it's a folder").out == "it's a folder/lite.yaml\n"
    assert Path("it's a folder/lite.yaml").read_text() == shown
    again = cli("recipes", "cp", "demo", "it's a folder/lite.yaml")
    assert (again.code, again.line) == (2, "it's a folder/lite.yaml: exists already; give another name")
    assert Path("it's a folder/lite.yaml").read_text() == shown
    validated = cli("recipes", "validate", "it's a folder/lite.yaml", "demo", "reference", "reference-m", "strong")
    assert validated.code == 0 and validated.out.count(": valid\n") == 5
    Path("bad.yaml").write_text(TYPO + "  batch_size: '4'\n")
    mixed = cli("recipes", "validate", "demo", "bad.yaml", "nope")
    assert mixed.code == 2 and mixed.out == "demo: valid\n"
    assert [line.split(":")[0] for line in mixed.err.splitlines()] == ["bad.yaml", "bad.yaml", "nope"]


def test_the_schema_is_json_with_every_section(cli: Cli) -> None:
    schema = json.loads(cli("recipes", "schema").out)
    assert {"data", "model", "augment", "optim", "loss", "train", "compute"} <= set(schema["properties"])


def test_doctor_tells_what_is_here(cli: Cli) -> None:
    text = cli("doctor")
    assert text.code == 0 and "efficientnet_lite0" in text.out and "threads:" in text.out
    findings = json.loads(cli("doctor", "--json").out)
    assert {"device", "precision", "threads", "memory", "free disk", "cifar100", "weights", "advice"} <= set(findings)


def test_augment_draws_a_picture(cli: Cli) -> None:
    answer = cli("augment", "digits", "-r", "demo", "-s", "augment.cutmix=default", "-o", "a grid.png")
    assert (answer.code, answer.out) == (0, "a grid.png\n")
    with Image.open("a grid.png") as image:
        image.load()
        assert min(image.size) > 100


def test_a_picture_does_not_become_data(cli: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    for out, verb in itertools.product(("birne/x.png", "x.png"), ("augment", "lr-find")):
        answer = cli(verb, ".", "-o", out)
        assert answer.code == 2
        assert answer.line == f"{out}: would lie among the images of .: give a path outside with -o"
    assert cli("augment", ".", "-o", "../x.png").code == 0
    Path("../x.png").rename("birne/x.png")
    options = ("-m", "small", "--img-size", 16, "--epochs", 1, "--threads", 1)
    said = "1 image is a picture that seedwise drew, and no data (birne/x.png)"
    assert said in cli("train", ".", *options, "--dry-run").out
    tried = ("lr-find", ".", "-m", "small", "-s", "train.image_size=16", "-s", "train.batch_size=8", "--steps", 10)
    assert cli(*tried, "-o", "../y.png").code == 0
    with Image.open("../y.png") as image:
        assert image.info["Software"] == "seedwise"


def test_a_dry_run_prints_a_recipe_that_loads_back_and_trains_nothing(cli: Cli) -> None:
    answer = cli("train", "digits", *TINY, "--seeds", 3, "--dry-run")
    assert answer.code == 0
    for what in (
        "# steps:  4 a run",
        "# memory: ",
        "# time:   ",
        "# 703 images in 10 classes (0 … 9), parts train 200 / val 144 / test 359 (val and test drawn",
    ):
        assert what in answer.out
    assert os.listdir() == []  # noqa: PTH208
    Path("resolved.yaml").write_text(answer.out)
    assert "auto" not in answer.out
    as_json = json.loads(cli("train", "digits", "-r", "resolved.yaml", "--seed", 9, "--dry-run", "--json").out)
    assert as_json["steps"] == 4 and as_json["seeds"] == [9] and as_json["recipe"]["train"]["image_size"] == 16
    assert as_json["seconds_per_run"] > 0 and as_json["memory_gb"] > 0
    assert as_json["seconds"] == pytest.approx(as_json["start_seconds"] + as_json["seconds_per_run"])


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["recipes", "ls"], ["recipes", "schema"]])
def test_verbs_without_tensors_do_not_import_torch(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom seedwise.cli import main\ntry:\n    main()\nexcept SystemExit as stop:\n"
        "    assert not stop.code\nsys.exit(3 if {'torch', 'timm', 'matplotlib', 'sklearn'} & set(sys.modules) else 0)"
    )
    assert subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, check=False).returncode == 0


def test_a_pipe_that_closes_and_a_disk_that_is_full_get_no_traceback() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command("recipes", "schema"), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "output: No space left on device\n")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command("recipes", "schema"), stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.stderr == "" and done.returncode in (1, 141)


def test_completion_knows_options_and_recipes() -> None:
    from seedwise.cli.options import _complete_override, _complete_recipe

    assert {"train.epochs=", "train.image_size="} <= {name for name, _ in _complete_override("train.")}
    assert [name for name, help in _complete_override("optim.l") if help] == ["optim.lr=", "optim.layer_decay="]
    assert [name for name, _ in _complete_recipe("l")] == ["lite"]


def test_the_shell_asks_for_completions_in_a_process() -> None:
    environment = os.environ | {
        "_SEEDWISE_COMPLETE": "complete_bash",
        "COMP_WORDS": "seedwise train digits -s train.sel",
        "COMP_CWORD": "4",
    }
    program = Path(sys.executable).with_name("seedwise")
    done = subprocess.run([program], env=environment, capture_output=True, text=True, check=False)
    assert "train.select=" in done.stdout and "Traceback" not in done.stderr


def test_help_names_every_option_that_is_promised() -> None:
    shown = process("train", "--help").out
    for option in (
        *("--recipe", "--model", "--weights", "--epochs", "--lr", "--batch-size", "--img-size", "--seed", "--seeds"),
        *("--device", "--precision", "--threads", "--data-dir", "--out", "--set", "--dry-run", "--json"),
    ):
        assert option in shown


def test_a_deleted_working_folder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    done = process("train", "digits")
    assert (done.code, done.err) == (2, "this folder was deleted meanwhile; cd to another one\n")
