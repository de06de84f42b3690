"""Dense 3x3 convolutions with a quarter of the multiplications, by Winograd's minimal filtering. CPU, fp32."""

from seedwise.models.winograd.conv import WinogradConv, WinogradConvSame, backward, fits, forward, use_winograd
from seedwise.models.winograd.kernels import available, library_name
from seedwise.models.winograd.kernels import forward as convolve

__all__ = [
    "WinogradConv",
    "WinogradConvSame",
    "available",
    "backward",
    "convolve",
    "fits",
    "forward",
    "library_name",
    "use_winograd",
]
