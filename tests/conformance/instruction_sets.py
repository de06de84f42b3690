"""What kernels are tested for: each instruction set that they are written for, not only this processor's best."""

import pytest

from seedwise.kernels import build

SETS = tuple(build.TARGETS)
"""All classes of processors that kernels are compiled for; tests skip, and say so, what this processor can't run."""

TESTED = {
    "kernels/csrc/pixels.cpp": "test_augment_pixels",
    "kernels/csrc/block.cpp": "test_frozen_block",
    "kernels/csrc/depthwise.cpp": "test_depthwise_native",
    "kernels/csrc/expand.cpp": "test_fused_depthwise_block",
    "kernels/csrc/batch_norm.cpp": "test_norm_act",
    "kernels/csrc/pointwise.cpp": "test_pointwise",
    "kernels/csrc/squeeze_excite.cpp": "test_squeeze",
    "kernels/csrc/conv3x3.cpp": "test_winograd",
}
"""Each kernel file, and where tests of it are marked `each_target`: against float64 or torch, and of its bits."""

each_target = pytest.mark.usefixtures("target")
"""Runs a test once for each of `SETS`."""
