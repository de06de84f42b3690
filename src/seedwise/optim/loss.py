"""Cross-entropy against soft targets, the only loss: mixing and smoothing need no branch of their own."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from seedwise.errors import UserError
from seedwise.optim.config import LossConfig

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits float[n, k], targets float[n, k]) -> the mean loss over the n images, a scalar."""


def build_loss(config: LossConfig, train_targets: NDArray[np.int64], num_classes: int, device: torch.device) -> Loss:
    """The loss of a recipe. `train_targets` (int[n]) are counted when the class weights are `balanced`.

    Class weights scale each class's term, and the mean is over images, not over weights (as torch has it for soft
    targets): an image's gradient does not depend on its neighbours in the batch.
    """
    weights = _class_weights(config, train_targets, num_classes)
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=device)

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), targets, weight=weight, label_smoothing=config.smoothing)

    return loss


def _class_weights(config: LossConfig, targets: NDArray[np.int64], num_classes: int) -> list[float] | None:
    if config.class_weights is None:
        return None
    if config.class_weights == "balanced":
        counts = np.bincount(targets, minlength=num_classes)
        return [float(len(targets) / (num_classes * count)) if count else 0.0 for count in counts]
    if len(config.class_weights) != num_classes:
        given = len(config.class_weights)
        raise UserError(f"loss.class_weights: {given} weights for {num_classes} classes; give one for each")
    return list(config.class_weights)
