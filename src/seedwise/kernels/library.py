"""Compiled kernel files as functions of tensors: what each takes is declared once, checked at each call, and launched.

A signature names a function's tensors, then its numbers, in the order of its C prototype:

    "x: T maps, bias: f32?, batches: i64?; channels: int64, limits: float[]"

- A tensor's type is one of `TENSOR_TYPES`. `T` is the type of the call's first tensor, float32 or bfloat16; the kernel
  then takes, as its last number but one, whether that is bfloat16.
- It lies in memory without gaps, `maps` in channels_last, others in the order of their axes; `strided`: anyhow.
- A question mark says that None may stand for it, which is a null pointer to the kernel.
- The last number of every kernel is how many threads it may use; it is added here.
"""

import ctypes
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seedwise.kernels import launch
from seedwise.kernels.build import CSRC

TENSOR_TYPES = {"T": None, "f32": torch.float32, "f64": torch.float64, "i64": torch.int64, "u8": torch.uint8}
NUMBER_TYPES: dict[str, Any] = {
    **{"int": ctypes.c_int, "int64": ctypes.c_int64, "double": ctypes.c_double},
    **dict.fromkeys(("int64[]", "float[]", "address"), ctypes.c_void_p),
}
_FLOATS = torch.float32, torch.bfloat16


class Parameter(NamedTuple):
    """A tensor that a kernel takes."""

    name: str
    kind: str
    """As the signature has it, for messages."""
    dtype: torch.dtype | None
    """None: the type of the call's first tensor."""
    layout: str
    """`maps`, `strided`, or nothing for the order of its axes."""
    is_optional: bool

    @classmethod
    def parse(cls, text: str) -> "Parameter":
        """From a signature's `name: type layout?`."""
        name, kind = text.split(": ")
        dtype, _, layout = kind.removesuffix("?").partition(" ")
        return cls(name, kind, TENSOR_TYPES[dtype], layout, kind.endswith("?"))

    def takes(self, tensor: Tensor | None, own: torch.dtype) -> bool:
        """Whether a tensor is as declared; `own`: the type of the call's first one."""
        if tensor is None:
            return self.is_optional
        if tensor.dtype is not (self.dtype or own):
            return False
        if self.layout == "maps":
            return tensor.is_contiguous(memory_format=torch.channels_last)
        return self.layout == "strided" or tensor.is_contiguous()


class Signature:
    """What a kernel takes, and the types of C for it."""

    def __init__(self, text: str) -> None:
        tensors, _, numbers = text.partition("; ")
        self.tensors = tuple(map(Parameter.parse, tensors.split(", ")))
        self.numbers = dict(number.split(": ") for number in numbers.split(", ")) if numbers else {}
        self.is_generic = any(tensor.dtype is None for tensor in self.tensors)
        self.numbers |= {"bf16": "int", "threads": "int"} if self.is_generic else {"threads": "int"}
        numbers_of_c = [NUMBER_TYPES[kind] for kind in self.numbers.values()]
        self.argtypes: list[Any] = [ctypes.c_void_p] * len(self.tensors) + numbers_of_c


class KernelLibrary:
    """The kernels of one C++ file, compiled at first use for the class of processors that is asked for then."""

    def __init__(self, file: str, signatures: Mapping[str, str]) -> None:
        self.source = CSRC / file
        self.signatures = {name: Signature(text) for name, text in signatures.items()}
        self._compiled: dict[str | None, ctypes.CDLL | None] = {}  # by what SEEDWISE_TARGET says

    def available(self) -> bool:
        """Whether the kernels are compiled, or can be: the first call may take some ten seconds."""
        return self._library() is not None

    def name(self) -> str | None:
        """Names the library's text, its compiler and its target; None without a library."""
        return launch.name_of(self._library())

    def compiler(self) -> str | None:
        """What the library's compiler calls itself; None without a library."""
        return launch.builder_of(self._library())

    def forget(self) -> None:
        """Look for the library anew at the next use, for tests."""
        self._compiled.clear()

    def launch(self, name: str, tensors: Sequence[Tensor | None], *numbers: Any) -> None:
        """Call a kernel with tensors and numbers as its signature has them, now or within `deferred_launches()` later.

        Arrays of numbers are made by `int64s` and `floats`. TypeError for a tensor of another type or layout than
        declared, RuntimeError where the kernels aren't compiled, and what `launch.call` raises.
        """
        library, signature = self._library(), self.signatures[name]
        if library is None:
            raise RuntimeError(f"{name}: the kernels of {self.source.name} aren't compiled on this machine")
        first = tensors[0]
        assert first is not None
        own, addresses = first.dtype, list[int | None]()
        for tensor, parameter in zip(tensors, signature.tensors, strict=True):
            if not parameter.takes(tensor, own):
                raise TypeError(f"{name}: {parameter.name} is {_described(tensor)}, not {parameter.kind}")
            addresses.append(None if tensor is None else tensor.data_ptr())
        if signature.is_generic:
            if own not in _FLOATS:
                raise TypeError(f"{name}: {signature.tensors[0].name} is {_described(first)}, not float32 or bfloat16")
            numbers += (own is torch.bfloat16,)
        launch.call(getattr(library, name), tensors, *addresses, *numbers, torch.get_num_threads())

    def _library(self) -> ctypes.CDLL | None:
        asked = os.environ.get(launch.TARGET_VARIABLE)
        if asked not in self._compiled:
            library = self._compiled[asked] = launch.library(self.source)
            for name, signature in self.signatures.items() if library is not None else ():
                getattr(library, name).argtypes = signature.argtypes
        return self._compiled[asked]


def _described(tensor: Tensor | None) -> str:
    if tensor is None:
        return "None"
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)} of strides {list(tensor.stride())}"


@functools.lru_cache(4096)  # a step's are those of the step before; making one takes longer than finding it
def int64s(*values: int) -> "ctypes.Array[ctypes.c_int64]":
    """For kernels: an array of int64, which they don't change."""
    return (ctypes.c_int64 * len(values))(*values)


@functools.lru_cache(4096)
def floats(*values: float) -> "ctypes.Array[ctypes.c_float]":
    """For kernels: an array of float32, which they don't change."""
    return (ctypes.c_float * len(values))(*values)
