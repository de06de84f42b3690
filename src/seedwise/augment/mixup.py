"""Mixup: blends two images of the batch, and their labels by the same share (arXiv 1710.09412)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from seedwise.augment.boxes import as_images, as_lines
from seedwise.augment.config import MixUpConfig
from seedwise.augment.groups import change_some
from seedwise.augment.measure import Measured
from seedwise.augment.mixing import UNIT, Mixing, beta_quantile, partners_in_ring
from seedwise.base.batch import Batch
from seedwise.base.devices import to_device_together

COLUMNS = 4


def parameters(draws: Tensor, config: MixUpConfig) -> tuple[Tensor, Tensor]:
    """lambda float64[n] in [0, 1], 1 where nothing is mixed, and partners int64[n]; from draws float32[n, 4].

    The draws are: whether to mix, lambda, a place in the ring of partners, and the switch between Mixup and CutMix.
    """
    draws = draws.double()
    kept = (beta_quantile(draws[:, 1], config.alpha) / UNIT).round() * UNIT
    partners = partners_in_ring(draws[:, 2])
    mixes = (draws[:, 0] < config.prob) & (partners != torch.arange(len(draws)))
    return torch.where(mixes, kept, 1.0), partners


def cutmix_mask(draws: Tensor, config: MixUpConfig) -> Tensor:
    """bool[n]: the images for CutMix when both act, from draws float32[n, 4]."""
    return draws[:, 3].double() < config.switch_prob


def assign_mixing(sections: Mapping[str, object], draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Assign images to the mixing techniques: bool[n] for each, the images that it may mix.

    A technique with probability 0 doesn't act, and leaves all images to the other, as if it had never been named.
    """
    every = {name: torch.ones(len(of_all), dtype=torch.bool) for name, of_all in draws.items()}
    config, other = sections.get("mixup"), sections.get("cutmix")
    if not isinstance(config, MixUpConfig) or config.prob == 0 or getattr(other, "prob", 0) == 0:
        return every
    left = cutmix_mask(draws["mixup"], config)
    return every | {"mixup": ~left, "cutmix": left}


def blend(images: Tensor, kept: Tensor, partners: Tensor) -> Tensor:
    """Blend uint8[n, c, h, w]: a share float64[n] `kept` of each image, the rest of partner int64[n]; channels_last."""
    lines = as_lines(images)

    def with_partners(own: Tensor, places: Tensor) -> Tensor:
        parts = kept[places].float()[:, None, None], partners[places]
        share, chosen = to_device_together(parts, images.device)
        others = lines.index_select(0, chosen)
        return own.float().mul_(share).add_(others.float().mul_(1 - share)).round_().to(torch.uint8)

    return as_images(change_some(lines, kept < 1, with_partners), images.shape[1])


def mix_targets(targets: Tensor, kept: Tensor, partners: Tensor) -> Tensor:
    """Blend targets float32[n, k] by the same shares float64[n] `kept` and partners int64[n] as the pixels."""
    share, chosen = to_device_together((kept.float()[:, None], partners), targets.device)
    return share * targets + (1 - share) * targets.index_select(0, chosen)


def apply(batch: Batch, draws: Tensor, config: MixUpConfig, *, mixing: Mixing | None = None) -> tuple[Batch, Measured]:
    """Blend with probability `config.prob`, from draws float32[n, 4]; measures lambda of the blended images.

    `mixing`: the images that it may blend. It comes first of the mixing techniques, so `batch` is still unmixed.
    """
    kept, partners = parameters(draws, config)
    if mixing is not None:
        kept = torch.where(mixing.mask, kept, 1.0)
    mixed = kept < 1
    images = blend(batch.images, kept, partners)
    return Batch(images, mix_targets(batch.targets, kept, partners)), {"share": mixed, "lambda": kept[mixed]}
