"""Crops, augments, resizes and normalizes a batch, in this order."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seedwise.augment.config import SCHEDULED_STRENGTHS, AugmentConfig
from seedwise.augment.config.technique import Stage
from seedwise.augment.measure import Effects
from seedwise.augment.mixing import Mixing
from seedwise.augment.mixup import assign_mixing
from seedwise.augment.resize import resize
from seedwise.augment.table import TECHNIQUES, Augmentation
from seedwise.base import rng
from seedwise.base.batch import Batch
from seedwise.base.devices import to_device
from seedwise.config.section import Section
from seedwise.kernels.ops.pixels import normalize

MIX_OFF = "mix_off_epochs"


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
        epochs: int | None = None,
    ) -> None:
        """`rows`: images in the stored part that ids index; mean and std [c] are for pixels in [0, 1].

        `epochs`: length of the whole training, from whose end `mix_off_epochs` counts; without it mixing is never off.
        """
        self._config = config
        self._seed = seed
        self._rows = rows
        self._epochs = epochs
        self._mean = tuple(mean)
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
        strengths: Mapping[str, float] | None = None,
    ) -> Batch:
        """Augment uint8[n, c, h, w] and targets float32[n, k]; images become float32[n, c, size, size], normalized.

        `sizes` int64[n, 2]: the valid (height, width) of photos on a shared canvas; `ids` int64[n] on the CPU: the
        images' rows in the stored part. Parameters come from the CPU, so hardly anything here waits for another device.
        The result is in channels_last.

        `strengths` (keys: STRENGTHS) replace options for this call, with the same draws; those of techniques that are
        off are ignored. Alpha 0 switches Mixup or CutMix off, which leaves every image to the other.
        """
        rows = np.asarray(ids)
        sections = self._in_force(epoch, len(rows), strengths or {})
        batch = Batch(images, targets, sizes)
        if self._config.random_resized_crop is None:
            batch = Batch(center_square(images, sizes), targets)
        interpolation = self._config.resize.interpolation
        context = {"size": size, "interpolation": interpolation, "mean": self._mean, "epoch": epoch}

        def stage(name: Stage, batch: Batch) -> Batch:
            for technique in self._on:
                if technique.config.stage == name and technique.name in sections:
                    batch = self._apply(technique, batch, self._draws(technique, epoch, rows), sections, context)
            return batch

        batch = stage("native", stage("frame", batch))
        batch = stage("final", Batch(resize(batch.images, size, interpolation), batch.targets))
        batch = self._mix(batch, rows, epoch, sections)
        return Batch(self._normalize(batch.images), batch.targets)

    def evaluate(self, images: Tensor, sizes: Tensor | None, *, size: int) -> Tensor:
        """Crop the center square of uint8[n, c, h, w], resize and normalize it: float32[n, c, size, size]. `sizes` as
        in `train`. Draws nothing; returns channels_last."""
        return self._normalize(resize(center_square(images, sizes), size, self._config.resize.interpolation))

    def effects(self) -> dict[str, dict[str, float]]:
        """Effect of each technique since the run began: `share` of images changed, mean and range of its parameters."""
        return self._effects.summary()

    def state(self) -> dict[str, Any]:
        """State for a resumed run, as JSON data: the measured effects. Draws have no state."""
        return {"effects": self._effects.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._effects.load_state(state["effects"])

    def _in_force(self, epoch: int, images: int, strengths: Mapping[str, float]) -> dict[str, Section]:
        """Options of the techniques that act in this epoch, at these strengths."""
        unknown = strengths.keys() - SCHEDULED_STRENGTHS.keys()
        if unknown:
            raise ValueError(f"unknown strengths {sorted(unknown)}; there are {sorted(SCHEDULED_STRENGTHS)}")
        mix_off = self._epochs is not None and epoch >= self._epochs - self._config.mix_off_epochs
        if self._config.mix_off_epochs and any(technique.config.stage == "mix" for technique in self._on):
            self._effects.add(MIX_OFF, {"share": torch.full((images,), mix_off)})
        replaced = {technique.config.replaces for technique in self._on}
        sections: dict[str, Section] = {}
        for technique in self._on:
            section = getattr(self._config, technique.name)
            strength = strengths.get(f"{technique.name}.{technique.config.strength}")
            off = technique.config.stage == "mix" and (mix_off or strength == 0)
            if off or technique.name in replaced:
                self._effects.add(technique.name, {})
                continue
            if strength is not None:
                section = type(section).model_validate({**dict(section), technique.config.strength: strength})
            sections[technique.name] = section
        return sections

    def _mix(self, batch: Batch, rows: npt.NDArray[np.int64], epoch: int, sections: Mapping[str, Section]) -> Batch:
        """Mix images with each other: each by one technique at most, all partners from the unmixed batch."""
        on = [technique for technique in self._on if technique.config.stage == "mix" and technique.name in sections]
        draws = {technique.name: self._draws(technique, epoch, rows) for technique in on}
        source, mask = batch, assign_mixing(sections, draws)
        for technique in on:
            mixing = Mixing(source, mask[technique.name])
            batch = self._apply(technique, batch, draws[technique.name], sections, {"mixing": mixing})
        return batch

    def _apply(
        self,
        technique: Augmentation,
        batch: Batch,
        draws: Tensor,
        sections: Mapping[str, Section],
        context: Mapping[str, object],
    ) -> Batch:
        """Apply one technique and add its measurements."""
        taken = {name: context[name] for name in technique.keywords}
        batch, measured = technique.apply(batch, draws, sections[technique.name], **taken)
        self._effects.add(technique.name, measured)
        return batch

    def _draws(self, technique: Augmentation, epoch: int, rows: npt.NDArray[np.int64]) -> Tensor:
        """Draws of one technique for the images int64[n] `rows`: float32[n, columns] in [0, 1) on the CPU."""
        return torch.from_numpy(self._table(technique, epoch)[rows])

    def _table(self, technique: Augmentation, epoch: int) -> npt.NDArray[np.float32]:
        """Draws of one technique for all images, float32[rows, columns] in [0, 1), of one epoch or the run; cached."""
        epoch = epoch if technique.config.draws == "epoch" else 0
        known = self._tables.get(technique.name)
        if known is not None and known[0] == epoch:
            return known[1]
        stream = rng.generator(self._seed, "augment", technique.name, epoch)
        table = stream.random((self._rows, technique.columns), dtype=np.float32)
        self._tables[technique.name] = (epoch, table)
        return table

    def _normalize(self, images: Tensor) -> Tensor:
        """(images / 255 - mean) / std of uint8[n, c, h, w], as float32 in channels_last."""
        return normalize(images, self._offset, self._scale)


def center_square(images: Tensor, sizes: Tensor | None) -> Tensor:
    """Crop the center square of uint8[n, c, h, w], or of each image's valid area int64[n, 2] `sizes`.

    Photos of several shapes all get the side of the smallest short side in the batch (normally all are equal). Halves
    of a pixel are rounded to even, as torchvision's CenterCrop does.
    """
    n, c, h, w = images.shape
    if sizes is None:
        side = min(h, w)
        top, left = round((h - side) / 2), round((w - side) / 2)
        return images[:, :, top : top + side, left : left + side]
    side = int(sizes.min())
    corners = to_device(((sizes - side) / 2).round().long(), images.device)
    line = torch.arange(side, device=images.device)
    rows = (corners[:, :1] + line)[:, None, :, None].expand(n, c, side, w)
    columns = (corners[:, 1:] + line)[:, None, None, :].expand(n, c, side, side)
    return images.gather(2, rows).gather(3, columns)
