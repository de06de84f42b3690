"""Renders an audit's page: findings and pictures as one HTML file."""

import base64
import io
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedwise.audits.findings import Findings, Image, Pair
from seedwise.base.files import write_text
from seedwise.reports.page import render_page
from seedwise.reports.shared import passed_over
from seedwise.reports.words import Words

OPPOSED, ACROSS, WITHIN, ALIKE, SUSPECTS = 60, 100, 40, 60, 20
"""Largest numbers of pairs and suspects shown with pictures: some 10 KB a pair of photos."""
SMALL = 64
"""Largest side in pixels of a picture that is stored without loss and shown pixel by pixel."""

Pictures = Callable[[Iterable[Image]], Mapping[tuple[str, int], NDArray[np.uint8]]]


def write_audit(findings: Findings, pictures: Pictures, path: Path, language: str = "en") -> None:
    """Write the page of an audit; `pictures` maps (part, row) to uint8[h, w, 3] images, where they exist."""
    words = Words(language)
    write_text(path, render_page("audit.html", words, audit_context(findings, pictures, words)))


def audit_context(findings: Findings, pictures: Pictures, words: Words) -> dict[str, Any]:
    """Build the template's variables."""
    same = [pair for pair in findings.pairs if pair.is_same]
    alike = [pair for pair in findings.pairs if not pair.is_same]
    tables = {
        "opposed": ([pair for pair in same if pair.is_opposed], OPPOSED),
        "across": ([pair for pair in same if pair.is_across and not pair.is_opposed], ACROSS),
        "within": ([pair for pair in same if not pair.is_across and not pair.is_opposed], WITHIN),
        "alike_across": ([pair for pair in alike if pair.is_across], ALIKE),
        "alike_within": ([pair for pair in alike if not pair.is_across], ALIKE),
    }
    chosen = {name: _spread(pairs, count) for name, (pairs, count) in tables.items()}
    suspects = findings.labels.suspects[:SUSPECTS] if findings.labels else []
    images = [image for pairs in chosen.values() for pair in pairs for image in (pair.first, pair.second)]
    seen = pictures([*images, *(each.image for each in suspects)])

    def shown(image: Image) -> dict[str, Any]:
        pixels = seen.get((image.part, image.row))
        return {
            "picture": None if pixels is None else _encoded(pixels),
            "smooth": pixels is not None and max(pixels.shape[:2]) > SMALL,
            "label": findings.classes[image.label],
            "split": image.split,
            "where": _short(image.where, findings.source),
        }

    def rows(pairs: list[Pair]) -> list[dict[str, Any]]:
        return [{"first": shown(pair.first), "second": shown(pair.second), "pair": pair} for pair in pairs]

    return {
        "title": words("audit.title", data=findings.data),
        "found": findings,
        "splits": list(findings.splits),
        "columns": [(words(f"audit.split_{name}"), True) for name in findings.splits],
        "pairs_of": {name: rows(pairs) for name, pairs in chosen.items()},
        "count_of": {name: len(pairs) for name, (pairs, _) in tables.items()},
        "same_count": len(same),
        "command": f"seedwise audit {shlex.quote(findings.source)} --confirm confirmed.json",
        "suspects": [
            {"image": shown(each.image), "suggested": findings.classes[each.suggested], "margin": each.margin}
            for each in suspects
        ],
        "passed_over": passed_over(findings.passed_over, words),
        "damaged": [line for part in findings.parts.values() for line in part.damaged],
        "spread": _ratio(findings),
    }


def _short(where: str, source: str) -> str:
    """A file's name relative to the data's folder."""
    return where.removeprefix(source).lstrip("/\\") or where


def _spread(pairs: list[Pair], count: int) -> list[Pair]:
    """All pairs, or `count` of them evenly spread over their order, from the most to the least alike."""
    if len(pairs) <= count:
        return pairs
    return [pairs[i * (len(pairs) - 1) // (count - 1)] for i in range(count)]


def _ratio(findings: Findings) -> float | None:
    """Size of the largest class over that of the smallest, in the training split."""
    counts = [each.images.get("train", 0) for each in findings.balance]
    return max(counts) / min(counts) if min(counts, default=0) else None


def _encoded(pixels: NDArray[np.uint8]) -> str:
    """Encode uint8[h, w, 3] as a data URI: small pictures as PNG, photos as JPEG, at a tenth of the bytes."""
    from PIL import Image as Pillow

    file = io.BytesIO()
    kind = "PNG" if max(pixels.shape[:2]) <= SMALL else "JPEG"
    Pillow.fromarray(pixels).save(file, kind, quality=85)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(file.getvalue()).decode()
