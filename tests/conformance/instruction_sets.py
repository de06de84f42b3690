"""What kernels are tested for: each instruction set that they are written for, not only this processor's best."""

import pytest

from seedwise import compiling

SETS = tuple(compiling.TARGETS)
"""All classes of processors that kernels are compiled for; tests skip, and say so, what this processor can't run."""

TESTED = {
    "augment/pixels.cpp": "test_augment_pixels",
    "models/depthwise/block.cpp": "test_frozen_block",
    "models/depthwise/depthwise.cpp": "test_depthwise_native",
    "models/depthwise/widened.cpp": "test_inverted_residual",
    "models/norm_act/norm_act.cpp": "test_norm_act",
    "models/pointwise/split.cpp": "test_pointwise",
    "models/squeeze/squeeze.cpp": "test_squeeze",
    "models/winograd/winograd.cpp": "test_winograd",
}
"""Each kernel file, and where tests of it are marked `each_target`: against float64 or torch, and of its bits."""

each_target = pytest.mark.usefixtures("target")
"""Runs a test once for each of `SETS`."""
