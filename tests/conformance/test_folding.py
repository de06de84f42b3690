"""Evaluation with folded BatchNorm: the logits of the network as it is, from fewer layers."""

import pytest
import timm
import torch
from torch import Tensor, nn

from seedwise.kernels.folding import folded
from seedwise.models.small import SmallNet


def lived_in(model: nn.Module) -> nn.Module:
    """Statistics and affine parameters that are not the initial ones and zeros, in evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.2)
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
            if module.affine:
                with torch.no_grad():
                    module.weight.copy_(torch.rand(module.num_features, generator=generator) * 0.2 + 0.2)
                    module.bias.copy_(torch.randn(module.num_features, generator=generator) * 0.2)
    return model.eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


class Shared(nn.Module):
    """A convolution's output goes into a BatchNorm and also around it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        return self.head((self.norm(maps) + maps).mean((2, 3)))


class Twice(nn.Module):
    """One convolution before two BatchNorms, in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 4)
        self.norms = nn.ModuleList([nn.BatchNorm2d(8), nn.BatchNorm2d(8, affine=False)])

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images)
        for norm in self.norms:
            maps = norm(self.conv(maps)).relu()
        return self.head(maps.mean((2, 3)))


class Plain(nn.Module):
    """A BatchNorm without affine parameters after a convolution with bias; and one that no convolution feeds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv, self.norm = nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False)
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(self.first(images))).relu().mean((2, 3)))


MODELS = {
    "lite0": (lambda: timm.create_model("tf_efficientnet_lite0", num_classes=10), 0),
    "v2-s": (lambda: timm.create_model("tf_efficientnetv2_s", num_classes=10), 0),
    "resnet18": (lambda: timm.create_model("resnet18", num_classes=10), 0),
    "small": (lambda: SmallNet(num_classes=10), None),
    "plain": (Plain, 1),
    "shared": (Shared, 1),
    "twice": (Twice, 2),
    "without": (lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=10), 0),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_logits_are_those_of_the_network(name: str) -> None:
    build, left = MODELS[name]
    torch.manual_seed(0)
    model = lived_in(build())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    images = torch.randn(5, 3, 32, 32)
    with torch.inference_mode():
        fast = folded(model, images)
        torch.testing.assert_close(fast(images), model(images), rtol=1e-4, atol=1e-4)
    assert left is None or norms(fast) == left
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_what_cannot_be_copied_or_has_blown_up_is_used_as_it_is() -> None:
    images = torch.randn(2, 3, 32, 32)
    model = lived_in(Plain())
    with torch.inference_mode():
        model.conv.weight[0, 0, 0, 0] = float("nan")  # type: ignore[operator]
        assert folded(model, images) is model
        stuck = lived_in(Plain())
        stuck.generator = (i for i in range(3))  # type: ignore[assignment]
        assert folded(stuck, images) is stuck
