"""CutMix: pastes a box from another image of the batch, and mixes labels by the share of pixels (arXiv 1905.04899)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seedwise.augment.boxes import as_images, as_lines, show_in_boxes
from seedwise.augment.config import CutMixConfig
from seedwise.augment.measure import Measured
from seedwise.augment.mixing import Mixing, beta_quantile, partners_in_ring
from seedwise.base.batch import Batch
from seedwise.base.devices import to_device, to_device_together

COLUMNS = 5


@dataclass(frozen=True)
class Mix:
    """Boxes to paste and the images they come from, one entry per image, on the CPU."""

    boxes: Tensor
    """int64[n, 4]: (top, left, bottom, right) in pixels, clipped to the image; empty where nothing is pasted."""
    partners: Tensor
    """int64[n]: index in the batch of the image that the box is taken from."""

    def only(self, images: Tensor) -> "Mix":
        """Keep the boxes of the images bool[n], and empty those of the others."""
        return replace(self, boxes=self.boxes * images[:, None])

    def pasted(self) -> Tensor:
        """int64[n]: area of each box in pixels."""
        top, left, bottom, right = self.boxes.unbind(1)
        return (bottom - top) * (right - left)


def parameters(draws: Tensor, config: CutMixConfig, size: tuple[int, int]) -> Mix:
    """Draw boxes and partners for images of `size` = (h, w), from draws float32[n, 5].

    The draws are: whether to mix, lambda, the box's center (y, x), and a place in the ring of partners.
    """
    draws = draws.double()
    extent = torch.tensor(size)
    cut = (1 - beta_quantile(draws[:, 1], config.alpha)).sqrt()
    half = (cut[:, None] * extent).long() // 2
    center = (draws[:, 2:4] * extent).long()
    start = (center - half).clamp(min=0)
    end = torch.minimum(center + half, extent)
    partners = partners_in_ring(draws[:, 4])
    mixes = (draws[:, 0] < config.prob) & (partners != torch.arange(len(draws)))
    return Mix(torch.cat((start, torch.where(mixes[:, None], end, start)), dim=1), partners)


def paste(images: Tensor, mix: Mix, source: Tensor | None = None) -> Tensor:
    """Paste each image's box from its partner in `source` (default: the images): uint8[n, c, h, w], channels_last."""
    lines = as_lines(images)
    others = (lines if source is None else as_lines(source)).index_select(0, to_device(mix.partners, images.device))
    return as_images(show_in_boxes(lines, others, mix.boxes, images.shape[1]), images.shape[1])


def mix_targets(targets: Tensor, mix: Mix, pixels: int, source: Tensor | None = None) -> Tensor:
    """Mix targets float32[n, k] by each image's share of the `pixels` (h * w); partners come from `source`."""
    share = mix.pasted().double() / pixels
    parts = (1 - share).float()[:, None], share.float()[:, None], mix.partners
    own, other, partners = to_device_together(parts, targets.device)
    source = targets if source is None else source
    return own * targets + other * source.index_select(0, partners)


def apply(batch: Batch, draws: Tensor, config: CutMixConfig, *, mixing: Mixing | None = None) -> tuple[Batch, Measured]:
    """Mix with probability `config.prob`, from draws float32[n, 5]; measures lambda, the share that an image keeps."""
    h, w = batch.images.shape[-2:]
    mixing = mixing or Mixing.alone(batch)
    mix = parameters(draws, config, (h, w)).only(mixing.mask)
    pasted = mix.pasted()
    mixed = pasted > 0
    kept = 1 - pasted[mixed].double() / (h * w)
    images = paste(batch.images, mix, mixing.source.images)
    targets = mix_targets(batch.targets, mix, h * w, mixing.source.targets)
    return Batch(images, targets), {"share": mixed, "lambda": kept}
