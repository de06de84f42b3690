"""The 1,797 handwritten digits of scikit-learn: `digits.csv.gz` is its file, and digits.LICENSE says whose it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seedwise.data.source import Contents, RawImage, SourcePart

FILE = Path(__file__).with_name("digits.csv.gz")
"""A line an image: its 8 x 8 gray values from 0 to 16 in reading order, and the digit."""
SIZE = 32
"""Stored height and width. The originals are 8 x 8: a crop by a few pixels would cut whole strokes away there, and a
pretrained stem would see blocks. Bicubic interpolation to 32 px makes one original pixel 4, so the usual 4-pixel crop
padding moves a digit by one original pixel, and strokes have the smooth edges ImageNet weights know."""


@dataclass(frozen=True)
class DigitsSource:
    """The digits 0 to 9, white on black, as RGB; without a test part, so one is held out of them."""

    name: str = "digits"
    path: Path | None = None

    def stamp(self) -> list[str]:
        """The images never change; their size may."""
        return [f"{FILE.name}, {SIZE} px"]

    def read(self) -> Contents:
        """All 1,797 images in one part."""
        rows = np.loadtxt(FILE, np.int64, delimiter=",")
        grays = np.rint(rows[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
        labels = rows[:, -1].copy()

        def images() -> Iterator[RawImage]:
            from PIL import Image

            for row, gray in enumerate(grays):
                large = Image.fromarray(gray).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
                yield RawImage(f"digits: image {row}", np.asarray(large.convert("RGB")))

        return Contents(tuple("0123456789"), {"train": SourcePart(labels, images)})
