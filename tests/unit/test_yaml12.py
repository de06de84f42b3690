"""What a word in a recipe is: the core schema of YAML 1.2."""

import math
from typing import Any

import pytest

from seedwise.config import yaml12

# The examples of the YAML 1.2.2 specification (10.2.1, 10.3.2) and what 1.1 readers take differently.
SCALARS: list[tuple[str, Any]] = [
    *[(text, None) for text in ("null", "Null", "NULL", "~", "")],
    *[(text, True) for text in ("true", "True", "TRUE")],
    *[(text, False) for text in ("false", "False", "FALSE")],
    *[("0", 0), ("0o7", 7), ("0x3A", 58), ("-19", -19), ("+12", 12), ("0o14", 12), ("0xC", 12), ("0123", 123)],
    *[("0.", 0.0), ("-0.0", -0.0), (".5", 0.5), ("+12e03", 12000.0), ("-2E+05", -200000.0), ("12.", 12.0)],
    *[("1e-3", 1e-3), ("1E-3", 1e-3), ("1.e-3", 1e-3), ("1e3", 1000.0), ("6.8523015e+5", 685230.15), ("1e-08", 1e-8)],
    *[(".inf", math.inf), ("-.Inf", -math.inf), ("+.INF", math.inf)],
    *[(text, text) for text in ("off", "on", "yes", "no", "Off", "y", "n", "tRUE", "nULL", "nan", "inf", ".iNF")],
    *[(text, text) for text in ("1_000", "1:30", "0b1", "0o8", "0xg", "-0x1", "1e", "e3", ".", "-", "+.5.", "٣")],
    *[(text, text) for text in ("2001-12-14", "<<", "=", "timm:resnet18", "1.2.3", "224px")],
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_plain_scalars_follow_the_core_schema(text: str, value: Any) -> None:
    found = yaml12.read(f"key: {text}", "x").value["key"] if text != "-" else yaml12.resolve(text)
    assert type(found) is type(value)
    assert found == value
    assert math.copysign(1, found) == math.copysign(1, value) if isinstance(value, float) else True


@pytest.mark.parametrize("text", [".nan", ".NaN", ".NAN"])
def test_nan(text: str) -> None:
    assert math.isnan(yaml12.resolve(text))


def test_quoted_and_block_scalars_are_strings() -> None:
    text = "a: '1'\nb: \"true\"\nc: |\n  1\nd: >-\n  null\n1: x\nnull: y\n"
    values = {"a": "1", "b": "true", "c": "1\n", "d": "null", "1": "x", "null": "y"}
    assert yaml12.read(text, "x").value == values
