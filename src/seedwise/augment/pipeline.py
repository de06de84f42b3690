"""The order in which a batch is framed, augmented, resized and normalized."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seedwise import rng
from seedwise.augment.config import AugmentConfig
from seedwise.augment.measure import Effects
from seedwise.augment.resize import resize
from seedwise.augment.table import TECHNIQUES, Stage, Technique
from seedwise.batch import Batch


class Augmenter:
    """Turns batches of uint8 images into the float32 batches that a model takes.

    An image's draws depend on the seed, the technique, the epoch and the image's id alone: not on batch size, order,
    workers, device, or which other techniques are on.
    """

    def __init__(
        self,
        config: AugmentConfig,
        *,
        seed: int,
        rows: int,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device,
    ) -> None:
        """`rows` is the number of images in the stored part that ids index; mean and std are for pixels in [0, 1]."""
        self._config = config
        self._seed = seed
        self._rows = rows
        self._offset = 255 * torch.tensor(mean, dtype=torch.float64)
        self._scale = 1 / (255 * torch.tensor(std, dtype=torch.float64))
        self._offset, self._scale = self._offset.float().to(device), self._scale.float().to(device)
        self._on = [technique for technique in TECHNIQUES if getattr(config, technique.name) is not None]
        self._tables: dict[str, tuple[int, npt.NDArray[np.float32]]] = {}
        self._effects = Effects()

    def train(
        self,
        images: Tensor,
        sizes: Tensor | None,
        targets: Tensor,
        ids: npt.NDArray[np.int64] | Tensor,
        *,
        epoch: int,
        size: int,
    ) -> Batch:
        """Augment uint8[n, c, h, w]; returns float32[n, c, size, size], normalized, in channels_last.

        `sizes` are the valid (height, width) of photos on a shared canvas; `ids` int64[n] on the CPU are the images'
        rows in the stored part. Parameters come from the CPU, so nothing here waits for another device.
        """
        rows = np.asarray(ids)
        batch = Batch(images, targets, sizes)
        if self._config.random_resized_crop is None:
            batch = Batch(center_square(images, sizes), targets)
        interpolation = self._config.resize.interpolation
        batch = self._stage("frame", batch, rows, epoch, size=size, interpolation=interpolation)
        batch = self._stage("native", batch, rows, epoch)
        batch = Batch(resize(batch.images, size, interpolation), batch.targets)
        batch = self._stage("final", batch, rows, epoch)
        return Batch(self._normalize(batch.images), batch.targets)

    def evaluate(self, images: Tensor, sizes: Tensor | None, *, size: int) -> Tensor:
        """Center square, resized and normalized, without a draw: float32[n, c, size, size] in channels_last."""
        return self._normalize(resize(center_square(images, sizes), size, self._config.resize.interpolation))

    def effects(self) -> dict[str, dict[str, float]]:
        """What each technique did since the run began: `share` of images really changed, and means and ranges."""
        return self._effects.summary()

    def state(self) -> dict[str, Any]:
        """What a resumed run needs: the measured effects, JSON-able. Draws have no state."""
        return {"effects": self._effects.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._effects.load_state(state["effects"])

    def _stage(self, stage: Stage, batch: Batch, rows: npt.NDArray[np.int64], epoch: int, **target: int | str) -> Batch:
        """Apply the techniques of one stage that are on, in the table's order."""
        for technique in self._on:
            if technique.stage == stage:
                draws = torch.from_numpy(self._table(technique, epoch)[rows])
                batch, measured = technique.apply(batch, draws, getattr(self._config, technique.name), **target)
                self._effects.add(technique.name, measured)
        return batch

    def _table(self, technique: Technique, epoch: int) -> npt.NDArray[np.float32]:
        """float32[rows, columns] in [0, 1), of one epoch; kept until the next."""
        known = self._tables.get(technique.name)
        if known is not None and known[0] == epoch:
            return known[1]
        stream = rng.generator(self._seed, "augment", technique.name, epoch)
        table = stream.random((self._rows, technique.columns), dtype=np.float32)
        self._tables[technique.name] = (epoch, table)
        return table

    def _normalize(self, images: Tensor) -> Tensor:
        """(images / 255 - mean) / std of uint8[n, c, h, w] in channels_last, as float32 in channels_last."""
        n, c, h, w = images.shape
        # One line of pixels is one contiguous vector, 4 times as fast as broadcasting over c = 3.
        lines = images.permute(0, 2, 3, 1).reshape(n, h, w * c)
        lines = lines.sub(self._offset.repeat(w)).mul_(self._scale.repeat(w))
        return lines.view(n, h, w, c).permute(0, 3, 1, 2)


def center_square(images: Tensor, sizes: Tensor | None) -> Tensor:
    """The center square of uint8[n, c, h, w], or of the valid area int64[n, 2] `sizes` of each image.

    Photos of several shapes all get the side of the smallest short side in the batch (normally all are equal). Halves
    of a pixel are rounded to even, as torchvision's CenterCrop does.
    """
    n, c, h, w = images.shape
    if sizes is None:
        side = min(h, w)
        top, left = round((h - side) / 2), round((w - side) / 2)
        return images[:, :, top : top + side, left : left + side]
    sizes = sizes.cpu()
    side = int(sizes.min())
    corners = ((sizes - side) / 2).round().long().to(images.device)
    line = torch.arange(side, device=images.device)
    rows = (corners[:, :1] + line)[:, None, :, None].expand(n, c, side, w)
    columns = (corners[:, 1:] + line)[:, None, None, :].expand(n, c, side, side)
    return images.gather(2, rows).gather(3, columns)
