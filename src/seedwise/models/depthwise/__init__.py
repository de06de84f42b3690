"""Depthwise convolutions whose backward is fast on a CPU. `use_fast_backward(model)` swaps them in."""

from seedwise.models.depthwise.conv import depthwise_conv2d, use_fast_backward

__all__ = ["depthwise_conv2d", "use_fast_backward"]
