"""Warm start: trains the classifier alone on precomputed features, before fine-tuning."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedwise.base import rng
from seedwise.base.batch import Batch
from seedwise.base.errors import UserError
from seedwise.engine.distributed import World
from seedwise.engine.evaluate import Predictions, predict, score
from seedwise.engine.placement import Placement
from seedwise.engine.protocols import Evaluated, Images
from seedwise.engine.step import training_step
from seedwise.optim.loss import Loss
from seedwise.recipe.warm_start_config import WarmStartConfig

TOLERANCE = 1e-2
"""Largest difference of logits computed from the features, relative to the largest logit: rounding in bf16."""


class WarmStart:
    """Trains a network's classifier on the features before it."""

    def __init__(self, config: WarmStartConfig, model: nn.Module, head: Sequence[str]) -> None:
        """`head`: names of the submodules that are the classifier; a UserError unless that is one linear layer."""
        found = model.get_submodule(head[0]) if len(head) == 1 else None
        if not isinstance(found, nn.Linear):
            what = "has none that it names" if not head else f"is {', '.join(head)}"
            raise UserError(
                f"warm_start: needs a network whose classifier is one linear layer; this one's {what}; "
                "set warm_start to null"
            )
        self._config, self._model, self._name, self._head = config, model, head[0], found

    def run(
        self,
        images: Images,
        augment: Evaluated,
        loss: Loss,
        *,
        num_classes: int,
        size: int,
        placement: Placement,
        seed: int,
        world: World,
        on_progress: Callable[[str, int, int], None],
    ) -> dict[str, float]:
        """Train the classifier in place and return measurements. Draws come from (seed, "warm_start") alone."""
        began = time.perf_counter()
        of_images = predict(
            self._headless(),
            images,
            augment,
            size=size,
            placement=placement,
            world=world,
            on_progress=lambda done, total: on_progress("warm start: features", done, total),
        )
        features = torch.from_numpy(of_images.logits).to(placement.device)
        self._demand_last(features, images, augment, size, placement)
        exact = replace(placement, precision="fp32", channels_last=False)
        before = score(self._predictions(of_images, features))
        head = nn.Sequential(nn.Flatten(), self._head)
        config = self._config
        optimizer = torch.optim.AdamW(head.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        count = len(features)
        targets = F.one_hot(torch.from_numpy(of_images.targets), num_classes).float().to(placement.device)
        steps = math.ceil(count / config.batch_size)
        for epoch in range(config.epochs):
            order = rng.generator(seed, "warm_start", epoch).permutation(count)
            for step, positions in enumerate(np.array_split(order, steps), epoch * steps):
                optimizer.param_groups[0]["lr"] = (
                    config.lr * (1 + math.cos(math.pi * step / (config.epochs * steps))) / 2
                )
                rows = torch.from_numpy(positions).to(placement.device)
                batch = Batch(features[rows][:, :, None, None], targets[rows])
                training_step(head, loss, optimizer, [batch], placement=exact, clip_norm=None)
            on_progress("warm start: classifier", (epoch + 1) * count, config.epochs * count)
        optimizer.zero_grad(set_to_none=True)
        world.broadcast(parameter.detach() for parameter in self._head.parameters())
        after = score(self._predictions(of_images, features))
        return {
            "images": float(count),
            "train_top1_before": before.top1,
            "train_top1_after": after.top1,
            "train_loss_before": before.loss,
            "train_loss_after": after.loss,
            "seconds": time.perf_counter() - began,
        }

    def copy_into(self, other: nn.Module) -> None:
        """Copy the classifier into a copy of the network."""
        other.get_submodule(self._name).load_state_dict(self._head.state_dict())

    def _headless(self) -> nn.Module:
        """A copy of the network that returns the classifier's input; a UserError where that is impossible."""
        try:
            copied = copy.deepcopy(self._model)
        except Exception as error:  # a user's own network may hold what can't be copied
            raise UserError(f"warm_start: the network can't be copied ({error}); set warm_start to null") from error
        copied.set_submodule(self._name, nn.Identity())
        return copied

    def _demand_last(
        self, features: Tensor, images: Images, augment: Evaluated, size: int, placement: Placement
    ) -> None:
        """Raise a UserError unless the classifier is all that follows the features."""
        few = np.arange(min(2, len(features)))
        fits = features.dim() == 2 and features.shape[1] == self._head.in_features
        if fits:
            self._model.eval()
            pixels, sizes = images.gather(few)
            inputs = augment.evaluate(
                placement.tensor(pixels), None if sizes is None else torch.from_numpy(sizes), size=size
            )
            with torch.no_grad(), placement.autocast():
                expected = self._model(placement.images(inputs)).float()
            with torch.no_grad():
                apart = (self._head(features[: len(few)]) - expected).abs().max()
            fits = bool(apart <= TOLERANCE * expected.abs().max().clamp(min=1.0))
        if not fits:
            raise UserError(
                f"warm_start: needs a network that ends in its classifier; this one does more than pool features and "
                f"apply {self._name}; set warm_start to null"
            )

    @torch.no_grad()
    def _predictions(self, of_images: Predictions, features: Tensor) -> Predictions:
        return replace(of_images, logits=self._head(features).cpu().numpy())
