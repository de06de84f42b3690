"""`squeeze.cpp` as a function of tensors. It checks nothing: `squeeze_excite` decides what may reach it.

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
        loaded.squeeze_dots.argtypes = [c_void_p, c_void_p, c_int64, c_int64, c_int64, c_void_p, c_int]
    return loaded


def library_name() -> str | None:
    """Names the library's text, its compiler and this processor; None without a library."""
    return native.name_of(library())


def available() -> bool:
    """Whether the kernels could be compiled here; the first call compiles them, which takes seconds."""
    return library() is not None


def dots(maps: Tensor, others: Tensor) -> Tensor:
    """Sums of the products of two maps over each image's channels."""
    n, c, h, w = maps.shape
    found, threads = torch.empty(n, c, 1, 1), torch.get_num_threads()
    _loaded().squeeze_dots(maps.data_ptr(), others.data_ptr(), n, h * w, c, found.data_ptr(), threads)
    return found


def _loaded() -> ctypes.CDLL:
    loaded = library()
    if loaded is None:
        raise RuntimeError("the kernels of squeeze-and-excitation aren't compiled on this machine")
    return loaded
