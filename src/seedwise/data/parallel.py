"""Processes images in threads, in bounded memory, and returns them in order."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from seedwise.data.source import RawImage

CHUNK = 32
"""Images a thread takes at a time: enough to hide the cost of handing them over, few enough for photos in memory."""
FIRST_CHUNK = 4
CHUNK_BYTES = 8 << 20
"""Bytes of encoded images at which a chunk ends, so that large photos out of archives stay few."""

Made = TypeVar("Made")


def in_order(
    images: Iterable[RawImage], make: Callable[[RawImage], Made], threads: int, report: Callable[[int], None]
) -> Iterator[Made]:
    """Yield `make(image)` for each image in order, with at most two chunks a thread in progress.

    `report` is told how many are done after each chunk; the first ones are small, so that it soon knows the pace. When
    it raises, or whoever takes the images does, no further image is begun.
    """
    ended = threading.Event()

    def make_chunk(chunk: list[RawImage]) -> list[Made]:
        return [make(raw) for raw in chunk if not ended.is_set()]

    remaining = iter(images)
    under_way: deque[Future[list[Made]]] = deque()
    done, begun = 0, 0
    with ThreadPoolExecutor(threads) as pool:
        try:
            while True:
                while len(under_way) < 2 * threads and (chunk := _next_chunk(remaining, max(FIRST_CHUNK, begun))):
                    begun += len(chunk)
                    under_way.append(pool.submit(make_chunk, chunk))
                if not under_way:
                    return
                made = under_way.popleft().result()
                yield from made
                done += len(made)
                report(done)
        finally:
            ended.set()


def _next_chunk(images: Iterator[RawImage], most: int) -> list[RawImage]:
    chunk: list[RawImage] = []
    size = 0
    for raw in images:
        chunk.append(raw)
        size += len(raw.data) if isinstance(raw.data, bytes) else 0
        if len(chunk) >= min(most, CHUNK) or size >= CHUNK_BYTES:
            break
    return chunk
