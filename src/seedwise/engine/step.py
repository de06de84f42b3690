"""One optimizer step, in the order in which it is written in every textbook."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from seedwise.batch import Batch
from seedwise.engine.placement import Placement


class Loss(Protocol):
    """(logits float[n, k], targets float[n, k]) -> the mean loss over the images."""

    def __call__(self, logits: Tensor, targets: Tensor, /) -> Tensor: ...


def training_step(
    model: nn.Module,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Batch],
    *,
    placement: Placement,
    clip_norm: float | None,
) -> Tensor:
    """Forward, loss, backward, step; several batches accumulate into one step, each image with the same weight.

    Returns float[2] on the device: the loss and the mixed top-1 (target probability of the predicted class), both
    summed over the images.
    """
    total = sum(len(batch.targets) for batch in batches)
    sums = torch.zeros(2, device=placement.device)
    optimizer.zero_grad(set_to_none=True)
    for batch in batches:
        with placement.autocast():
            logits = model(placement.images(batch.images))
        mean_loss = loss(logits, batch.targets)
        share = len(batch.targets) / total
        (mean_loss * share if len(batches) > 1 else mean_loss).backward()
        with torch.no_grad():
            hits = batch.targets.gather(1, logits.argmax(dim=1, keepdim=True)).sum()
            sums += torch.stack([mean_loss.detach() * len(batch.targets), hits])
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
    return sums
