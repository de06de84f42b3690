"""A small residual network for 32 px images, trained from scratch: 1.6 M parameters, 57 M multiply-adds at 32 px.

A full-resolution stem, then three stages of two basic blocks that halve the image and double the channels, so that most
of the work happens at 16 px and below and two CPU cores train it. Any input of 16 px or more works.
"""

from typing import Any

from timm.layers.drop import DropPath
from torch import Tensor, nn

ARCHITECTURE = "seedwise:small"
"""Its name in config.json, where timm's models have timm's."""

_WIDTHS = (48, 96, 192)
_BLOCKS_PER_STAGE = 2


class Block(nn.Module):
    """Residual block of two 3×3 convolutions and a shortcut; the first convolution may halve the image."""

    def __init__(self, in_channels: int, channels: int, stride: int, drop_path: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.act = nn.ReLU(inplace=True)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            # Averaging before the 1×1 convolution keeps the pixels that a strided one would throw away.
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True),
                nn.Conv2d(in_channels, channels, 1, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """float[n, in_channels, h, w] -> float[n, channels, ceil(h/stride), ceil(w/stride)]."""
        residual = self.act(self.bn1(self.conv1(x)))
        residual = self.drop_path(self.bn2(self.conv2(residual)))
        out: Tensor = self.act(self.shortcut(x) + residual)
        return out


class SmallNet(nn.Module):
    """Small residual network; describes its input and head as timm's models do (`pretrained_cfg`)."""

    def __init__(self, num_classes: int, drop_rate: float = 0.0, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_features = _WIDTHS[-1]
        self.pretrained_cfg: dict[str, Any] = {
            "input_size": (3, 32, 32),
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "first_conv": "stem.0",
            "classifier": "classifier",
        }
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True))
        blocks: list[Block] = []
        in_channels, count = 32, len(_WIDTHS) * _BLOCKS_PER_STAGE
        for channels in _WIDTHS:
            for position in range(_BLOCKS_PER_STAGE):
                stride = 2 if position == 0 else 1
                blocks.append(Block(in_channels, channels, stride, drop_path_rate * len(blocks) / count))
                in_channels = channels
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(drop_rate)
        self.classifier = nn.Linear(self.num_features, num_classes)
        self._init_weights()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Block):
                # Each block starts as its shortcut, which lets a deep net start with a high rate (arXiv 1706.02677).
                nn.init.zeros_(module.bn2.weight)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Patterns of parameter names for the stem and each block (`coarse`: each stage), as in timm's models."""
        if not coarse:
            return {"stem": r"^stem\.", "blocks": r"^blocks\.(\d+)\."}
        starts = range(0, len(self.blocks), _BLOCKS_PER_STAGE)
        stages = ["|".join(str(start + i) for i in range(_BLOCKS_PER_STAGE)) for start in starts]
        return {"stem": r"^stem\."} | {f"stage{i}": rf"^blocks\.(?:{numbers})\." for i, numbers in enumerate(stages)}

    def get_classifier(self) -> nn.Linear:
        """The last layer, by timm's method name."""
        return self.classifier

    def forward(self, images: Tensor) -> Tensor:
        """float[n, 3, h, w] -> logits float[n, num_classes]."""
        features = self.pool(self.blocks(self.stem(images))).flatten(1)
        logits: Tensor = self.classifier(self.dropout(features))
        return logits
