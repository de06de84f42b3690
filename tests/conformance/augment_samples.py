"""Images that look real enough to compare pixels on, and the measure of agreement."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode

from seedwise.augment.config import TECHNIQUES, AugmentConfig
from seedwise.augment.pipeline import Augmenter

SHAPES = [(32, 32), (33, 47), (20, 13)]
FILTERS = {
    "nearest": InterpolationMode.NEAREST_EXACT,  # Pillow's; torchvision's NEAREST is OpenCV's on tensors
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}


@dataclass(frozen=True)
class Row:
    """A technique's settings for the tests that every technique goes through."""

    on: dict[str, object]
    """Switched on, so that it must act."""
    neutral: dict[str, object] | None
    """On without being able to act; None for what can't be."""
    agrees: str
    """Where it is held against torchvision, or a slow reference written from the paper."""


ROWS = {
    "random_resized_crop": Row({}, None, "test_augment.test_boxes_are_torchvisions_resized_crop"),  # it is the frame
    "random_crop": Row({}, {"padding": 0}, "test_augment.test_random_crop_is_pad_and_crop"),
    "horizontal_flip": Row({}, {"prob": 0.0}, "test_augment.test_flips_are_torchvisions"),
    "alternating_flip": Row({}, None, "test_augment_alternating.test_it_is_a_coin_and_then_turns"),
    "vertical_flip": Row({}, {"prob": 0.0}, "test_augment.test_flips_are_torchvisions"),
    "rotation": Row({"interpolation": "bilinear"}, {"degrees": 0.0}, "test_augment.test_rotation_is_torchvisions"),
    "color_jitter": Row(
        {},
        {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0},
        "test_augment.test_color_jitter_is_torchvisions_in_the_drawn_order",
    ),
    "rand_augment": Row(
        {"magnitude": 12.5},
        None,  # two of its operations have no magnitude
        "test_augment_auto.test_rand_augment_applies_the_drawn_operations_in_order",
    ),
    "trivial_augment_wide": Row(
        {"interpolation": "bilinear"}, None, "test_augment_auto.test_trivial_augment_applies_the_drawn_operation"
    ),
    "augmix": Row({"severity": 5, "mixture_width": 2}, None, "test_augment_augmix.test_it_is_torchvisions"),
    "grayscale": Row({"prob": 0.3}, {"prob": 0.0}, "test_augment_cover.test_grayscale_is_torchvisions"),
    "blur": Row({"kernel_size": 5}, {"prob": 0.0}, "test_augment_cover.test_blur_is_torchvisions"),
    "custom": Row(
        {"function": "augment_samples:darken"},
        {"function": "augment_samples:nothing"},
        "test_augment_pipeline.test_parameters_come_from_the_named_stream",
    ),
    "random_erasing": Row({"value": "random"}, {"prob": 0.0}, "test_augment_cover.test_erasing_is_torchvisions"),
    "mixup": Row({"alpha": 0.4}, {"prob": 0.0}, "test_augment_mix.test_mixup_is_the_papers"),
    "cutmix": Row({"alpha": 0.7}, {"prob": 0.0}, "test_augment.test_cutmix_is_the_papers"),
}
"""One for each technique, in their order."""
ON = {name: row.on for name, row in ROWS.items()}
TOGETHER = {name: on for name, on in ON.items() if TECHNIQUES[name].replaces is None}
"""All that act beside each other."""
NEUTRAL = {name: row.neutral for name, row in ROWS.items() if row.neutral is not None}


def photos(n: int, h: int, w: int, seed: int = 0) -> Tensor:
    """uint8[n, 3, h, w]: smooth color gradients and waves with noise, some of it saturated."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:h, 0:w] / max(h, w)
    wave = random.uniform(-9, 9, (n, 3, 2, 1, 1))
    phase = random.uniform(0, 6, (n, 3, 1, 1))
    smooth = 128 + 110 * np.sin(wave[:, :, 0] * y + wave[:, :, 1] * x + phase)
    noisy = smooth + random.normal(0, 12, (n, 3, h, w))
    return torch.from_numpy(noisy.round().clip(0, 255).astype(np.uint8))


def darken(images: Tensor, draws: Tensor) -> Tensor:
    """A user's own technique: half of the images lose up to 9/10 of their light."""
    factor = torch.where(draws[:, :1] < 0.5, 0.1 + 0.8 * draws[:, 1:2], torch.ones(()))
    return (images * factor[:, :, None, None]).to(torch.uint8)


def nothing(images: Tensor, draws: Tensor) -> Tensor:
    """A user's own technique that does nothing."""
    return images


def draws(n: int, columns: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((n, columns), dtype=np.float32))


def assert_agree(ours: Tensor, theirs: Tensor) -> None:
    """Within 1/255 on 99.9% of the values."""
    assert ours.dtype == theirs.dtype == torch.uint8
    assert ours.shape == theirs.shape
    far = (ours.int() - theirs.int()).abs() > 1
    assert far.float().mean().item() <= 0.001


def one_hot(n: int, classes: int = 10) -> Tensor:
    return torch.eye(classes)[torch.arange(n) % classes]


def augmenter(rows: int = 64, seed: int = 0, epochs: int | None = None, **techniques: object) -> Augmenter:
    """An augmenter whose output is pixels / 255."""
    config = AugmentConfig.model_validate(techniques)
    cpu = torch.device("cpu")
    return Augmenter(config, seed=seed, rows=rows, mean=[0.0] * 3, std=[1.0] * 3, device=cpu, epochs=epochs)


def pixels(normalized: Tensor) -> Tensor:
    """Back to uint8 from the output of `augmenter`, whose mean is 0 and standard deviation 1."""
    return (normalized * 255).round().to(torch.uint8)
