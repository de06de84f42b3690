"""Identifies a data set by its original images, whatever size they are stored at."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from seedwise.data.source import Int64Array, UInt8Array, raw_bytes

Prints = npt.NDArray[np.uint64]
"""uint64[n]: the first 8 bytes of the sha256 of each decoded original, which identify it: of a million images against a
million, two that differ have one print once in 18 million times."""


def prints(identities: UInt8Array) -> Prints:
    """uint64[n]: the first 8 bytes of the sha256 uint8[n, 32] of decoded originals."""
    return np.ascontiguousarray(identities).view(">u8")[:, 0].astype(np.uint64)


def canonical(labels: Int64Array, identities: UInt8Array) -> Int64Array:
    """Canonical order int64[n] of a part's rows: by class int64[n], then by the sha256 uint8[n, 32] of the original."""
    words = identities.view(">u8")
    return np.lexsort((*(words[:, word] for word in reversed(range(words.shape[1]))), labels))


def originals(classes: Sequence[str], parts: Mapping[str, tuple[Int64Array, UInt8Array]]) -> str:
    """sha256 over class names, labels and originals of all parts, in hex: no path, no name, no stored size. `parts`:
    labels int64[n] and sha256 uint8[n, 32] of each part, in any order."""
    digest = hashlib.sha256()
    for name in classes:
        digest.update(raw_bytes(name) + b"\0")
    for part, (labels, identities) in sorted(parts.items()):
        order = canonical(labels, identities)
        digest.update(f"{part} {len(labels)}\0".encode())
        digest.update(np.ascontiguousarray(labels[order], "<i8").tobytes() + identities[order].tobytes())
    return digest.hexdigest()
