"""Stochastic depth (arXiv 1603.09382) as a scale of each image's branch, for fused blocks."""

from typing import cast

from timm.layers.drop import DropPath
from torch import Tensor, nn

from seedwise.kernels.layers.eligibility import Reason, why_not_hooked


def why_no_scale(drop_path: nn.Module) -> Reason:
    """Why a block's drop path is not timm's: nothing, or a scale of each image. A class may say `is_per_image`."""
    if type(drop_path) not in (nn.Identity, DropPath) and not getattr(drop_path, "is_per_image", False):
        return f"its drop path is a {type(drop_path).__name__}"
    return why_not_hooked(drop_path)


def scale_of(drop_path: nn.Module, maps: Tensor) -> Tensor | None:
    """What timm's DropPath multiplies a branch, float[n, c, h, w] like `maps`, by: [n, 1, 1, 1]; None: by nothing.

    The layer itself draws it, of a branch of ones: the same draws from the same generator, and the same bits.
    """
    if type(drop_path) is nn.Identity or not drop_path.training or cast("DropPath", drop_path).drop_prob == 0:
        return None
    scale: Tensor = drop_path(maps.new_ones(len(maps), 1, 1, 1))
    return scale
