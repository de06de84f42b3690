"""Pairs that a person judged: the file that the page saves, and the store for later audits.

An image is known by the SHA-256 of its pixels, so a judgement holds in any folder that both images are in.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from seedwise.base.errors import UserError
from seedwise.base.files import cache_root, make_folder, one_at_a_time, read_json
from seedwise.records.checksum import SEAL
from seedwise.records.run import RecordPart, write_checked

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Judgements = dict[frozenset[str], bool]
"""Whether two images, by their SHA-256, are one picture."""
ADVICE = "save it again from the audit's page"


class JudgedPair(RecordPart):
    """A judgement on a pair of images."""

    first: Digest
    second: Digest
    same: bool
    """Whether they are one picture."""
    names: tuple[str, str] | None = None
    """Names of both, for readers of the file."""


class JudgedPairs(RecordPart):
    """The file of judgements: `confirmed.json`."""

    schema_version: Literal[1] = 1
    kind: Literal["judged_pairs"] = "judged_pairs"
    pairs: list[JudgedPair]


def read_judged(path: Path) -> Judgements:
    """Read the judgements in a file; a UserError says where it is wrong."""
    content = read_json(path, ADVICE)
    if isinstance(content, dict):
        content.pop(SEAL, None)
    try:
        pairs = JudgedPairs.model_validate(content).pairs
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(each) for each in first["loc"])
        raise UserError(f"{path}: {place or 'the whole'}: {first['msg']:.200}; {ADVICE}") from error
    return {frozenset((pair.first, pair.second)): pair.same for pair in pairs}


def kept() -> Judgements:
    """All stored judgements, on any data."""
    path = _store()
    return read_judged(path) if path.is_file() else {}


def keep_judged(new: Judgements) -> Judgements:
    """Add judgements to the stored ones, replacing older ones on the same pair; returns all."""
    path = _store()
    make_folder(path.parent)
    with one_at_a_time(path.with_suffix(".lock")):
        every = kept() | new
        ordered = sorted((*sorted(pair), same) for pair, same in every.items() if len(pair) == 2)
        pairs = [JudgedPair(first=first, second=second, same=same) for first, second, same in ordered]
        write_checked(path, JudgedPairs(pairs=pairs))
    return every


def _store() -> Path:
    return cache_root() / "audits" / "confirmed.json"
