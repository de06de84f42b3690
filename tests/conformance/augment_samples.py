"""Images that look real enough to compare pixels on, and the measure of agreement."""

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode

from seedwise.augment.config import AugmentConfig
from seedwise.augment.pipeline import Augmenter

SHAPES = [(32, 32), (33, 47), (20, 13)]
FILTERS = {
    "nearest": InterpolationMode.NEAREST_EXACT,  # Pillow's; torchvision's NEAREST is OpenCV's on tensors
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}
ON = {
    "random_resized_crop": {},
    "random_crop": {},
    "horizontal_flip": {},
    "vertical_flip": {},
    "rotation": {"interpolation": "bilinear"},
    "color_jitter": {},
    "rand_augment": {"magnitude": 12.5},
    "trivial_augment_wide": {"interpolation": "bilinear"},
    "grayscale": {"prob": 0.3},
    "blur": {"kernel_size": 5},
    "custom": {"function": "augment_samples:darken"},
    "random_erasing": {"value": "random"},
    "mixup": {"alpha": 0.4},
    "cutmix": {"alpha": 0.7},
}


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
