"""Whatever stands in record.json or study.json, it is a valid record or a UserError of one line."""

import copy
import json
import math
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seedwise.base.errors import UserError
from seedwise.config.options import plain
from seedwise.recipe import library
from seedwise.records.run import (
    RECORD,
    SEAL,
    STUDY,
    DataRecord,
    EpochRow,
    Final,
    ModelRecord,
    RunRecord,
    Scores,
    read_record,
    write_record,
)
from seedwise.study.record import StudyRecord, Trial, read_study, write_study

SCORES = Scores(top1=0.5, top5=0.9, loss=1.25)
ROW = EpochRow(
    epoch=1,
    steps=4,
    lr=0.1,
    image_size=16,
    train_loss=2.0,
    train_top1_mixed=0.25,
    val=SCORES,
    seconds=1.5,
    images_per_second=99.0,
)
RUN = RunRecord(
    status="finished",
    recipe="demo",
    seed=3,
    data=DataRecord(
        name="pets",
        source="/pets, 'new' ä",
        fingerprint="0" * 64,
        classes=["cat", "dog"],
        splits={"train": 8, "val": 1, "test": 2},
    ),
    model=ModelRecord(name="small", architecture="seedwise:small", weights="none", mean=(0.5,) * 3, std=(0.25,) * 3),
    parameters=1000,
    machine={"cpu": "Z80", "cores": 2, "amx": False, "gpus": [], "memory_gb": 1.5},
    versions={"torch": "2.6"},
    seconds={"train": 1.5, "total": 2.0},
    images_per_second=99.0,
    epochs=[ROW],
    final=Final(train=SCORES, val=SCORES, test=None),
    selected_epoch=1,
    files={"recipe.yaml": "0" * 64},
)
SUMMARY = {"n": 1, "mean": 0.5, "sd": None, "ci95": None, "values": [0.5]}
STUDIED = StudyRecord(
    data="digits",
    data_dir=None,
    master_seed=0,
    seeds=[3, 4],
    arms={"base": plain(library.read("demo"))},
    trials=[Trial(arm="base", seed=3, folder="runs/base/seed-3", status="finished")],
    summary={"base": {"test": {"top1": SUMMARY}}},
)

Reader = Callable[[Path], RunRecord | StudyRecord]
READERS: dict[str, tuple[str, Reader, Callable[[Path, Any], None]]] = {
    "run": (RECORD, read_record, write_record),
    "study": (STUDY, read_study, write_study),
}
VALID = {"run": RUN.model_dump(mode="json"), "study": STUDIED.model_dump(mode="json")}

