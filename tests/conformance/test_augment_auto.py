"""RandAugment and TrivialAugment: each operation at each magnitude against torchvision's, and how they are drawn."""

import pytest
import torch
import torchvision.transforms.v2 as v2
from augment_samples import SHAPES, draws, one_hot, photos
from torch import Tensor
from torchvision.transforms import InterpolationMode

from seedwise.augment import operations, rand_augment, trivial_augment_wide
from seedwise.augment.config import RandAugmentConfig, TrivialAugmentWideConfig
from seedwise.augment.operations import CODES, NAMES
from seedwise.base.batch import Batch

SPACES = {"RandAugment": rand_augment.SPACE, "TrivialAugmentWide": trivial_augment_wide.SPACE}
SIGNED = NAMES[1:10]
spaces = pytest.mark.parametrize("space", SPACES)
shapes = pytest.mark.parametrize("shape", [*SHAPES, (2, 2), (64, 64)])


class Theirs:
    """One operation of torchvision's class, at a step of its scale."""

    def __init__(self, name: str, interpolation: str = "nearest", bins: int = 31) -> None:
        self._bins = bins
        self._class = getattr(v2, name)(num_magnitude_bins=bins, interpolation=InterpolationMode(interpolation))

    def magnitude(self, operation: str, step: int, negative: bool, shape: tuple[int, ...]) -> float:
        """What torchvision's forward derives from the step and the sign."""
        scale, signed = self._class._AUGMENTATION_SPACE[self._name(operation)]
        steps = scale(self._bins, *shape)
        assert signed == (operation in SIGNED)
        return 0.0 if steps is None else float(steps[step]) * (-1 if signed and negative else 1)

    def __call__(self, images: Tensor, operation: str, step: int, negative: bool) -> Tensor:
        magnitude = self.magnitude(operation, step, negative, images.shape[-2:])
        named, interpolation = self._name(operation), self._class.interpolation
        return self._class._apply_image_or_video_transform(
            images, named, magnitude, interpolation=interpolation, fill=self._class._fill
        )

    def _name(self, operation: str) -> str:
        return "".join(part.capitalize() for part in operation.split("_"))


def ties(operation: str, value: float, shape: tuple[int, int]) -> Tensor:
    """bool[h, w]: whose source lies half-way between two pixels, up to float32's rounding.

    Which of the two is nearest is then for the order of additions to say, which torchvision leaves to a product of
    matrices: it differs from one kind of processor to another.
    """
    h, w = shape
    codes, values = torch.tensor([CODES[operation]]), torch.tensor([value], dtype=torch.float64)
    y, x = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2 for side in shape)
    places = torch.stack((x[None].expand(h, w), y[:, None].expand(h, w), torch.ones(h, w, dtype=torch.float64)), -1)
    source = places @ operations.matrices(codes, values, shape)[0].T + torch.tensor([w - 1, h - 1]) / 2
    return ((source - source.floor() - 0.5).abs() < 1e-5).any(-1)


def special(images: Tensor) -> Tensor:
    """With images that are one color, black and white, and with few colors."""
    images = images.clone()
    images[0], images[1], images[2] = 0, 255, 77
    images[3] = images[3] // 64 * 64
    return images


def ours(images: Tensor, operation: str, step: float, negative: bool, space: str, interpolation: str) -> Tensor:
    n = len(images)
    codes = torch.full((n,), CODES[operation])
    table = operations.magnitudes(SPACES[space], 31, images.shape[-2:])
    magnitude = torch.full((n,), step, dtype=torch.float64)
    value = operations.values(codes, magnitude, torch.full((n,), negative), table)
    return operations.transform(images, codes, value, interpolation)


@pytest.mark.parametrize("thorough", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["some", "all"])
@spaces
@shapes
@pytest.mark.parametrize("operation", NAMES)
def test_each_operation_is_torchvisions(space: str, shape: tuple[int, int], operation: str, thorough: bool) -> None:
    """At every magnitude in both directions: the same pixels with `nearest` (see `ties`), within 1/255 with
    `bilinear`.

    Contrast may be 1/255 off too: torchvision's mean, a sum of float32, isn't exact. The fast suite sees each magnitude
    at one of the shapes, and the ends of the scale at all.
    """
    own = {0, 30, *range([*SHAPES, (2, 2), (64, 64)].index(shape), 31, len(SHAPES) + 2)}
    images = special(photos(8, *shape))
    for interpolation, most in (("nearest", int(operation == "contrast")), ("bilinear", 1)):
        theirs = Theirs(space, interpolation)
        for step in range(31) if thorough else sorted(own):
            for negative in (False, True):
                expected = theirs(images, operation, step, negative)
                got = ours(images, operation, step, negative, space, interpolation)
                assert got.dtype == torch.uint8
                off = (got.int() - expected.int()).abs() > most
                if interpolation == "nearest" and off.any():
                    off &= ~ties(operation, theirs.magnitude(operation, step, negative, shape), shape)
                assert not off.any(), (step, negative)


