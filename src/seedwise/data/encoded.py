"""Images that stay encoded where they are, and are decoded when their turn comes; as pixels the same as the decoded."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from seedwise.base import machine
from seedwise.data.damage import OPTION
from seedwise.data.decoder import NEEDS_RANGE
from seedwise.data.deep import NoRange
from seedwise.data.fit import Fit
from seedwise.data.images import DamagedImage
from seedwise.data.located import Locations, Reader
from seedwise.data.prefetch import Prefetch, Undecoded, workers_of
from seedwise.data.source import Int64Array, UInt8Array, printable
from seedwise.data.storage import Names, on_canvas

FEW = 4
"""Images that nobody expected are decoded in threads from this many on."""


class Decoding:
    """Decodes the images of all parts of one index: those expected in processes, which start with the first of them."""

    def __init__(self, folder: Path, counts: Mapping[str, int], fit: Fit, workers: int | None) -> None:
        ends = np.cumsum(list(counts.values()))
        self._firsts = dict(zip(counts, (ends - list(counts.values())).tolist(), strict=True))
        self._folder, self.fit, self._workers = folder, fit, workers
        self._readers = {part: Reader(Locations.map(folder, part)) for part in counts}
        self._names = {part: Names(folder / f"{part}.names") for part in counts}
        self._prefetch: Prefetch | None = None
        self._lock, self._reading = threading.Lock(), threading.Lock()

    def expect(self, part: str, numbers: Int64Array) -> None:
        """Begin to decode images int64[n] of a part, by their number in the source, in this order."""
        with self._lock:
            if self._prefetch is None or not self._prefetch.close.alive:
                self._prefetch = Prefetch(self._folder, self._firsts, self.fit, workers_of(self._workers))
            self._prefetch.expect(numbers + self._firsts[part])

    def pixels(self, part: str, numbers: Int64Array, rows: Int64Array) -> list[UInt8Array]:
        """Pixels uint8[h, w, 3] of each image; a UserError names a damaged one. `rows`: their rows, for its name."""
        with self._lock:
            taken = [self._expected(part, *it) for it in zip(numbers.tolist(), rows.tolist(), strict=True)]
        missing = [at for at, pixels in enumerate(taken) if pixels is None]

        def decode(at: int) -> UInt8Array:
            return self._decode(part, int(numbers[at]), int(rows[at]))

        if len(missing) < FEW:
            made = [decode(at) for at in missing]
        else:
            with ThreadPoolExecutor(machine.cores()) as pool:
                made = list(pool.map(decode, missing))
        for at, pixels in zip(missing, made, strict=True):
            taken[at] = pixels
        return [pixels for pixels in taken if pixels is not None]

    def _expected(self, part: str, number: int, row: int) -> UInt8Array | None:
        if self._prefetch is None or not self._prefetch.close.alive:
            return None
        try:
            return self._prefetch.pixels(number + self._firsts[part])
        except Undecoded as error:
            raise self._damaged(part, row, str(error)) from error

    def _decode(self, part: str, number: int, row: int) -> UInt8Array:
        with self._reading:  # one place in a file at a time
            raw = self._readers[part].read(number)
        try:
            return self.fit.pixels(raw)
        except DamagedImage as error:
            raise self._damaged(part, row, error.what) from error
        except NoRange as error:
            raise self._damaged(part, row, NEEDS_RANGE) from error

    def _damaged(self, part: str, row: int, what: str) -> DamagedImage:
        name = printable(str(self._names[part].take(np.array([row]))[0]))
        return DamagedImage(
            name,
            what,
            f"put it back as it was and resume, or remove it and train anew; {OPTION} leaves such images out",
        )


class EncodedImages:
    """The images of one part, by row. `numbers`: int64[n], each row's number in the source; `sizes`: int64[n, 2],
    (height, width) in pixels once decoded, None where they aren't known before."""

    def __init__(self, decoding: Decoding, part: str, numbers: Int64Array, sizes: Int64Array | None) -> None:
        self._decoding, self._part, self._numbers = decoding, part, numbers
        alike = sizes is not None and bool((sizes == sizes[0]).all())
        self.size = (int(sizes[0, 0]), int(sizes[0, 1])) if alike and sizes is not None else None
        """(height, width) in pixels when all images are known to share it, else None."""

    @property
    def decoded(self) -> bool:
        """Whether reading takes no decoding: it takes it."""
        return False

    def expect(self, rows: Int64Array) -> None:
        """Begin to decode rows int64[n], which will be asked for in this order."""
        self._decoding.expect(self._part, self._numbers[rows])

    def gather(self, rows: Int64Array) -> tuple[UInt8Array, Int64Array | None]:
        """Read rows int64[b], as the decoded storages do."""
        images = self._decoding.pixels(self._part, self._numbers[rows], rows)
        if self.size is not None:
            return np.stack(images).transpose(0, 3, 1, 2), None
        return on_canvas(images)
