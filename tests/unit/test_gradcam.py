"""Grad-CAM against its equations written out, and what it leaves as it was."""

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedwise.base.errors import UserError
from seedwise.engine.gradcam import gradcam, overlay
from seedwise.models.small import SmallNet


class Plain(nn.Module):
    """Its last module with a map of 5 × 4 pixels is a normalization, and what follows works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6))
        self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(F.relu_(self.features(images)).mean(dim=(2, 3)))  # type: ignore[no-any-return]


def reference(model: Plain, image: Tensor, wanted: int) -> Tensor:
    """Equations 1 and 2 of the paper for one image, with loops."""
    maps = model.features(image[None])[0].detach()

    def score(changed: Tensor) -> Tensor:
        return model.head(changed.relu().mean(dim=(1, 2)))[wanted]  # type: ignore[no-any-return]

    gradient = torch.func.grad(score)(maps)
    heat = torch.zeros(maps.shape[1:])
    for channel in range(len(maps)):
        weight = sum(gradient[channel].flatten().tolist()) / gradient[channel].numel()
        heat += weight * maps[channel]
    heat = F.interpolate(heat.clamp(min=0)[None, None], image.shape[1:], mode="bilinear")[0, 0]
    return heat / heat.max()


def test_it_is_what_the_paper_says() -> None:
    torch.manual_seed(0)
    model, images = Plain().eval(), torch.randn(5, 3, 10, 8)
    wanted = [0, 1, 2, 3, 1]
    found = gradcam(model, images, wanted)
    expected = torch.stack([reference(model, image, each) for image, each in zip(images, wanted)])
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-5)
    assert found.shape == (5, 10, 8) and found.max() == 1 and found.min() >= 0


def test_without_classes_it_is_of_the_predicted_ones() -> None:
    torch.manual_seed(1)
    model, images = SmallNet(num_classes=5).eval(), torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        predicted = model(images).argmax(dim=1)
    np.testing.assert_array_equal(gradcam(model, images), gradcam(model, images, predicted))


def test_the_network_is_left_as_it_was() -> None:
    model, images = Plain().train(), torch.randn(3, 3, 10, 8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.random.get_rng_state()
    gradcam(model, images)
    assert model.training and all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), random)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_frozen_network_has_one_too() -> None:
    model = Plain().requires_grad_(False)
    assert gradcam(model, torch.randn(2, 3, 10, 8)).shape == (2, 10, 8)


def test_a_network_without_a_map_is_refused() -> None:
    with pytest.raises(UserError, match="feature map"):
        gradcam(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.randn(2, 3, 2, 2))


class OneRelu(Plain):
    """One activation at two places: behind the map, and behind a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.between = nn.ReLU(), nn.Linear(6, 6)

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.relu(self.features(images)).mean(dim=(2, 3))
        return self.head(self.relu(self.between(pooled)))  # type: ignore[no-any-return]


class ChannelsLast(Plain):
    """Its last map has its channels last, as in a Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(self.features(images).permute(0, 2, 3, 1)).relu().mean(dim=(1, 2)))  # type: ignore[no-any-return]


class Tokens(Plain):
    """Patches become a row of tokens, and its attention has four dimensions, as in a ViT."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.mixed = nn.Identity(), nn.Linear(6, 6)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.features(images).flatten(2).transpose(1, 2)
        heads = self.heads(tokens.unflatten(2, (2, 3)).transpose(1, 2))
        return self.head(self.mixed(heads.transpose(1, 2).flatten(2)).mean(dim=1))  # type: ignore[no-any-return]


class Unused(Plain):
    """Its map does not lead to its answer."""

    def forward(self, images: Tensor) -> Tensor:
        self.features(images)
        return self.head(images.mean(dim=(2, 3)).repeat(1, 2))  # type: ignore[no-any-return]


def test_an_activation_that_stands_at_two_places_is_taken_where_its_map_is() -> None:
    torch.manual_seed(2)
    model, images = OneRelu().eval(), torch.randn(3, 3, 10, 8)
    maps = model.relu(model.features(images)).detach().requires_grad_()
    scores = model.head(model.relu(model.between(maps.mean(dim=(2, 3)))))[:, 2].sum()
    (gradient,) = torch.autograd.grad(scores, maps)
    heat = (gradient.mean(dim=(2, 3), keepdim=True) * maps.detach()).sum(dim=1, keepdim=True).relu()
    heat = F.interpolate(heat, (10, 8), mode="bilinear")[:, 0]
    expected = heat / heat.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    assert (heat > 0).any()
    np.testing.assert_allclose(gradcam(model, images, [2, 2, 2]), expected.numpy(), atol=1e-5)


def test_channels_may_be_last() -> None:
    torch.manual_seed(0)
    model, images = ChannelsLast().eval(), torch.randn(5, 3, 10, 8)
    wanted = [0, 1, 2, 3, 1]
    expected = torch.stack([reference(model, image, each) for image, each in zip(images, wanted)])
    np.testing.assert_allclose(gradcam(model, images, wanted), expected.detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", [Tokens, Unused])
def test_what_only_looks_like_a_map_is_refused(kind: type[Plain]) -> None:
    with pytest.raises(UserError, match="Grad-CAM needs a feature map"):
        gradcam(kind(), torch.randn(2, 3, 10, 8))


@pytest.mark.parametrize(
    ("architecture", "there"), [("vit_tiny_patch16_224", False), ("convnext_atto", True), ("resnet18", True)]
)
def test_networks_of_timm_have_one_where_they_end_in_a_map(architecture: str, there: bool) -> None:
    model, images = timm.create_model(architecture, num_classes=3), torch.randn(1, 3, 224, 224)
    if there:
        assert gradcam(model, images).shape == (1, 224, 224)
    else:
        with pytest.raises(UserError, match="does not end in one"):
            gradcam(model, images)


def test_an_overlay_is_darkest_where_nothing_was_seen() -> None:
    pixels, heat = np.full((4, 6, 3), 128, np.uint8), np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)
    lightness = overlay(pixels, heat).astype(int).sum(axis=-1).ravel()
    assert overlay(pixels, heat).shape == pixels.shape and (np.diff(lightness) > 0).all()
