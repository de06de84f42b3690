"""One optimizer step: forward, loss, backward, step."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seedwise.base.batch import Batch
from seedwise.engine.distributed import SINGLE_PROCESS, World
from seedwise.engine.loss_scale import LossScale
from seedwise.engine.placement import Placement
from seedwise.optim.loss import Loss
from seedwise.optim.sam import Sam


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
    sam: Sam | None = None,
    scale: LossScale | None = None,
) -> Tensor:
    """Make one optimizer step; several batches are accumulated, each image with the same weight.

    With more processes than one `model` is `world.ddp(...)`, and `total` the number of images of all of them. With
    `sam` the step is by the gradients of a second pass, which draws the same dropout as the first. With `scale`, for
    fp16, it is skipped where gradients overflow.

    Returns float[2] on the device: the loss and the mixed top-1 (target probability of the predicted class), both
    summed over this process's images.
    """
    total = total or sum(len(batch.targets) for batch in batches)
    optimizer.zero_grad(set_to_none=True)
    draws = _draws(placement.device) if sam is not None else None
    sums = _gradients(model, loss, batches, placement, world, total, scale)
    if sam is not None and draws is not None:
        with sam.moved(model):
            _draw_again(placement.device, draws)
            there = _gradients(model, loss, batches, placement, world, total, scale)
        sam.count(sum(len(batch.targets) for batch in batches), there[0] - sums[0])
    if scale is not None:
        scale.step(optimizer, list(model.parameters()), clip_norm)
        return sums
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
    return sums


def _gradients(
    model: nn.Module,
    loss: Loss,
    batches: Sequence[Batch],
    placement: Placement,
    world: World,
    total: int,
    scale: LossScale | None,
) -> Tensor:
    """Add the gradients of the batches; returns float[2] as `training_step`."""
    sums = torch.zeros(2, device=placement.device)
    for number, batch in enumerate(batches, 1):
        with world.no_sync(model, number < len(batches)):
            with placement.autocast():
                logits = model(placement.images(batch.images))
            mean_loss = loss(logits, batch.targets, batch.teacher)
            weight = len(batch.targets) / total * world.size  # for gradients are averaged over processes
            weighted = mean_loss * weight if weight != 1 else mean_loss
            (weighted if scale is None else scale.scaled(weighted)).backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            correct = batch.targets.gather(1, logits.argmax(dim=1, keepdim=True)).sum()
            sums += torch.stack([mean_loss.detach() * len(batch.targets), correct])
    return sums


def _draws(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """States of the generators that dropout draws from."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _draw_again(device: torch.device, draws: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(draws[0])
    if draws[1] is not None:
        torch.cuda.set_rng_state(draws[1], device)
