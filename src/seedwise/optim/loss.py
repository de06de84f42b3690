"""Cross-entropy against soft targets, the only loss: mixing and smoothing need no branches."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from seedwise.base.errors import UserError
from seedwise.optim.config import LossConfig

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits float[n, k], targets float[n, k]) -> the mean loss over the n images, a scalar."""


def build_loss(config: LossConfig, train_targets: NDArray[np.int64], num_classes: int, device: torch.device) -> Loss:
    """Build the loss: logits float[n, k] and targets float[n, k] -> scalar in nats.

    `train_targets`: int64[m], counted for `balanced` class weights. Class weights scale each class's term, and the mean
    is over images, not over weights (as torch has it for soft targets): an image's gradient does not depend on its
    neighbours in the batch.
    """
    weights = _class_weights(config, train_targets, num_classes)
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=device)

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), targets, weight=weight, label_smoothing=config.smoothing)

    return loss


def loss_effects(
    config: LossConfig, train_targets: NDArray[np.int64], logits: NDArray[np.float32], targets: NDArray[np.int64]
) -> dict[str, dict[str, float]]:
    """Measure the effects of smoothing and class weights; nothing for options at their default.

    `smoothing`: by how much the loss differs on float32[m, k] `logits` and int64[m] `targets`. `class_weights`: the
    share of the training images (`train_targets`: int64[n]) whose weight isn't 1, and the range of the weights.
    """
    k = logits.shape[1]
    effects: dict[str, dict[str, float]] = {}
    weights = _class_weights(config, train_targets, k)
    if config.smoothing > 0:
        plain = config.model_copy(update={"smoothing": 0.0})
        given = torch.from_numpy(logits), F.one_hot(torch.from_numpy(targets), k).float()
        with_it, without = (
            float(build_loss(it, train_targets, k, torch.device("cpu"))(*given)) for it in (config, plain)
        )
        effects["smoothing"] = {"images": float(len(targets)), "loss_added": with_it - without}
    if weights is not None:
        of_images = np.asarray(weights)[train_targets]
        share = float(np.mean(np.abs(of_images - 1) > 1e-9))
        effects["class_weights"] = {"images": float(len(train_targets)), "share": share}
        effects["class_weights"] |= {"min_weight": min(weights), "max_weight": max(weights)}
    return effects


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
