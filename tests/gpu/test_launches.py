"""What a batch costs on a GPU: no waits, and so many kernels as the table says, which a change has to edit."""

from typing import Any

import numpy as np
import torch
from null_driver import NullDriver, Question

LAUNCHES = {
    "nothing": 10,
    "random_resized_crop": 41,
    "random_crop": 35,
    "horizontal_flip": 17,
    "alternating_flip": 17,
    "vertical_flip": 17,
    "rotation": 18,
    "color_jitter": 130,
    "rand_augment": 89,
    "trivial_augment_wide": 52,
    "augmix": 141,
    "grayscale": 22,
    "blur": 30,
    "random_erasing": 32,
    "mixup": 27,
    "cutmix": 32,
}
"""Kernels that augmenting a batch of 64 images of 32 px to 48 px launches, with this technique alone."""
COPIES = {
    "nothing": 0,
    "random_resized_crop": 1,
    "random_crop": 1,
    "horizontal_flip": 1,
    "alternating_flip": 1,
    "vertical_flip": 1,
    "rotation": 1,
    "color_jitter": 1,
    "rand_augment": 1,
    "trivial_augment_wide": 1,
    "augmix": 2,
    "grayscale": 2,
    "blur": 2,
    "random_erasing": 3,
    "mixup": 3,
    "cutmix": 3,
}
"""Copies to the device of what was drawn for such a batch."""


def augmented() -> dict[str, list[Any]]:
    """Launches, copies to the device and waits of a batch, by technique, once its tables and weights are there."""
    import null_counts

    from seedwise.augment.config import TECHNIQUES, AugmentConfig
    from seedwise.augment.pipeline import Augmenter

    device, found = torch.device("cuda", 0), {}
    images = torch.zeros(64, 3, 32, 32, dtype=torch.uint8, device=device)
    targets = torch.full((64, 10), 0.1, device=device)
    options: dict[str, Any] = {"seed": 0, "rows": 64, "mean": (0.5,) * 3, "std": (0.5,) * 3, "device": device}
    for name in ("nothing", *TECHNIQUES):
        if name == "custom":
            continue
        augment = Augmenter(AugmentConfig.model_validate({} if name == "nothing" else {name: {}}), **options)
        for _ in range(2):
            null_counts.reset()
            augment.train(images, None, targets, np.arange(64), epoch=0, size=48)
        counts = null_counts.counts()
        found[name] = [counts["kernels"], counts["h2d_pinned"], null_counts.waits()]
    return found


def test_a_batch_waits_for_nothing_and_launches_what_the_table_says(null_driver: NullDriver) -> None:
    (answer,) = null_driver.ask([Question(augmented)])
    found = answer.demand()
    assert {name: waits for name, (_, _, waits) in found.items() if waits} == {}
    assert {name: launches for name, (launches, _, _) in found.items()} == LAUNCHES
    assert {name: copies for name, (_, copies, _) in found.items()} == COPIES
