"""Depthwise convolutions that are fast on a CPU. `use_fast_depthwise(model, ...)` swaps them in."""

from seedwise.models.choices import Choices
from seedwise.models.depthwise.conv import depthwise_conv2d, use_fast_backward
from seedwise.models.depthwise.fast import (
    available,
    forward_alone,
    geometry_of,
    is_native,
    step_geometry,
    use_fast_depthwise,
)
from seedwise.models.depthwise.implementations import frozen_block
from seedwise.models.depthwise.kernels import Geometry, Layer, Norm, has_kernel, library_name

__all__ = [
    "Choices",
    "Geometry",
    "Layer",
    "Norm",
    "available",
    "depthwise_conv2d",
    "forward_alone",
    "frozen_block",
    "geometry_of",
    "has_kernel",
    "is_native",
    "library_name",
    "step_geometry",
    "use_fast_backward",
    "use_fast_depthwise",
]
