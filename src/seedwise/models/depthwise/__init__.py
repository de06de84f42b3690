"""Depthwise convolutions that are fast on a CPU. `use_fast_depthwise(model, ...)` swaps them in."""

from seedwise.models.depthwise.choices import Choices
from seedwise.models.depthwise.conv import depthwise_conv2d, use_fast_backward
from seedwise.models.depthwise.fast import available, forward_alone, machine_choices, use_fast_depthwise
from seedwise.models.depthwise.kernels import library_name

__all__ = [
    "Choices",
    "available",
    "depthwise_conv2d",
    "forward_alone",
    "library_name",
    "machine_choices",
    "use_fast_backward",
    "use_fast_depthwise",
]
