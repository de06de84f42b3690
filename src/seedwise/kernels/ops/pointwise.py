"""`pointwise.cpp` as functions of tensors, which check no shapes: the layers decide what may reach them.

Tensors are float32, images and results in channels_last, weights [out, in, 1, 1] of any strides. The bits may depend on
the number of threads.
"""

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor

from seedwise.kernels.library import KernelLibrary

_NUMBERS = "sgemm: address, pixels: int, inputs: int, outputs: int"
KERNELS = KernelLibrary(
    "pointwise.cpp",
    {
        "split_forward": f"images: f32 maps, weight: f32, bias: f32?, out: f32 maps; {_NUMBERS}, silu: int",
        "split_images_gradient": f"grad: f32 maps, weight: f32, out: f32 maps; {_NUMBERS}",
        "split_weight_gradient": f"grad: f32 maps, images: f32 maps, out: f32; {_NUMBERS}",
    },
)


@functools.cache
def _sgemm() -> int | None:
    """The address of BLAS's product in torch's own library, if that is MKL: others may not run on several threads."""
    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return None
    for path in sorted((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*")):
        try:
            return ctypes.cast(ctypes.CDLL(str(path)).sgemm_, ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue
    return None


@functools.cache
def available() -> bool:
    """Whether there is a compiler and torch's MKL can be reached; the first call compiles, which takes a second."""
    return KERNELS.available() and _sgemm() is not None


def forward(images: Tensor, weight: Tensor, bias: Tensor | None = None, silu: bool = False) -> Tensor:
    """The convolution [n, out, h, w] of images [n, in, h, w].

    `bias`: [out]; after a bias SiLU may be applied in the same pass.
    """
    result, weight = empty_maps(images, weight.shape[0]), weight.contiguous()
    KERNELS.launch("split_forward", (images, weight, bias, result), *_numbers(images, weight), silu)
    return result


def images_gradient(images: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """The gradient of `forward`'s images, from the result's [n, out, h, w]."""
    result, weight = empty_maps(images, images.shape[1]), weight.contiguous()
    KERNELS.launch("split_images_gradient", (grad, weight, result), *_numbers(images, weight))
    return result


def weight_gradient(images: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """The gradient of `forward`'s weight, from the result's [n, out, h, w]."""
    result = torch.empty(weight.shape)
    KERNELS.launch("split_weight_gradient", (grad, images, result), *_numbers(images, weight))
    return result


def empty_maps(images: Tensor, channels: int) -> Tensor:
    """Memory for a result, float32[n, channels, h, w]; no view of a product's, so that it may be changed in place."""
    n, _, h, w = images.shape
    return torch.empty((n, channels, h, w), memory_format=torch.channels_last)


def _numbers(images: Tensor, weight: Tensor) -> tuple[int | None, int, int, int]:
    outputs, inputs = weight.shape[:2]
    return _sgemm(), images.numel() // inputs, inputs, outputs
