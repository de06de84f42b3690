"""scikit-learn's 1,797 handwritten digits (UCI optdigits): real images that come with a package we need anyway."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from seedwise.data.source import Contents, RawImage, SourcePart

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
        """Version of the package that holds the images."""
        return [f"scikit-learn {version('scikit-learn')}", f"{SIZE} px"]

    def read(self) -> Contents:
        """Read all 1,797 images as one part."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        grays = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        labels = np.asarray(digits.target, np.int64)

        def images() -> Iterator[RawImage]:
            from PIL import Image

            for row, gray in enumerate(grays):
                large = Image.fromarray(gray).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
                yield RawImage(f"digits: image {row}", np.asarray(large.convert("RGB")))

        return Contents(tuple(str(name) for name in digits.target_names), {"train": SourcePart(labels, images)})
