"""`pointwise.cpp` as functions of tensors. They check nothing: `conv` decides what may reach them.

Tensors are float32, images and results channels_last, weights of any strides. The bits may depend on the number of
threads.
"""

import ctypes
import functools
from ctypes import c_int, c_void_p
from pathlib import Path

import torch
from torch import Tensor

from seedwise.kernels import launch
from seedwise.kernels.build import CSRC


@launch.OnceATarget
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None without a compiler."""
    loaded = launch.library(CSRC / "pointwise.cpp")
    if loaded is not None:
        loaded.split_forward.argtypes = [*[c_void_p] * 4, c_int, c_void_p, *[c_int] * 4]
        loaded.split_images_gradient.argtypes = loaded.split_weight_gradient.argtypes = [*[c_void_p] * 4, *[c_int] * 4]
        for function in (loaded.split_forward, loaded.split_images_gradient, loaded.split_weight_gradient):
            function.restype = None
    return loaded


def library_name() -> str | None:
    """Names the library's text, its compiler and this processor; None without a library."""
    return launch.name_of(library())


@functools.cache
def _sgemm() -> int | None:
    """The address of BLAS's product in torch's own library, if that is MKL: others may not run on several threads."""
    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return None
    for path in sorted((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*")):
        try:
            return ctypes.cast(ctypes.CDLL(str(path)).sgemm_, c_void_p).value
        except (OSError, AttributeError):
            continue
    return None


@functools.cache
def available() -> bool:
    """Whether there is a compiler and torch's MKL can be reached; the first call compiles, which takes a second."""
    return library() is not None and _sgemm() is not None


def forward(images: Tensor, weight: Tensor, bias: Tensor | None = None, silu: bool = False) -> Tensor:
    """The convolution of [n, in, h, w] with [out, in, 1, 1]; behind a bias SiLU may come in the same pass."""
    result, weight = room(images, weight.shape[0]), weight.contiguous()
    launch.call(
        *(_loaded().split_forward, launch.cannot_fail, (images, weight, bias, result)),
        *(*_given(images, weight), None if bias is None else bias.data_ptr(), silu, result.data_ptr()),
        *_sizes(images, weight),
    )
    return result


def images_gradient(images: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """The gradient of `forward`'s images, given the result's."""
    result, weight = room(images, images.shape[1]), weight.contiguous()
    tensors = grad, weight, result
    launch.call(
        *(_loaded().split_images_gradient, launch.cannot_fail, tensors), *_given(*tensors), *_sizes(images, weight)
    )
    return result


def weight_gradient(images: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """The gradient of `forward`'s weight, given the result's."""
    result = torch.empty(weight.shape)
    tensors = grad, images, result
    launch.call(
        *(_loaded().split_weight_gradient, launch.cannot_fail, tensors), *_given(*tensors), *_sizes(images, weight)
    )
    return result


def room(images: Tensor, channels: int) -> Tensor:
    """For a result; its own tensor, not a view of a product's, so that an activation may change it in place."""
    n, _, h, w = images.shape
    return torch.empty((n, channels, h, w), memory_format=torch.channels_last)


def _given(*tensors: Tensor) -> tuple[int | None, ...]:
    return _sgemm(), *(tensor.data_ptr() for tensor in tensors)


def _sizes(images: Tensor, weight: Tensor) -> tuple[int, int, int, int]:
    outputs, inputs = weight.shape[:2]
    return images.numel() // inputs, inputs, outputs, torch.get_num_threads()


def _loaded() -> ctypes.CDLL:
    loaded = library()
    if loaded is None:
        raise RuntimeError("the kernels of 1x1 convolutions aren't compiled on this machine")
    return loaded
