"""Two inputs in an option that takes one are refused, where the parser drops the first; settings may be overruled."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.main import get_command

from seedwise.base.errors import UserError
from seedwise.cli.app import app
from seedwise.cli.once import INPUTS, LISTS, refuse_second_inputs

COMMAND: Any = get_command(app)
refuse_second_inputs(COMMAND)


def verbs(command: Any, name: str = "seedwise") -> Iterator[tuple[str, Any]]:
    if not (below := getattr(command, "commands", {})):
        yield name, command
    for word, verb in below.items():
        yield from verbs(verb, f"{name} {word}")


def parse(verb: Any, words: list[str]) -> dict[str, Any]:
    context = typer.Context(verb)
    options: dict[str, Any] = verb.make_parser(context).parse_args(words)[0]
    return options


OPTIONS = [
    (verb, each)
    for _, verb in verbs(COMMAND)
    for each in verb.params
    if each.param_type_name == "option" and not each.is_flag
]


@pytest.mark.parametrize(("verb", "option"), OPTIONS, ids=[f"{verb.name} {each.name}" for verb, each in OPTIONS])
def test_every_option_keeps_all_refuses_a_second_input_or_takes_the_last_setting(verb: Any, option: Any) -> None:
    first, last = option.opts[0], option.opts[-1]
    assert parse(verb, [first, "1", last, "1"])[option.name] in ("1", ["1", "1"])
    if option.name in INPUTS:
        once = r"--[\w-]+ 1,2" if option.name in LISTS else "it once"
        with pytest.raises(UserError, match=f": is given twice, as 1 and as 2; give {once}$"):
            parse(verb, [first, "1", last, "2"])
    else:
        assert parse(verb, [first, "1", last, "2"])[option.name] == (["1", "2"] if option.multiple else "2")


def test_every_input_is_an_option() -> None:
    assert {each.name for _, each in OPTIONS} >= INPUTS


def test_switches_may_be_repeated() -> None:
    doctor = dict(verbs(COMMAND))["seedwise doctor"]
    assert parse(doctor, ["--json", "--json"])["as_json"] is True


def test_completion_is_left_alone() -> None:
    doctor = dict(verbs(COMMAND))["seedwise doctor"]
    context = typer.Context(doctor, resilient_parsing=True)
    assert doctor.make_parser(context).parse_args(["--kernels", "a", "--kernels", "b"])[0]["kernels"] == "b"
