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
_MAPS, _BF16 = torch.channels_last, torch.bfloat16
_LAYOUTS = {"": torch.contiguous_format, "maps": _MAPS, "strided": None}


class Parameter(NamedTuple):
    """A tensor that a kernel takes."""

    name: str
    kind: str
    """As the signature has it."""
    dtype: torch.dtype | None
    """None: the type of the call's first tensor."""
    layout: torch.memory_format | None
    is_optional: bool

    @classmethod
    def parse(cls, text: str) -> "Parameter":
        """From a signature's `name: type layout?`."""
        name, kind = text.split(": ")
        dtype, _, layout = kind.removesuffix("?").partition(" ")
        return cls(name, kind, TENSOR_TYPES[dtype], _LAYOUTS[layout], kind.endswith("?"))


class Signature:
    """What a kernel takes, and the types of C for it."""

    def __init__(self, text: str) -> None:
        tensors, _, numbers = text.partition("; ")
        self.tensors = tuple(map(Parameter.parse, tensors.split(", ")))
        self.is_generic = any(tensor.dtype is None for tensor in self.tensors)
        self.numbers = dict(number.split(": ") for number in numbers.split(", ")) if numbers else {}
        self.numbers |= {"bf16": "int", "threads": "int"} if self.is_generic else {"threads": "int"}
        types = [NUMBER_TYPES[kind] for kind in self.numbers.values()]
        self.argtypes: list[Any] = [ctypes.c_void_p] * len(self.tensors) + types
        first = (torch.float32, _BF16) if self.is_generic else (self.tensors[0].dtype,)
        self.checks = {own: [(one.dtype or own, one.layout, one.is_optional) for one in self.tensors] for own in first}
        """By the type of the first tensor: type and layout of each, and whether None may stand for it."""


class KernelLibrary:
    """The kernels of one C++ file, compiled at first use for the class of processors that is asked for then."""

    def __init__(self, file: str, signatures: Mapping[str, str]) -> None:
        self.source = CSRC / file
        self.signatures = {name: Signature(text) for name, text in signatures.items()}
        self._loaded: dict[str | None, ctypes.CDLL | None] = {}  # by what SEEDWISE_TARGET says

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
        self._loaded.clear()

    def launch(self, name: str, tensors: Sequence[Tensor | None], *numbers: Any) -> None:
        """Call a kernel with tensors and numbers as its signature has them, now or within `deferred_launches()` later.

        Arrays of numbers are made by `int64s` and `floats`. TypeError for a tensor of another type or layout than
        declared, RuntimeError where the kernels aren't compiled, and what `launch.call` raises.
        """
        library, signature = self._loaded.get(launch.asked_target()) or self._library(), self.signatures[name]
        if library is None:
            raise RuntimeError(f"{name}: the kernels of {self.source.name} aren't compiled on this machine")
        own: Any = getattr(tensors[0], "dtype", None)
        checks = signature.checks.get(own)
        if checks is None:
            raise self._refusal(name, tensors, 0)
        arguments: list[Any] = []
        # Without calls of functions of ours: it runs for thousands of tensors in a training step.
        for tensor, (dtype, layout, is_optional) in zip(tensors, checks, strict=True):
            if tensor is None:
                if not is_optional:
                    raise self._refusal(name, tensors, len(arguments))
                arguments.append(None)
            elif tensor.dtype is dtype and (
                tensor.is_contiguous(memory_format=_MAPS)
                if layout is _MAPS
                else layout is None or tensor.is_contiguous()
            ):
                arguments.append(tensor.data_ptr())
            else:
                raise self._refusal(name, tensors, len(arguments))
        arguments += numbers
        if signature.is_generic:
            arguments.append(own is _BF16)
        arguments.append(torch.get_num_threads())
        launch.call(getattr(library, name), tensors, arguments)

    def _refusal(self, name: str, tensors: Sequence[Tensor | None], index: int) -> TypeError:
        tensor, parameter = tensors[index], self.signatures[name].tensors[index]
        it = "None"
        if tensor is not None:
            it = f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)} of strides {list(tensor.stride())}"
        return TypeError(f"{name}: {parameter.name} is {it}, not {parameter.kind}")

    def _library(self) -> ctypes.CDLL | None:
        asked = launch.asked_target()
        if asked not in self._loaded:
            library = self._loaded[asked] = launch.library(self.source)
            for name, signature in self.signatures.items() if library is not None else ():
                getattr(library, name).argtypes = signature.argtypes
        return self._loaded[asked]


@functools.lru_cache(4096)  # a step's are those of the step before; making one takes longer than finding it
def int64s(*values: int) -> "ctypes.Array[ctypes.c_int64]":
    """For kernels: an array of int64, which they don't change."""
    return (ctypes.c_int64 * len(values))(*values)


@functools.lru_cache(4096)
def floats(*values: float) -> "ctypes.Array[ctypes.c_float]":
    """For kernels: an array of float32, which they don't change."""
    return (ctypes.c_float * len(values))(*values)
