"""Options of test-time augmentation: which views of an image are averaged."""

from typing import Literal, NamedTuple

from pydantic import Field

from seedwise.config.section import Section

Corner = Literal["whole", "top_left", "top_right", "bottom_left", "bottom_right", "center"]
CORNERS: tuple[Corner, ...] = ("top_left", "top_right", "bottom_left", "bottom_right", "center")
"""In the order of torchvision's FiveCrop."""

MARGIN = 256 / 224
"""Ratio of the resized image's side to that of its crops (AlexNet's 256 and 224)."""


class View(NamedTuple):
    """One view of an image: a crop, mirrored or not."""

    corner: Corner
    """Which crop of the larger image; `whole`: none."""
    flip: bool
    """Whether the image is mirrored left to right, before the crop."""


SHORTHANDS = ("flip", "five", "ten")
"""Values of `--tta`: mirrored views, torchvision's five crops, its ten crops."""


class TtaConfig(Section):
    """Test-time augmentation: the class probabilities of several views of each image, averaged.

    Its scores stand beside the plain ones, which it leaves as they are bit for bit; the kept weights' test images are
    read once more for it. The softmax is taken of each view, and the probabilities are averaged with equal weight.
    Helps: mirrored views where flips were trained with; a larger image_size, as nets trained on random crops see
    objects larger than in evaluation (arXiv 1906.06423). Hurts: where direction means something
    (digits, text); crops of small images cut objects off. Scoring takes as many times as long as there are views.
    Source: AlexNet (Krizhevsky et al. 2012, section 4.1: ten crops); torchvision's FiveCrop and TenCrop.
    """

    flip: bool = True
    """Each view and its mirror image."""
    crops: Literal[1, 5, 10] = 1
    """1: the whole image. 5: it is resized to 8/7 of the size, and the four corners and the center are cut out of it.
    10: those and their mirror images, whatever `flip` says."""
    image_size: int | None = Field(None, ge=8, le=2048)
    """Height and width in pixels of the views; null: train.image_size."""

    @property
    def views(self) -> tuple[View, ...]:
        """The views, all of equal weight."""
        corners: tuple[Corner, ...] = ("whole",) if self.crops == 1 else CORNERS
        mirrors = (False, True) if self.flip or self.crops == 10 else (False,)
        return tuple(View(corner, flip) for flip in mirrors for corner in corners)

    def size(self, trained: int) -> int:
        """Side in pixels of each view, for a run trained at `trained` pixels."""
        return self.image_size or trained

    def resized_to(self, trained: int) -> int:
        """Side in pixels to which an image is resized before the crop."""
        size = self.size(trained)
        return size if self.crops == 1 else round(size * MARGIN)

    @classmethod
    def named(cls, name: str) -> "TtaConfig":
        """The options that a shorthand stands for."""
        return {"flip": cls(), "five": cls(flip=False, crops=5), "ten": cls(crops=10)}[name]
