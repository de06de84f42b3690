"""AugMix against torchvision's own forward with the same draws, and its shares against scipy's distributions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2 as v2
from augment_samples import draws, one_hot, photos
from scipy import stats
from torch import Tensor
from torchvision.transforms import InterpolationMode

from seedwise.augment import augmix
from seedwise.augment.config import AugMixConfig
from seedwise.augment.operations import CODES, NAMES, magnitudes
from seedwise.base.batch import Batch

NEAREST = "nearest"


def theirs(image: Tensor, random: Tensor, config: AugMixConfig, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """torchvision's AugMix of uint8[3, h, w], made to draw what float32[25] `random` says."""
    depth = -1 if config.chain_depth == "random" else config.chain_depth
    transform = v2.AugMix(
        severity=config.severity,
        mixture_width=config.mixture_width,
        chain_depth=depth,
        alpha=config.alpha,
        all_ops=config.all_ops,
        interpolation=InterpolationMode(config.interpolation),
    )
    names = augmix.operations(config)
    assert {name.replace("_", "") for name in names} == {
        name.lower()
        for name in (v2.AugMix._AUGMENTATION_SPACE if config.all_ops else v2.AugMix._PARTIAL_AUGMENTATION_SPACE)
    }
    chains = augmix.weights(random[None], config)[0]
    total = chains.sum()
    dirichlet = [torch.stack((1 - total, total))[None], (chains / total)[None]]
    integers: list[int] = []
    picked: list[str] = []
    directions: list[float] = []
    for k in range(config.mixture_width):
        own = random[1 + 6 * k : 7 + 6 * k].double().tolist()
        length = depth
        if depth == -1:
            length = 1 + int(3 * own[1])
            integers.append(length)
        for number in own[2 : 2 + length]:
            which = number * len(names)
            step = which % 1 * config.severity
            picked.append("".join(part.capitalize() for part in names[int(which)].split("_")))
            scale, signed = v2.AugMix._AUGMENTATION_SPACE[picked[-1]]
            if scale(10, 8, 8) is not None:
                integers.append(int(step))
                directions += [step % 1] if signed else []
    monkeypatch.setattr(transform, "_sample_dirichlet", lambda params: dirichlet.pop(0))
    monkeypatch.setattr(transform, "_get_random_item", lambda space: (picked[0], space[picked.pop(0)]))
    with monkeypatch.context() as patched:
        patched.setattr(torch, "randint", lambda *a, **k: torch.tensor(integers.pop(0)))
        patched.setattr(torch, "rand", lambda *a: torch.tensor(directions.pop(0)))
        result: Tensor = transform(image)
    assert not (dirichlet or integers or picked or directions)  # all was drawn
    return result


