"""docs/start.md: a stranger types its commands, in their order, in an empty folder. Minutes, so `make test-slow`."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from command_line import process
from PIL import Image
from sklearn.datasets import load_digits

PAGE = Path(__file__).parents[2] / "docs" / "start.md"
BLOCKS = re.findall(r"^```\n(\$ .*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
COMMANDS = [part for block in BLOCKS for part in re.split(r"^\$ ", block, flags=re.M)[1:]]
"""A command, and below it what the page shows of its output."""
EACH = 20


def hand_signs(folder: Path) -> None:
    """In place of the clone, which takes a network: its layout, with handwritten digits as large as its photos."""
    digits = load_digits()
    for label in range(10):
        place = folder / "Dataset" / str(label)
        place.mkdir(parents=True)
        for number, image in enumerate(digits.images[digits.target == label][:EACH]):
            picture = Image.fromarray((image * 15).astype(np.uint8)).resize((100, 100))
            picture.convert("RGB").save(place / f"IMG_{number}.JPG")
    (folder / "Examples").mkdir()
    picture.save(folder / "Examples" / "example_3.JPG")


def test_the_korean_page_has_the_same_commands() -> None:
    korean = PAGE.with_name("start.ko.md").read_text(encoding="utf-8")
    assert re.findall(r"^\$ (.*)$", korean, re.M) == [text.splitlines()[0] for text in COMMANDS]


@pytest.mark.slow
def test_every_command_does_what_the_page_shows() -> None:
    assert [command.split()[1] for command in COMMANDS] == [
        *("train", "ablate", "clone", "train", "errors", "audit", "predict")
    ]
    for text in COMMANDS:
        command, *shown = text.splitlines()
        words = shlex.split(command)
        if words[0] == "git":
            hand_signs(Path(words[-1].rsplit("/", 1)[-1]))
            continue
        if (
            words[1] == "ablate"
        ):  # twelve runs take minutes; fewer decide nothing, so that the lines below the table differ
            words[words.index("--seeds") + 1], shown = "2", shown[:3]
        answer = process(*words[1:])
        assert answer.code == 0, (command, answer.err)
        if "-o" in words:
            assert Path(words[words.index("-o") + 1]).exists(), command
        if "digits" in words:  # the same images here, so the same lines but for numbers
            lines = (answer.out + answer.err).splitlines()
            for begins in filter(None, (re.match(r"[A-Za-z_ :]*", line)[0].rstrip() for line in shown)):  # type: ignore[index]
                assert any(line.startswith(begins) for line in lines), (begins, answer)
    assert Path("runs/digits/report.html").is_file() and Path("runs/hands/report.html").is_file()