odd = st.sampled_from(
    [
        *(None, True, -1, 0, 1, 2, 10**30, 2**63, 1.0, 0.5, -0.0, 1e308, math.nan, math.inf, "", "1", "a\nb", "\ud800"),
        *("..", "../../x", "/etc/passwd", "\0", "🙂", "x" * 3000, [], {}, [[]], {"a\n\ud800": 1}),
        *("finished", "running"),
    ]
).map(copy.deepcopy)  # what is drawn is changed in place: a shared list would carry one example into the next
numbers = st.integers() | st.floats() | st.integers(-(10**400), 10**400)
keys = st.text() | st.just("schema_version")
anything = st.recursive(
    odd | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


def deep(depth: int, kind: str) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind == "list" else {"a": value}
    return value


nested = st.builds(deep, st.integers(50, 2000), st.sampled_from(["list", "dict"]))


@st.composite
def mutated(draw: st.DrawFn, kind: str) -> Any:
    """The valid record with a few values replaced, dropped, added or renamed, at any depth."""
    content: Any = json.loads(json.dumps(VALID[kind]))
    for _ in range(draw(st.integers(1, 3))):
        at = content
        while True:
            key = draw(st.sampled_from(sorted(at))) if isinstance(at, dict) else draw(st.integers(0, len(at) - 1))
            if not isinstance(at[key], dict | list) or not at[key] or draw(st.integers(0, 2)) == 0:
                break
            at = at[key]
        what = draw(st.sampled_from(["replace", "drop", "add", "nest"]))
        if what == "drop":
            del at[key]
        elif what == "add" and isinstance(at, dict):
            at[draw(st.text() | st.sampled_from([SEAL, "a\nb", "..", "../../x"]))] = draw(anything)
        else:
            at[key] = draw(nested if what == "nest" else anything)
        if not content:
            break
    return content


def written(content: Any) -> bytes:
    try:
        return json.dumps(content).encode()
    except RecursionError:  # deeper than Python writes: by hand
        return b'{"schema_version": 1, "machine": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@st.composite
def damaged(draw: st.DrawFn, kind: str) -> bytes:
    """The bytes of a record, cut, overwritten, or with other bytes between."""
    content = bytearray(written(VALID[kind] | {SEAL: "0" * 64}))
    start = draw(st.integers(0, len(content)))
    end = len(content) if draw(st.booleans()) else start + draw(st.integers(0, 6))
    digits = st.text(string.digits + ".eE-,:[]{}\"'\\", max_size=8).map(str.encode)
    content[start:end] = draw(st.binary(max_size=8) | digits | st.just(b"9" * 5000) | st.just(b"1e999"))
    return bytes(content)


def contents(kind: str) -> st.SearchStrategy[bytes]:
    return anything.map(written) | mutated(kind).map(written) | damaged(kind) | st.binary()


def check(kind: str, content: bytes, folder: Path) -> None:
    name, read, write = READERS[kind]
    (folder / name).write_bytes(content)
    try:
        record = read(folder)
    except UserError as error:
        assert len(str(error).splitlines()) == 1 and str(error).startswith(str(folder / name)), str(error)
        assert len(str(error)) < 1000
        str(error).encode()
    else:
        write(folder, record)
        assert read(folder) == record


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


kinds = pytest.mark.parametrize("kind", READERS)
quick = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
long = settings(quick, max_examples=10_000)


@kinds
def test_what_is_written_is_read_and_every_flipped_digit_is_noticed(kind: str, folder: Path) -> None:
    name, read, write = READERS[kind]
    record: Any = RUN if kind == "run" else STUDIED
    write(folder, record)
    assert read(folder) == record
    content = (folder / name).read_bytes()
    unsealed = {key: value for key, value in json.loads(content).items() if key != SEAL}
    for at in range(len(content)):
        if chr(content[at]) in string.digits:
            (folder / name).write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            with pytest.raises(UserError, match=r"damaged|version"):
                read(folder)
    (folder / name).write_text(json.dumps(unsealed))  # as they were before records had checksums
    assert read(folder) == record


@kinds
def test_arbitrary_records_are_read_or_are_user_errors(kind: str, folder: Path) -> None:
    run_fuzz(kind, folder, quick)


@pytest.mark.slow
@kinds
def test_arbitrary_records_are_read_or_are_user_errors_at_length(kind: str, folder: Path) -> None:
    run_fuzz(kind, folder, long)


def run_fuzz(kind: str, folder: Path, how: settings) -> None:
    @how
    @given(contents(kind))
    def fuzz(content: bytes) -> None:
        check(kind, content, folder)

    fuzz()


@pytest.mark.parametrize("odd", ["\n", "a\x85b", "\u2028", "\ud800", "\x1b[2J", "x" * 5000])
def test_what_a_message_quotes_stays_on_its_line(folder: Path, odd: str) -> None:
    for changed in ({"model": {"name": odd}}, {"augment": {"custom": odd}}, {odd: {}}):
        content = VALID["study"] | {"arms": {"base": changed}}
        (folder / STUDY).write_text(json.dumps(content))
        with pytest.raises(UserError, match="damaged"):
            read_study(folder)
        check("study", json.dumps(content).encode(), folder)


def test_an_arm_cannot_lead_out_of_the_study(folder: Path) -> None:
    for arm in ("..", "../x", "/etc", "a/b", "", "."):
        (folder / STUDY).write_text(json.dumps(VALID["study"] | {"arms": {arm: {}}}))
        with pytest.raises(UserError, match="damaged at arms"):
            read_study(folder)
