"""AugMix: blends each image with copies of it that chains of operations changed (arXiv 1912.02781)."""

import torch
from torch import Tensor

from seedwise.augment.config import AugMixConfig
from seedwise.augment.measure import Measured, changed
from seedwise.augment.mixing import UNIT, beta_quantile
from seedwise.augment.operations import CODES, COLOR, NAMES, Space, magnitudes, shares, values
from seedwise.augment.sorted_operations import transform_in_turn
from seedwise.base.batch import Batch
from seedwise.base.devices import to_device_together

WIDTH = DEPTH = 4
"""Largest number of chains, and of operations in a chain, that AugMixConfig allows."""
COLUMNS = 1 + WIDTH * (2 + DEPTH)
"""Draws of an image: its own share; then for each chain its share, its length and its operations."""
STEPS = 10
SPACE = Space(shear=0.3, translate=(1 / 3, 0), degrees=30.0, factor=0.9, bits=4, most_bits=4)
"""torchvision's ranges for AugMix."""


def operations(config: AugMixConfig) -> list[str]:
    """Names of the operations to draw from."""
    return [name for name in NAMES if name != "identity" and (config.all_ops or name not in COLOR)]


def weights(draws: Tensor, config: AugMixConfig) -> Tensor:
    """float64[n, mixture_width]: weight of each chain, from draws float32[n, 25]; the image itself gets the rest to 1.

    Dirichlet by breaking a stick: chain i takes Beta(alpha, alpha * chains after it) of what is left, the last one all.
    Shares are cut off to multiples of UNIT, so that sums of products with uint8 pixels are exact in float32, in
    whatever order.
    """
    draws = draws.double()
    left = 1 - beta_quantile(draws[:, 0], config.alpha)
    parts = []
    for after, stick in zip(reversed(range(config.mixture_width)), _chains(draws), strict=False):
        parts.append(left * beta_quantile(stick[:, 0], config.alpha, after * config.alpha) if after else left)
        left = left - parts[-1]
    return (torch.stack(parts, dim=1) / UNIT).floor() * UNIT


def chain(draws: Tensor, config: AugMixConfig, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Draw a chain for images of `shape` = (h, w): codes int64[n, 4] of its operations, and their values float64[n, 4].

    The draws float32[n, 6] are: the chain's share, its length, and for each place one of all operations, steps and
    directions. Places behind the chain's end are identity, code 0.
    """
    draws = draws.double()
    depth = 1 + (3 * draws[:, 1]).long() if config.chain_depth == "random" else torch.tensor(config.chain_depth)
    known = torch.tensor([CODES[name] for name in operations(config)])
    drawn = (draws[:, 2:] * (2 * config.severity * len(known))).long()
    codes = known[drawn // (2 * config.severity)]
    codes = torch.where(torch.arange(DEPTH) < depth.view(-1, 1), codes, CODES["identity"])
    steps, negative = (drawn // 2 % config.severity).double(), drawn % 2 == 0
    return codes, values(codes, steps, negative, magnitudes(SPACE, STEPS, shape))


def apply(batch: Batch, draws: Tensor, config: AugMixConfig) -> tuple[Batch, Measured]:
    """Blend each image with its chains, from draws float32[n, 25]. Measures the chains' total weight, how often each
    operation was drawn, and changed images."""
    share = weights(draws, config)
    chains = share.sum(dim=1)
    # All chains at once, the first ones of all images first: fewer and larger groups of one operation.
    codes, value = chain(torch.cat(_chains(draws)[: config.mixture_width]), config, batch.images.shape[-2:])
    copies = transform_in_turn(batch.images.repeat(config.mixture_width, 1, 1, 1), codes, value, config.interpolation)

    own, *others = to_device_together([(1 - chains).float(), *share.float().unbind(1)], batch.images.device)

    def weighted(images: Tensor, by: Tensor) -> Tensor:
        return images.float().mul_(by[:, None, None, None])

    blend = weighted(batch.images, own)
    for images, by in zip(copies.chunk(config.mixture_width), others, strict=True):
        blend += weighted(images, by)
    images = blend.round_().to(torch.uint8)
    measured = {"share": changed(batch.images, images), "chains": chains}
    return Batch(images, batch.targets), measured | shares(codes[codes != CODES["identity"]], operations(config))


def _chains(draws: Tensor) -> tuple[Tensor, ...]:
    """The draws of each chain: WIDTH times float32[n, 6]."""
    return torch.split(draws[:, 1:], 2 + DEPTH, dim=1)