@pytest.mark.parametrize("magnitude", [0, 9, 30])
@pytest.mark.parametrize("num_ops", [1, 3])
def test_rand_augment_applies_the_drawn_operations_in_order(magnitude: int, num_ops: int) -> None:
    images, random = photos(48, 33, 47), draws(48, rand_augment.COLUMNS)
    config = RandAugmentConfig(num_ops=num_ops, magnitude=magnitude)
    result = rand_augment.apply(Batch(images, one_hot(48)), random, config)[0].images
    theirs = Theirs("RandAugment")
    for i in range(48):
        expected = images[i : i + 1]
        for turn in range(num_ops):
            name = NAMES[int(random[i, 2 * turn].double() * 14)]
            expected = theirs(expected, name, magnitude, bool(random[i, 2 * turn + 1] < 0.5))
        assert torch.equal(result[i], expected[0])


@pytest.mark.parametrize("bins", [2, 31])
def test_trivial_augment_applies_the_drawn_operation(bins: int) -> None:
    images, random = photos(64, 20, 13), draws(64, trivial_augment_wide.COLUMNS)
    config = TrivialAugmentWideConfig(num_magnitude_bins=bins)
    result, measured = trivial_augment_wide.apply(Batch(images, one_hot(64)), random, config)
    theirs = Theirs("TrivialAugmentWide", bins=bins)
    for i, (which, step, sign) in enumerate(random.double().tolist()):
        expected = theirs(images[i : i + 1], NAMES[int(which * 14)], int(step * bins), sign < 0.5)
        assert torch.equal(result.images[i], expected[0])
        assert bool(measured["share"][i]) == (not torch.equal(expected[0], images[i]))


def test_more_operations_leave_the_first_ones_alone() -> None:
    random = draws(100, rand_augment.COLUMNS)
    one = rand_augment.parameters(random, RandAugmentConfig(num_ops=1), (32, 32))
    three = rand_augment.parameters(random, RandAugmentConfig(num_ops=3), (32, 32))
    assert all(torch.equal(few[:, 0], many[:, 0]) for few, many in zip(one, three, strict=True))


def test_operations_and_directions_are_even() -> None:
    n = 140_000
    codes, values = rand_augment.parameters(draws(n, rand_augment.COLUMNS), RandAugmentConfig(), (32, 32))
    assert (codes.flatten().bincount(minlength=14) / (2 * n) - 1 / 14).abs().max() < 0.002
    turned = values[codes == CODES["rotate"]]
    assert turned.abs().unique().tolist() == pytest.approx([9.0])
    assert (turned > 0).double().mean().item() == pytest.approx(0.5, abs=0.02)
    codes, values = trivial_augment_wide.parameters(draws(n, 3), TrivialAugmentWideConfig(), (32, 32))
    degrees, counts = values[codes == CODES["rotate"]].abs().unique(return_counts=True)
    assert degrees.tolist() == pytest.approx([4.5 * step for step in range(31)])
    assert (counts / counts.sum() - 1 / 31).abs().max() < 0.01


def test_between_two_magnitudes_it_is_interpolated() -> None:
    table = operations.magnitudes(rand_augment.SPACE, 31, (64, 64))
    codes = torch.tensor([CODES[name] for name in ("rotate", "brightness", "solarize", "posterize", "translate_x")])
    at = [
        operations.values(codes, torch.full((5,), step, dtype=torch.float64), torch.zeros(5, dtype=torch.bool), table)
        for step in (8.0, 8.25, 9.0)
    ]
    assert at[1][:3].tolist() == pytest.approx((0.75 * at[0] + 0.25 * at[2])[:3].tolist())
    assert at[1][3:].tolist() == [7, int(150 / 331 * 64 * 8.25 / 30)]


def test_magnitude_0_is_the_weakest() -> None:
    """Colors and places stay; auto_contrast and equalize have no magnitude, and solarize still inverts pure white."""
    images = photos(64, 32, 32).clamp(max=200)
    random = draws(64, rand_augment.COLUMNS)
    result = rand_augment.apply(Batch(images, one_hot(64)), random, RandAugmentConfig(num_ops=1, magnitude=0))[0]
    codes = (random[:, 0].double() * 14).long()
    same = (result.images == images).flatten(1).all(dim=1)
    assert torch.equal(same, codes < CODES["auto_contrast"])
    assert set(codes.tolist()) == set(range(14))
