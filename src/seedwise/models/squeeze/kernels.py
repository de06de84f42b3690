"""`squeeze.cpp` as functions of tensors. They check nothing: `squeeze_excite` decides what may reach them.

Maps are float32[n, c, h, w] in channels_last, what there is of each image and channel is float32[n, c, 1, 1]. The bits
depend on the shapes alone, not on the number of threads.
"""

import ctypes
import functools
from ctypes import c_int, c_int64, c_void_p
from pathlib import Path

import torch
from torch import Tensor

from seedwise import native


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None without a compiler."""
    loaded = native.library(Path(__file__).with_name("squeeze.cpp"))
    if loaded is not None:
        sizes = c_int64, c_int64, c_int64
        loaded.squeeze_means.argtypes = [c_void_p, *sizes, c_void_p, c_int]
        loaded.squeeze_dots.argtypes = [c_void_p, c_void_p, *sizes, c_void_p, c_int]
        loaded.squeeze_scale.argtypes = [c_void_p, c_void_p, c_void_p, *sizes, c_void_p, c_int]
    return loaded


def library_name() -> str | None:
    """Names the library's text, its compiler and this processor; None without a library."""
    return native.name_of(library())


def available() -> bool:
    """Whether the kernels could be compiled here; the first call compiles them, which takes seconds."""
    return library() is not None


def means(maps: Tensor) -> Tensor:
    """Of each image's channels."""
    found = _squeezed(maps)
    _loaded().squeeze_means(maps.data_ptr(), *_sizes(maps), found.data_ptr(), torch.get_num_threads())
    return found


def dots(maps: Tensor, others: Tensor) -> Tensor:
    """Sums of the products of two maps over each image's channels."""
    found = _squeezed(maps)
    threads = torch.get_num_threads()
    _loaded().squeeze_dots(maps.data_ptr(), others.data_ptr(), *_sizes(maps), found.data_ptr(), threads)
    return found


def scale(maps: Tensor, factors: Tensor, more: Tensor | None = None) -> Tensor:
    """`maps * factors + more`."""
    result = torch.empty_like(maps)
    factors = factors.contiguous()
    more = None if more is None else more.contiguous()
    _loaded().squeeze_scale(
        *(maps.data_ptr(), factors.data_ptr(), None if more is None else more.data_ptr()),
        *(*_sizes(maps), result.data_ptr(), torch.get_num_threads()),
    )
    return result


def _squeezed(maps: Tensor) -> Tensor:
    return torch.empty(*maps.shape[:2], 1, 1)


def _sizes(maps: Tensor) -> tuple[int, int, int]:
    n, c, h, w = maps.shape
    return n, h * w, c


def _loaded() -> ctypes.CDLL:
    loaded = library()
    if loaded is None:
        raise RuntimeError("the kernels of squeeze-and-excitation aren't compiled on this machine")
    return loaded
