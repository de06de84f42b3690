"""What a data set is by its original images, whatever size they are stored at."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from seedwise.data.source import Int64Array, UInt8Array, raw_bytes


def canonical(labels: Int64Array, identities: UInt8Array) -> Int64Array:
    """The order int64[n] of a part's rows: by class, then by the sha256 uint8[n, 32] of the decoded original."""
    words = identities.view(">u8")
    return np.lexsort((*(words[:, word] for word in reversed(range(words.shape[1]))), labels))


def originals(classes: Sequence[str], parts: Mapping[str, tuple[Int64Array, UInt8Array]]) -> str:
    """sha256 over class names, labels and identities, each part's in any order: no path, no name, no stored size."""
    digest = hashlib.sha256()
    for name in classes:
        digest.update(raw_bytes(name) + b"\0")
    for part, (labels, identities) in sorted(parts.items()):
        order = canonical(labels, identities)
        digest.update(f"{part} {len(labels)}\0".encode())
        digest.update(np.ascontiguousarray(labels[order], "<i8").tobytes() + identities[order].tobytes())
    return digest.hexdigest()
