"""Operations of RandAugment, TrivialAugment and AugMix: one per image, each with its own strength.

The arithmetic is torchvision's for uint8 images. Images with the same operation are changed together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seedwise.augment.affine import rotations, warp
from seedwise.augment.color_jitter import adjust_brightness, adjust_contrast, adjust_saturation
from seedwise.augment.groups import Change, change
from seedwise.augment.measure import Measured
from seedwise.base.devices import to_device

Operation = Callable[[Tensor, Tensor], Tensor]
"""Maps images uint8[n, 3, h, w], and one value float64[n] for each, to changed images."""

NAMES = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "auto_contrast",
    "equalize",
)
"""The operations in torchvision's order; an operation's code is its index."""
CODES = {name: code for code, name in enumerate(NAMES)}
GEOMETRIC = NAMES[CODES["shear_x"] : CODES["rotate"] + 1]
COLOR = NAMES[CODES["brightness"] : CODES["sharpness"] + 1]


@dataclass(frozen=True)
class Space:
    """Strength of each operation at the largest magnitude."""

    shear: float
    """Horizontal pixels per vertical pixel, and the other way round."""
    translate: tuple[float, float]
    """A share of the image's side, and pixels added to it."""
    degrees: float
    """Angle of a rotation."""
    factor: float
    """Distance of the factor from 1, for brightness, color, contrast and sharpness."""
    bits: float
    """Bits that posterize takes away at the largest magnitude."""
    most_bits: int = 8
    """Bits that posterize keeps at the smallest magnitude."""


def magnitudes(space: Space, bins: int, shape: tuple[int, ...]) -> Tensor:
    """float64[14, bins]: the strength of each operation at each step of the scale, on images of `shape` = (h, w).

    The steps are torchvision's, float32 and all: whole pixels are cut off from them.
    """
    h, w = shape
    share, pixels = space.translate
    ends = {"shear_x": space.shear, "shear_y": space.shear, "rotate": space.degrees}
    ends |= {"translate_x": share * w + pixels, "translate_y": share * h + pixels}
    ends |= dict.fromkeys(COLOR, space.factor)
    table = torch.zeros(len(NAMES), bins, dtype=torch.float64)
    for name, end in ends.items():
        table[CODES[name]] = torch.linspace(0.0, end, bins)
    table[CODES["posterize"]] = space.most_bits - torch.arange(bins) / ((bins - 1) / space.bits)
    table[CODES["solarize"]] = 255 * torch.linspace(1.0, 0.0, bins).double()
    return table


def values(codes: Tensor, magnitude: Tensor, negative: Tensor, table: Tensor) -> Tensor:
    """Strength float64[n] of the operations int64[n] `codes` at float64[n] `magnitude`, on the scale of `table`.

    `table`: float64[14, bins] from `magnitudes`, interpolated between two steps. bool[n] `negative` reverses what has a
    direction.
    """
    step = magnitude.floor().long()
    low, high = table[codes, step], table[codes, magnitude.ceil().long()]
    value = low + (high - low) * (magnitude - step)
    signed = _between(codes, GEOMETRIC) | _between(codes, COLOR)
    value = torch.where(negative & signed, -value, value)
    moves = (codes == CODES["translate_x"]) | (codes == CODES["translate_y"])
    value = torch.where(moves, value.trunc(), value)
    value = torch.where(codes == CODES["posterize"], value.round(), value)
    return torch.where(_between(codes, COLOR), 1 + value, value)


def shares(codes: Tensor, names: Sequence[str] = NAMES) -> Measured:
    """How often each of the operations `names` was drawn, from int64[n, ...] `codes`."""
    return {f"share_{name}": codes == CODES[name] for name in names}


def transform(images: Tensor, codes: Tensor, values: Tensor, interpolation: str) -> Tensor:
    """Apply one operation to each image of uint8[n, c, h, w]: int64[n] `codes`, float64[n] `values`, both on the CPU.

    Values are the operation's argument: the shear, whole pixels, degrees, a factor, bits or a threshold.
    """

    def warped(them: Tensor, places: Tensor) -> Tensor:
        return warp(them, matrices(codes[places], values[places], them.shape[-2:]), interpolation)

    def by(operation: Operation) -> Change:
        return lambda them, places: operation(them, values[places])

    # The geometric operations are one, with a matrix per image.
    kinds = torch.where(_between(codes, GEOMETRIC), CODES[GEOMETRIC[0]], codes)
    changes = [by(POINTWISE[name]) if name in POINTWISE else warped if name in GEOMETRIC else None for name in NAMES]
    return change(images, kinds, changes)


