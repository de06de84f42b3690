"""A batch of images and their targets, as data, augmentation and the model hand it on."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """A batch of images with soft targets.

    `images`: uint8[n, c, h, w] until they are normalised, float32[n, c, h, w] afterwards.
    `targets`: float32[n, k], each row a probability over the k classes (one-hot until something mixes them).
    `sizes`: int64[n, 2], the (height, width) of the part of each image that holds pixels when photos of several shapes
    share one canvas (they lie at its top left); None when every image fills it.
    """

    images: Tensor
    targets: Tensor
    sizes: Tensor | None = None