@pytest.mark.parametrize("shape", [(32, 32), (33, 47)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"severity": 10, "mixture_width": 4, "chain_depth": 4},
        {"severity": 1, "mixture_width": 1, "chain_depth": 1, "alpha": 0.5},
        {"severity": 7, "mixture_width": 2, "all_ops": False},
    ],
    ids=str,
)
def test_it_is_torchvisions(shape: tuple[int, int], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pixels, but that torchvision cuts off what is rounded here: ours are the same or 1 more.

    One in a thousand may differ otherwise: after equalize contrast's mean, which isn't exact there, may show, and which
    of two pixels is nearest to a place half-way between them is for the processor to say (test_augment_auto.py).
    """
    config = AugMixConfig(**options, interpolation="nearest")
    images, random = photos(48, *shape), draws(48, augmix.COLUMNS)
    result = augmix.apply(Batch(images, one_hot(48)), random, config)[0].images
    expected = torch.stack([theirs(*pair, config, monkeypatch) for pair in zip(images, random, strict=True)])
    more = result.int() - expected.int()
    assert ((more < 0) | (more > 1)).double().mean() < 0.001
    assert 0.05 < (more == 1).double().mean() < 0.7


def test_bilinear_is_torchvisions_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of one operation: longer ones may turn a difference of 1 into a large one (equalize, solarize)."""
    config = AugMixConfig(severity=6, chain_depth=1)
    images, random = photos(48, 32, 32), draws(48, augmix.COLUMNS)
    result = augmix.apply(Batch(images, one_hot(48)), random, config)[0].images
    expected = torch.stack([theirs(*pair, config, monkeypatch) for pair in zip(images, random, strict=True)])
    assert (result.int() - expected.int()).abs().max() <= 2


@pytest.mark.parametrize("name", [name for name in NAMES if name != "identity"])
def test_the_scale_is_torchvisions(name: str) -> None:
    """Of each operation on images of any size up to 400 px; whole pixels and bits are cut off from it."""
    scale, _ = v2.AugMix._AUGMENTATION_SPACE["".join(part.capitalize() for part in name.split("_"))]
    for side in range(1, 400, 3):
        steps = scale(10, side, side + 1)
        ours = magnitudes(augmix.SPACE, 10, (side, side + 1))[CODES[name]]
        if steps is None:
            assert not ours.any()
        elif name == "posterize":
            assert torch.equal(ours.round().long(), steps.long())
        else:
            assert torch.equal(ours.float(), 255 * steps if name == "solarize" else steps)
            assert name[:9] != "translate" or torch.equal(ours.trunc(), steps.double().trunc())


def distance(sample: np.ndarray, cdf: Callable[[np.ndarray], np.ndarray]) -> float:
    """Kolmogorov and Smirnov's, but for the outermost 0.3%: shares are multiples of 2 ** -15, and many are nearly 0."""
    places = np.linspace(0.003, 0.997, 500)
    return float(np.abs((sample[:, None] <= places).mean(axis=0) - cdf(places)).max())


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_shares_have_their_distributions(alpha: float, width: int) -> None:
    """m ~ Beta(alpha, alpha), and independent of it w ~ Dirichlet(alpha, ..., alpha), against scipy's own samples."""
    n = 20_000
    config = AugMixConfig(alpha=alpha, mixture_width=width)
    weights = augmix.weights(draws(n, augmix.COLUMNS, seed=3), config)
    chains = weights.sum(dim=1).numpy()
    assert weights.shape == (n, width) and (weights >= 0).all() and (chains <= 1).all()
    assert torch.equal(weights * 2**15, (weights * 2**15).round())
    assert distance(1 - chains, stats.beta(alpha, alpha).cdf) < 0.02
    if width == 1:
        return
    known = chains > 0.01
    parts = weights.numpy()[known] / chains[known, None]
    sample = stats.dirichlet([alpha] * width).rvs(n, random_state=np.random.default_rng(4))
    for k in range(width):
        assert distance(parts[:, k], stats.beta(alpha, (width - 1) * alpha).cdf) < 0.02
    largest = sample.max(axis=1)
    assert distance(parts.max(axis=1), lambda places: (largest[:, None] <= places).mean(axis=0)) < 0.02
    assert np.abs(np.cov(parts.T) - np.cov(sample.T)).max() < 0.005
    assert np.abs(np.corrcoef(chains[known], parts[:, 0])[0, 1]) < 0.03


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 1e4])
def test_extreme_shares_are_shares(alpha: float) -> None:
    weights = augmix.weights(draws(2000, augmix.COLUMNS), AugMixConfig(alpha=alpha, mixture_width=4))
    assert (weights >= 0).all() and (weights.sum(dim=1) <= 1).all()
    edges = torch.tensor([0.0, 1 - 2**-24]).repeat(augmix.COLUMNS, 1).T.contiguous()
    ends = augmix.weights(edges, AugMixConfig(alpha=alpha))
    assert (ends >= 0).all() and (ends.sum(dim=1) <= 1).all()


def test_operations_lengths_steps_and_directions_are_even() -> None:
    n = 60_000
    codes, value = augmix.chain(draws(n, 6), AugMixConfig(), (32, 32))
    lengths = (codes != CODES["identity"]).sum(dim=1).bincount(minlength=5) / n
    assert lengths.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 0], abs=0.01)
    assert ((codes == CODES["identity"]).long().diff(dim=1) >= 0).all()  # nothing comes after the end
    first = codes[:, 0].bincount(minlength=14)[1:] / n
    assert (first - 1 / 13).abs().max() < 0.005
    turned = value[codes == CODES["rotate"]]
    degrees, counts = turned.unique(return_counts=True)
    assert degrees.tolist() == pytest.approx([-20 / 3, -10 / 3, 0, 10 / 3, 20 / 3])
    assert (counts / counts.sum() - torch.tensor([1, 1, 2, 1, 1]) / 6).abs().max() < 0.02


def test_an_image_is_kept_to_the_last_pixel_where_chains_change_nothing() -> None:
    """Shares sum to 1 exactly: one color, moved by nothing, stays; torchvision may lose 1."""
    images = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(256, 3, 4, 4).contiguous()
    random = draws(256, augmix.COLUMNS)
    for number in range(4):
        random[:, 1 + 6 * number + 2 :][:, :4] = 5.5 / 13  # rotate, by the first step, none
    result, measured = augmix.apply(Batch(images, one_hot(256)), random, AugMixConfig(severity=1, all_ops=True))
    assert torch.equal(result.images, images) and not measured["share"].any()
