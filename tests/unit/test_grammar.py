"""One grammar: a flag means the same in every verb that has it, and a time, a list and a usage line are as anywhere."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from seedwise.base.durations import in_words, seconds, seconds_of
from seedwise.base.errors import UserError
from seedwise.cli.app import app
from seedwise.cli.options import SHORT_FORMS, overrides
from seedwise.cli.usage import plain_usage

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
ITS_OWN = {"-o", "-s", "--elsewhere", "--data"}
"""What these give differs by verb: where it writes, which options it takes, where it goes on, all data or others."""
OTHER_WORDS = {("predict", "--json")}
"""The same in other words: a line an image."""


def verbs(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    for word, below in getattr(command, "commands", {}).items():
        path = f"{name} {word}".strip()
        yield path, below
        yield from verbs(below, path)


VERBS = dict(verbs(get_command(app)))


def shortest(parameter: Any) -> str:
    return min(parameter.opts, key=len)


def flags() -> dict[str, dict[str, Any]]:
    """By flag and verb: the parameter."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, command in VERBS.items():
        for parameter in command.params:
            if parameter.param_type_name == "option":
                found[shortest(parameter)][name] = parameter
    return found


def test_a_flag_has_one_meaning_one_spelling_and_one_kind_of_value() -> None:
    for flag, of in flags().items():
        if flag in ITS_OWN:
            continue
        same = {name: each for name, each in of.items() if (name, flag) not in OTHER_WORDS}
        words = {(each.help, tuple(each.opts), each.metavar) for each in same.values()}
        assert len(words) == 1, (flag, words)


def test_the_page_has_the_verbs_of_each_flag() -> None:
    rows = re.findall(r"^\| `(-[^`]+)` \| (.*) \| ([^|]+) \|$", PAGE.read_text(), re.M)
    assert len(rows) > 15
    found = flags()
    for flag, meaning, names in rows:
        assert set(names.split(", ")) == set(found[flag]), flag
        short = next(
            (path for name, (path, _) in SHORT_FORMS.items() if f"--{name.replace('_', '-')}" in opts(flag)), None
        )
        if short is not None:
            assert f"`{short}`" in meaning
    listed = {flag for flag, _, _ in rows}
    assert listed >= {flag for flag, of in found.items() if len(of) > 1} - {"--elsewhere", "--data"}


def opts(flag: str) -> list[str]:
    return [word for each in flags()[flag].values() for word in each.opts]


def test_whoever_trains_takes_every_short_form_and_settings_win() -> None:
    for verb in ("train", "ablate", "sweep"):
        assert set(SHORT_FORMS) <= {each.name for each in VERBS[verb].params}, verb
    given = {"epochs": 3, "threads": "2", "lr": None, "model": "small"}
    words = ["train.epochs=3", "compute.threads=2", "model.name=small", "train.epochs=9"]
    assert overrides(given, ["train.epochs=9"]) == words
    assert overrides({"threads": "auto"}, None) == ["compute.threads=auto"]


@pytest.mark.parametrize("verb", ["train", "ablate", "sweep", "lr-find"])
def test_short_forms_reach_the_recipe(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each verb's own call of `recipes.read` sees them before what `-s` says."""
    from seedwise.recipe import library

    seen: list[str] = []

    def read(name: str, words: Any = ()) -> Any:
        seen.extend(words)
        raise UserError("seen")

    monkeypatch.setattr(library, "read", read)
    more = {"ablate": ["--toggle", "cutmix"], "sweep": ["-s", "optim.lr=1,2"]}.get(verb, [])
    with pytest.raises(UserError, match="seen"):
        get_command(app)([verb, "digits", "-b", "8", "-s", "train.accumulate=2", *more], standalone_mode=False)
    assert seen.index("train.batch_size=8") < seen.index("train.accumulate=2")


def test_usage_lines_have_no_braces_and_arguments_are_words() -> None:
    command: Any = get_command(app)
    plain_usage(command)
    lines = {}
    for name, verb in verbs(command):
        context = typer.Context(verb, info_name=f"seedwise {name}")
        lines[name] = verb.get_usage(context).replace("\n", " ")
        assert not re.search(r"[{}…]|\.\.\.\.", lines[name]), lines[name]
    assert lines["train"].endswith("[OPTIONS] DATA") and lines["predict"].endswith("[OPTIONS] RUN IMAGE...")
    assert lines["recipes"].endswith("[COMMAND [ARGS]...]") and lines["recipes cp"].endswith("RECIPE [TARGET]")


@pytest.mark.parametrize("group", ["recipes", "techniques"])
def test_a_group_alone_lists(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    get_command(app)([group], standalone_mode=False)
    alone = capsys.readouterr().out
    get_command(app)([group, "ls"], standalone_mode=False)
    assert alone == capsys.readouterr().out and alone.count("\n") > 3


TIMES = {
    "15": 900, "15min": 900, "15 minutes": 900, "15m": 900, "90s": 90, "2h": 7200, "1h30m": 5400, "1.5 hours": 5400,
    "1H30MIN": 5400, "2d": 172_800, "0": 0, "0s": 0, "1h0m30s": 3630,
}  # fmt: skip


@pytest.mark.parametrize("text", TIMES)
def test_times(text: str) -> None:
    assert seconds(text) == TIMES[text] == seconds_of("--budget", text)


@pytest.mark.parametrize("text", ["", " ", "m", "-5", "1e3", "15x", "30m1h", "nan", "inf", "1:30", "5mmin", "٣min"])
def test_what_is_no_time_says_what_is(text: str) -> None:
    with pytest.raises(UserError, match=r"^--budget .*: give a time such as 15min, 90s, 2h or 1h30m; a bare number is"):
        seconds_of("--budget", text)


def test_times_in_words() -> None:
    assert [in_words(span) for span in (5.04, 59.96, 185, 7500)] == ["5.0 s", "1 min 0 s", "3 min 5 s", "2 h 5 min"]
    assert seconds_of("--budget", None) is None
