"""Brings the training images to the device: they stay there if they fit, else a thread reads one batch ahead."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedwise.base.devices import to_device_together
from seedwise.engine.placement import Placement
from seedwise.engine.protocols import Images

RESIDENT_SHARE = 3
"""Images stay on a GPU that has this many times as much memory free as they take."""
CHUNK = 1024
"""Images that are brought there at a time."""

Positions = NDArray[np.int64]
Read = TypeVar("Read")


class Fed(NamedTuple):
    """A batch of images as they are stored, on the device."""

    images: Tensor
    """uint8[n, 3, h, w]."""
    sizes: Tensor | None
    """(height, width) int64[n, 2] on the CPU, of images on a shared canvas."""
    labels: Tensor
    """int64[n]."""


class Ahead(Generic[Read]):
    """Reads batches in a thread, one ahead of what was taken; what goes wrong there is raised when it is its turn."""

    def __init__(self, read: Callable[[Positions], Read]) -> None:
        self._read = read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._waiting: deque[Positions] = deque()
        self._next: tuple[Positions, Future[Read]] | None = None

    def expect(self, batches: Sequence[Positions]) -> None:
        """Hear that these batches will be taken in this order, in place of what was heard before."""
        self._drop()
        self._waiting = deque(batches)

    def take(self, positions: Positions) -> Read:
        """The batch, and begin with the one behind it; one that was not expected is read now."""
        if self._next is None and self._waiting:
            self._begin()
        if self._next is None or not np.array_equal(self._next[0], positions):
            self.expect(())
            return self._read(positions)
        found = self._next[1].result()
        self._next = None
        if self._waiting:
            self._begin()
        return found

    def close(self) -> None:
        """End the thread, once what it reads now is there."""
        self.expect(())
        self._thread.shutdown()

    def _begin(self) -> None:
        positions = self._waiting.popleft()
        self._next = positions, self._thread.submit(self._read, positions)

    def _drop(self) -> None:
        if self._next is not None:
            self._next[1].exception()  # whoever reads is not for several threads at a time
            self._next = None


class Feed:
    """The training images of a run, batch by batch, on its device."""

    def __init__(self, images: Images, placement: Placement) -> None:
        self._images, self._placement = images, placement
        self._ahead: Ahead[tuple[Fed, torch.cuda.Event]] | None = None
        self._resident: Tensor | None = None
        self._begun = placement.device.type != "cuda"

    def expect(self, batches: Sequence[Positions]) -> None:
        """Hear that these batches, positions int64[n] each, will be taken in this order."""
        if not self._begun:
            self._begin()
        if self._resident is None:
            if self._ahead is not None:
                self._ahead.expect(())  # nobody else may read while the images hear of it
            self._images.expect(np.concatenate(batches) if len(batches) else np.arange(0))
        if self._ahead is not None:
            self._ahead.expect(batches)

    def take(self, positions: Positions) -> Fed:
        """The images at positions int64[n], and their labels; nothing waits for the device."""
        if self._resident is not None:
            rows, labels = self._placement.tensors(positions, self._images.targets[positions])
            return Fed(self._resident.index_select(0, rows).permute(0, 3, 1, 2), None, labels)
        if self._ahead is None:
            return self._read(positions)
        fed, ready = self._ahead.take(positions)
        stream = torch.cuda.current_stream(self._placement.device)
        stream.wait_event(ready)
        for tensor in (fed.images, fed.labels):
            tensor.record_stream(stream)
        return fed

    def close(self) -> None:
        """End the thread, if there is one, and let go of the images."""
        if self._ahead is not None:
            self._ahead.close()
        self._ahead = self._resident = None
        self._begun = self._placement.device.type != "cuda"

    def _begin(self) -> None:
        self._begun = True
        device, count = self._placement.device, len(self._images.ids)
        pixels, sizes = self._images.gather(np.arange(min(1, count)))
        free, _ = torch.cuda.mem_get_info(device)
        if self._images.decoded and sizes is None and RESIDENT_SHARE * count * pixels.nbytes <= free:
            self._resident = self._all(pixels.shape[2:])
            return
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

        def read(positions: Positions) -> tuple[Fed, torch.cuda.Event]:
            with torch.cuda.stream(stream):
                return self._read(positions), stream.record_event()

        self._ahead = Ahead(read)

    def _all(self, size: tuple[int, int]) -> Tensor:
        """All images uint8[m, h, w, 3] on the device, in the order of the part."""
        count = len(self._images.ids)
        found = torch.empty((count, *size, 3), dtype=torch.uint8, device=self._placement.device)
        chunks = np.array_split(np.arange(count), -(-count // CHUNK))
        self._images.expect(np.arange(count))
        for positions in chunks:
            pixels, _ = self._images.gather(positions)
            (part,) = to_device_together([torch.from_numpy(pixels.transpose(0, 2, 3, 1))], self._placement.device)
            found[positions[0] : positions[-1] + 1] = part
        return found

    def _read(self, positions: Positions) -> Fed:
        pixels, sizes = self._images.gather(positions)
        images, labels = self._placement.tensors(pixels, self._images.targets[positions])
        return Fed(images, None if sizes is None else torch.from_numpy(sizes), labels)
