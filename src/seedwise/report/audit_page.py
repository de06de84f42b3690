"""The page of an audit: findings and thumbnails become one HTML file."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedwise.audit.findings import Findings, Image, Pair
from seedwise.files import write_text
from seedwise.report.page import render_page
from seedwise.report.shared import passed_over
from seedwise.report.words import Words

ACROSS, WITHIN, SUSPECTS = 100, 40, 100
"""Pairs and suspects that are shown with pictures, at most: some 5 KB a pair."""

Thumbnails = Mapping[str, NDArray[np.uint8]]


def write_audit(findings: Findings, thumbnails: Thumbnails, path: Path, language: str = "en") -> None:
    """Write the page of an audit; `thumbnails`: uint8[n, 32, 32, 3] by part, as `Image.row` numbers them."""
    words = Words(language)
    write_text(path, render_page("audit.html", words, audit_context(findings, thumbnails, words)))


def audit_context(findings: Findings, thumbnails: Thumbnails, words: Words) -> dict[str, Any]:
    """What the template shows."""
    opposed = [pair for pair in findings.pairs if pair.is_opposed]
    across = [pair for pair in findings.pairs if pair.first.split != pair.second.split]
    within = [pair for pair in findings.pairs if pair.first.split == pair.second.split]
    labels = findings.labels

    def shown(image: Image) -> dict[str, Any]:
        return {
            "picture": _png(thumbnails[image.part][image.row]),
            "label": findings.classes[image.label],
            "split": image.split,
            "where": image.where,
        }

    def pairs(some: list[Pair], count: int) -> list[dict[str, Any]]:
        return [
            {"first": shown(pair.first), "second": shown(pair.second), "pair": pair} for pair in _spread(some, count)
        ]

    return {
        "title": words("audit.title", data=findings.data),
        "found": findings,
        "splits": list(findings.splits),
        "columns": [(words(f"audit.split_{name}"), True) for name in findings.splits],
        "exact": sum(pair.exact for pair in findings.pairs),
        "opposed": pairs(opposed, ACROSS),
        "opposed_count": len(opposed),
        "across": pairs(across, ACROSS),
        "across_count": len(across),
        "within": pairs(within, WITHIN),
        "within_count": len(within),
        "contradicting": sum(pair.first.label != pair.second.label for pair in findings.pairs),
        "suspects": [
            {"image": shown(each.image), "suggested": findings.classes[each.suggested], "margin": each.margin}
            for each in (labels.suspects[:SUSPECTS] if labels else ())
        ],
        "passed_over": passed_over(findings.passed_over, words),
        "damaged": [line for part in findings.parts.values() for line in part.damaged],
        "spread": _ratio(findings),
    }


def _spread(pairs: list[Pair], count: int) -> list[Pair]:
    """All of them, or as many evenly over their order, which runs from the most to the least alike."""
    if len(pairs) <= count:
        return pairs
    return [pairs[i * (len(pairs) - 1) // (count - 1)] for i in range(count)]


def _ratio(findings: Findings) -> float | None:
    """Images of the largest class for one of the smallest, in the training split."""
    counts = [each.images.get("train", 0) for each in findings.balance]
    return max(counts) / min(counts) if min(counts, default=0) else None


def _png(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image as Pillow

    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
