"""Files of ours that carry their own checksum; without pydantic, so that status starts at once."""

import hashlib
import json
from pathlib import Path
from typing import Any

RECORD, STUDY = "record.json", "study.json"
"""What makes a folder a run's or an ensemble's, or a study's."""
LOG = "train.log"
"""In a run's folder, what happened to it in words."""
SEAL = "sha256"
"""A record's own checksum, over the rest of its content: a bit that flips in a number gives another number."""


def seal(content: dict[str, Any]) -> str:
    """The checksum of a record's content, itself left out: SHA-256 in hex."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def trusted(path: Path, kind: str, version: int) -> dict[str, Any] | None:
    """The content of a file that is as seedwise wrote it; None where only a careful reader can say what it is."""
    try:
        content = json.loads(path.read_bytes())
        written = content.pop(SEAL)
        asked = content["kind"] == kind and content["schema_version"] == version
        return content if asked and written == seal(content) else None
    except (OSError, RecursionError, ValueError, AttributeError, TypeError, KeyError):
        return None