def matrices(codes: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """float64[n, 2, 3]: output-to-input matrices of geometric operations on images of `shape` = (h, w).

    int64[n] `codes`, float64[n] `values`. Shears keep the top left corner in place, as torchvision's do, and rotations
    the center.
    """
    maps = rotations(torch.where(codes == CODES["rotate"], values, 0.0))
    for axis, letter in enumerate("xy"):
        shear = torch.where(codes == CODES[f"shear_{letter}"], values, 0.0)
        maps[:, axis, 1 - axis] += shear
        maps[:, axis, 2] += shear * shape[axis] / 2
        maps[:, axis, 2] -= torch.where(codes == CODES[f"translate_{letter}"], values, 0.0)
    return maps


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend uint8[n, c, h, w] with its 3 x 3 smoothing by float64[n] `factor` (1 keeps the image); the border stays."""
    if min(images.shape[-2:]) <= 2:
        return images
    pixels = images.float()
    inner = pixels[..., 1:-1, 1:-1]
    # The filter is (sum of the 9 pixels + 4 * the middle) / 13: sums of whole numbers are exact.
    rows = pixels[..., :-2, :] + pixels[..., 1:-1, :] + pixels[..., 2:, :]
    smooth = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth = smooth.add_(4 * inner).mul_(1 / 13).round_()
    inner += smooth.sub_(inner).mul_(_spread(1 - factor, images))
    return pixels.clamp_(0, 255).to(torch.uint8)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the upper `bits` (float64[n], in [0, 8]) of each value of uint8[n, c, h, w]."""
    return images & _spread(256 - 2 ** (8 - bits), images).to(torch.uint8)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert values of uint8[n, c, h, w] that are at least `threshold`, float64[n] in [0, 255]."""
    # In uint8, 255 - x is x ^ 255, and -1 is 255.
    above = images >= _spread(threshold, images).ceil_().to(torch.uint8)
    return images ^ above.to(torch.uint8).neg_()


def auto_contrast(images: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel of uint8[n, c, h, w] to the range [0, 255]."""
    pixels = images.float()
    smallest, largest = pixels.amin(dim=(-2, -1), keepdim=True), pixels.amax(dim=(-2, -1), keepdim=True)
    flat = smallest == largest
    unit = torch.where(flat, 1.0, (largest - smallest) * (1 / 255))
    return ((pixels - torch.where(flat, 0.0, smallest)) / unit).clamp_(0, 255).to(torch.uint8)


def equalize(images: Tensor, _: Tensor) -> Tensor:
    """Equalize each channel's histogram in uint8[n, c, h, w] as Pillow does: whole steps, none for too few pixels."""
    n, c, h, w = images.shape
    values = images.reshape(n * c, h * w).long()
    places = (values + 256 * torch.arange(n * c, device=images.device)[:, None]).flatten()
    histogram = values.new_zeros(256 * n * c)  # bincount would ask the device for the largest place, and wait for it
    histogram = histogram.index_add_(0, places, values.new_ones(()).expand_as(places)).view(n * c, 256)
    upto = histogram.cumsum(dim=1)
    last = upto.argmax(dim=1, keepdim=True)
    step = (h * w - histogram.gather(1, last)) // 255
    table = ((upto - histogram + step // 2) // step.clamp(min=1)).clamp_(0, 255)
    even = table.to(torch.uint8).flatten()[places].view(n, c, h, w)
    return torch.where(step.view(n, c, 1, 1) > 0, even, images)


def _between(codes: Tensor, names: tuple[str, ...]) -> Tensor:
    """bool[n]: whether int64[n] `codes` are among these consecutive operations."""
    return (codes >= CODES[names[0]]) & (codes <= CODES[names[-1]])


def _spread(value: Tensor, images: Tensor) -> Tensor:
    """Move float64[n] from the CPU to float32[n, 1, 1, 1] on the images' device."""
    return to_device(value.float(), images.device)[:, None, None, None]


POINTWISE: dict[str, Operation] = {
    "brightness": adjust_brightness,
    "color": adjust_saturation,
    "contrast": adjust_contrast,
    "sharpness": sharpness,
    "posterize": posterize,
    "solarize": solarize,
    "auto_contrast": auto_contrast,
    "equalize": equalize,
}
