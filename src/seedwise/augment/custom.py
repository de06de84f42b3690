"""Custom technique: a user's own function on the whole batch, found by import path and checked at every batch."""

import torch
from torch import Tensor

from seedwise.augment.config import CustomConfig
from seedwise.augment.measure import Measured
from seedwise.base.batch import Batch
from seedwise.base.devices import to_device
from seedwise.base.errors import UserError
from seedwise.base.user_code import fails, find

OPTION = "augment.custom"
COLUMNS = 8


def apply(batch: Batch, draws: Tensor, config: CustomConfig) -> tuple[Batch, Measured]:
    """Call `function(images, draws)` on the batch's device, with draws float32[n, 8]; measures changed images. A
    UserError where it fails, or returns another shape or type than uint8[n, 3, h, w]."""
    function, images = find(OPTION, config.function), batch.images
    given = f"uint8{list(images.shape)}"
    try:
        # A copy: what it does in place is as good as a result, and the share is measured against the original.
        changed = function(images.clone(), to_device(draws, images.device))
    except Exception as error:
        what = f"called with images {given} and draws float32{list(draws.shape)}, it raised"
        raise fails(OPTION, config.function, what, error) from error
    if not isinstance(changed, Tensor):
        raise UserError(f"{OPTION} {config.function}: returned {type(changed).__name__}; return images {given}")
    if (changed.dtype, changed.shape, changed.device) != (torch.uint8, images.shape, images.device):
        kind = f"{str(changed.dtype).removeprefix('torch.')}{list(changed.shape)} on {changed.device}"
        raise UserError(f"{OPTION} {config.function}: returned {kind}; return images {given} on {images.device}")
    return Batch(changed, batch.targets), {"share": (changed != images).flatten(1).any(dim=1)}
