"""One optimizer step: forward, loss, backward, step."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seedwise.base.batch import Batch
from seedwise.engine.distributed import SINGLE_PROCESS, World
from seedwise.engine.placement import Placement
from seedwise.optim.loss import Loss


def training_step(
    model: nn.Module,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Batch],
    *,
    placement: Placement,
    clip_norm: float | None,
    world: World = SINGLE_PROCESS,
    total: int | None = None,
) -> Tensor:
    """Make one optimizer step; several batches are accumulated, each image with the same weight.

    With more processes than one `model` is `world.ddp(...)`, and `total` the number of images of all of them.

    Returns float[2] on the device: the loss and the mixed top-1 (target probability of the predicted class), both
    summed over this process's images.
    """
    total = total or sum(len(batch.targets) for batch in batches)
    sums = torch.zeros(2, device=placement.device)
    optimizer.zero_grad(set_to_none=True)
    for number, batch in enumerate(batches, 1):
        with world.no_sync(model, number < len(batches)):
            with placement.autocast():
                logits = model(placement.images(batch.images))
            mean_loss = loss(logits, batch.targets)
            weight = len(batch.targets) / total * world.size  # for gradients are averaged over processes
            (mean_loss * weight if weight != 1 else mean_loss).backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            correct = batch.targets.gather(1, logits.argmax(dim=1, keepdim=True)).sum()
            sums += torch.stack([mean_loss.detach() * len(batch.targets), correct])
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
    return sums
