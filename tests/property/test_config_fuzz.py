"""Whatever stands in a recipe or an override, it loads or it is a UserError of complete, single lines."""

import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from seedwise.base.errors import UserError
from seedwise.config import yaml12
from seedwise.config.section import Section, dump, load


class Inner(Section):
    rate: float = Field(0.1, ge=0)
    count: Annotated[int, Field(gt=0)] | Literal["auto"] = "auto"
    steps: tuple[int, ...] = ()


class Other(Section):
    on: bool = False
    scale: float | tuple[float, ...] = 1.0


class Outer(Section):
    name: str = "x"
    inner: Inner = Inner()
    other: Other | None = None
    either: Inner | Other | None = None
    table: dict[str, float] = Field(default_factory=dict)


VALID = """\
name: >-  # a comment
  base
inner: &i
  rate: 1e-3
  count: auto
  steps: [1, 2]
other:
  on: true
  scale: [0.5, .5e1]
either: {scale: 2}
table:
  "a b": 1
  ? 'd'
  : 0x1F
"""
LINE = re.compile(r"(r\.yaml:(\d+:\d+: )?|-s ).+")

fragments = st.sampled_from(
    [
        *("\t", "\n", " ", ":", "- ", "[", "]", "{", "}", "'", '"', "|", ">", "%", "@", "? ", "#", "\\x"),
        *("&i ", "*i", "<<: *i", "!!", "!x ", "---\n", "...\n", '"\\ud800"', '"\\UFFFFFFFF"'),
        *("\0", "\x85", "\u2028", "\ufeff", "é", "🙂", "\ud800", "null", "1e400", "9" * 400),
    ]
)
texts = st.text() | st.lists(fragments).map("".join)
overrides = st.lists(
    st.builds(
        "{}={}".format,
        st.sampled_from(["name", "inner", "inner.rate", "inner.steps", "other.on", "either.count", "table.x"]) | texts,
        texts | st.sampled_from(["default", "null", "{}", "[]", "1", "[1, x]", "{on: true}"]),
    )
    | texts,
    max_size=3,
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """The valid recipe with a few spans replaced."""
    text = VALID
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.integers(0, 6))
        text = text[:start] + draw(texts | fragments) + text[end:]
    return text


def check(text: str, changes: Sequence[str] = ()) -> None:
    try:
        loaded = load(Outer, text, "r.yaml", changes)
    except UserError as error:
        lines = str(error).split("\n")
        assert all(LINE.fullmatch(line) for line in lines), lines
        for line in lines:
            assert len(line.splitlines()) == 1
            line.encode()
    else:
        assert load(Outer, dump(loaded)) == loaded


def test_the_unchanged_recipe_is_valid() -> None:
    assert load(Outer, VALID).table == {"a b": 1.0, "d": 31.0}


check_any = given(texts | mutated(), st.just([]) | overrides)
quick = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
long = settings(quick, max_examples=10_000)


@quick
@check_any
def test_recipes_load_or_are_user_errors(text: str, changes: list[str]) -> None:
    check(text, changes)


@pytest.mark.slow
@long
@check_any
def test_recipes_load_or_are_user_errors_at_length(text: str, changes: list[str]) -> None:
    check(text, changes)


@quick
@given(overrides)
def test_overrides_load_or_are_user_errors(changes: list[str]) -> None:
    check(VALID, changes)


sections = st.builds(
    Outer,
    name=st.text(st.characters(exclude_categories=["Cs"])),
    inner=st.builds(
        Inner,
        rate=st.floats(0, allow_infinity=False),
        count=st.just("auto") | st.integers(1, 2**70),
        steps=st.lists(st.integers()).map(tuple),
    ),
    other=st.none()
    | st.builds(Other, on=st.booleans(), scale=st.floats(allow_nan=False, allow_infinity=False) | st.just((1.0, 2.5))),
    table=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.floats(-1e300, 1e300)),
)


@quick
@given(sections)
def test_what_is_dumped_loads_back(section: Outer) -> None:
    text = dump(section, "A header")
    assert load(Outer, text) == section
    assert yaml.safe_load(text)["inner"]["rate"] == section.inner.rate


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and (a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b)))


@quick
@given(st.from_regex(r"[-+]?[0-9._exoEXO+-]{1,8}", fullmatch=True) | st.sampled_from(["~", "off", "y", ".inf"]))
def test_a_string_that_looks_like_something_else_stays_a_string(text: str) -> None:
    """In YAML 1.2 as we read it, and in 1.1 as PyYAML reads it."""
    written = yaml12.write({"key": text})
    assert same(yaml12.read(written, "x").value["key"], text)
    assert same(yaml.safe_load(written)["key"], text)
