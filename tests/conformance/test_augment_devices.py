"""What a GPU computes, computed on the CPU: the same pixels as its native kernels."""

import numpy as np
import pytest
import torch
from augment_samples import ON, ROWS, SHAPES, TOGETHER, draws, one_hot, photos

from seedwise.augment import color_jitter, resize, sorted_operations
from seedwise.augment.augmix import SPACE as AUGMIX
from seedwise.augment.config import AugmentConfig, ColorJitterConfig
from seedwise.augment.operations import CODES, NAMES, magnitudes, values
from seedwise.augment.pipeline import Augmenter
from seedwise.augment.rand_augment import SPACE
from seedwise.augment.sorted_jitter import jitter_sorted
from seedwise.augment.sorted_operations import transform_in_turn, transform_sorted
from seedwise.augment.trivial_augment_wide import SPACE as WIDE
from seedwise.base.batch import Batch
from seedwise.kernels.ops import pixels

N, SIDE = 48, 32


def special(n: int, h: int, w: int) -> torch.Tensor:
    """Photos, and images of one color, of few, and of many pixels of the largest value: too few others to equalize."""
    images = photos(n, h, w)
    images[1::8] = images[1::8, :, :1, :1]
    images[2::8] = images[2::8] // 64 * 64
    images[3::8, :, 1:] = 200
    images[4::8] = 100 + images[4::8] // 64
    return images


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("shape", [*SHAPES, (2, 5), (72, 64)])
@pytest.mark.parametrize("space", [SPACE, WIDE, AUGMIX], ids=["RandAugment", "TrivialAugmentWide", "AugMix"])
@pytest.mark.parametrize("n", [1, 5, 200])
def test_sorted_operations_have_the_bits_of_one_after_the_other(
    interpolation: str, shape: tuple[int, int], space: object, n: int
) -> None:
    random, images = np.random.default_rng(n), special(n, *shape)
    codes = torch.from_numpy(random.integers(0, len(NAMES), (n, 3)))
    steps = torch.from_numpy(random.uniform(0, 9, (n, 3)).round(1))
    table = magnitudes(space, 10, shape)  # type: ignore[arg-type]
    value = values(codes, steps, torch.from_numpy(random.random((n, 3)) < 0.5), table)
    native = transform_in_turn(images, codes, value, interpolation)
    assert n == 1 or not torch.equal(native, images)
    for layout in (torch.contiguous_format, torch.channels_last):
        ours = transform_sorted(images.contiguous(memory_format=layout), codes, value, interpolation)
        assert torch.equal(ours, native)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_may_have_one_operation_alone(name: str) -> None:
    images, codes = special(24, 20, 28), torch.full((24, 1), CODES[name])
    value = values(codes, torch.arange(24.0).double()[:, None], codes < 0, magnitudes(SPACE, 31, (20, 28)))
    assert torch.equal(
        transform_sorted(images, codes, value, "nearest"), transform_in_turn(images, codes, value, "nearest")
    )


@pytest.mark.parametrize("on", [(True,) * 4, (False, True, True, False), (True, False, False, True)])
@pytest.mark.parametrize("n", [1, 5, 96])
def test_sorted_jitter_has_the_bits_of_one_after_the_other(on: tuple[bool, ...], n: int) -> None:
    config = ColorJitterConfig(**{name: 0.4 * switch for name, switch in zip(color_jitter.OPERATIONS, on, strict=True)})
    images = special(n, 20, 28)
    factors, order = color_jitter.parameters(draws(n, color_jitter.COLUMNS), config)
    native = color_jitter.jitter(images, factors, order, config)
    assert torch.equal(jitter_sorted(images, factors, order, torch.tensor(on)), native)


@pytest.mark.parametrize("name", [*(name for name in ROWS if name != "random_resized_crop"), "together"])
def test_batches_of_a_gpu_have_the_bits_of_native_kernels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a change of size: torch's own kernels for bytes, which a GPU lacks, have weights of fewer bits."""
    on = {key: value for key, value in TOGETHER.items() if key != "random_resized_crop"}
    config = AugmentConfig.model_validate(on if name == "together" else {name: ON[name]})
    images = special(N, SIDE, SIDE)

    def batch() -> tuple[Batch, dict[str, dict[str, float]]]:
        augment = Augmenter(config, seed=3, rows=N, mean=(0.4,) * 3, std=(0.2,) * 3, device=torch.device("cpu"))
        return augment.train(images, None, one_hot(N), np.arange(N), epoch=1, size=SIDE), augment.effects()

    native, effects = batch()
    for module in (pixels, resize, sorted_operations, color_jitter):
        monkeypatch.setattr(module, "launches_cost", lambda device: True)
    forced, forced_effects = batch()
    assert torch.equal(forced.images, native.images)
    assert torch.equal(forced.targets, native.targets)
    assert forced_effects == effects
