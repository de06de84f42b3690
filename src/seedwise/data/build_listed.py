"""Writes what `build` writes, for data whose images are not all looked at first: in the order of the listing."""

import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seedwise.data.build import Built, write_durably, write_places
from seedwise.data.config import DataConfig, Storage
from seedwise.data.fit import Fit
from seedwise.data.listing import Listed, decoded_pixels, list_images
from seedwise.data.selection import read_contents
from seedwise.data.source import Progress, Source


def build_listed(
    source: Source,
    config: DataConfig,
    short_side: int,
    folder: Path,
    report: Progress,
    threads: int,
    least_classes: int = 2,
    storage: Storage = "encoded",
) -> Built:
    """List a source and write the index to `folder`; with `storage` decoded the pixels too."""
    contents = read_contents(source, config, least_classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks, as in `build`
        found = list_images(source, contents, short_side, config.pixel_range, folder, report, threads)
        for part, listed in found.parts.items():
            label = f"decoding {source.name} {part}"
            count = len(listed.order)
            rows = np.column_stack([listed.labels[listed.order], np.zeros((count, 2), np.int64), listed.order])
            index = np.column_stack([rows, np.zeros(count, np.int64)])
            if storage == "decoded":
                index[:, 1:] = _write_pixels(folder / f"{part}.pixels", listed, found.fit, report, label, threads)
            else:
                write_places(folder, part, listed.places)
            write_durably(folder / f"{part}.index", [index.tobytes()])
            write_durably(folder / f"{part}.names", [listed.names])
            write_durably(folder / f"{part}.originals", [])
    return Built(
        contents=found.contents,
        fingerprint=found.fingerprint,
        originals=found.fingerprint,
        short_side=found.fit.stored_side,
        largest_short_side=found.largest_short_side,
        pixel_range=found.fit.pixel_range if found.is_deep else None,
        fit=found.fit,
        order="listing",
    )


def _write_pixels(
    file: Path, listed: Listed, fit: Fit, report: Progress, label: str, threads: int
) -> "np.ndarray[tuple[int, int], np.dtype[np.int64]]":
    """Write a part's pixels; int64[n, 4]: (height, width), number in the file and CRC-32 of each image."""
    facts = np.empty((len(listed.order), 4), np.int64)

    def stored() -> Iterator[bytes]:
        for row, pixels in enumerate(decoded_pixels(listed, fit, report, label, threads)):
            data = pixels.tobytes()
            facts[row] = (*pixels.shape[:2], row, zlib.crc32(data))
            yield data

    write_durably(file, stored())
    return facts
