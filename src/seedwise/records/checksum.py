"""Records that carry their own checksum; read here without pydantic, so that `seedwise status` starts at once."""

import hashlib
import json
from pathlib import Path
from typing import Any

RECORD, STUDY = "record.json", "study.json"
"""The files that make a folder a run's or an ensemble's, and a study's."""
LOG = "train.log"
"""A run's log in words, in its folder."""
SEAL = "sha256"
"""Key of a record's own checksum, over the rest of its content: a flipped bit in a number gives another number."""


def seal(content: dict[str, Any]) -> str:
    """Checksum of a record's content without the checksum: SHA-256 in hex."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def trusted(path: Path, kind: str, version: int) -> dict[str, Any] | None:
    """Read a record of this kind and version with a checksum that fits; None for all else (`read_checked` says why)."""
    try:
        content = json.loads(path.read_bytes())
        written = content.pop(SEAL)
        asked = content["kind"] == kind and content["schema_version"] == version
        return content if asked and written == seal(content) else None
    except (OSError, RecursionError, ValueError, AttributeError, TypeError, KeyError):
        return None
