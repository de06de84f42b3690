"""Reads pickles that may come from a stranger: numbers, text, plain containers and byte arrays, nothing else.

A pickle is a program. Whatever it names is looked up here in a table of three things, none of which can do anything but
become an array of bytes; anything else ends the reading. Not even numpy's own constructors are reached.
"""

import pickle
from typing import IO, Any

import numpy as np

from seedwise.data.source import UInt8Array


class Refused(Exception):
    """The pickle names something that data don't need."""


class _Array:
    """Stands in for numpy.ndarray; numpy's state is (version, shape, dtype, is_fortran, bytes)."""

    __slots__ = ("array",)

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, is_fortran, data = state
        if not isinstance(dtype, _DType) or is_fortran or not isinstance(data, bytes):
            raise Refused("an array that is not one of bytes")
        self.array: UInt8Array = np.frombuffer(data, np.uint8).reshape(shape)


class _DType:
    """Stands in for numpy.dtype: unsigned bytes, or nothing."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


class _Name:
    """A callable without attributes, so that a pickle cannot change it."""

    __slots__ = ()


class _ArrayType(_Name):
    pass


class _NewArray(_Name):
    def __call__(self, *_arguments: Any) -> _Array:
        return _Array()


class _NewDType(_Name):
    def __call__(self, code: Any, *_flags: Any) -> _DType:
        if code not in ("u1", b"u1"):
            raise Refused(f"an array of {str(code)[:20]} instead of bytes")
        return _DType()


class _Encode(_Name):
    """Stands in for the encoder of Python 3's bytes in protocol 2: text to be encoded in Latin-1."""

    def __call__(self, text: Any, encoding: Any = "latin1") -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise Refused("an encoding other than latin1")
        return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], _Name] = {
    ("numpy", "ndarray"): _ArrayType(),
    ("numpy", "dtype"): _NewDType(),
    ("_codecs", "encode"): _Encode(),
} | {(f"numpy.{core}.multiarray", "_reconstruct"): _NewArray() for core in ("core", "_core")}


class _Unpickler(pickle._Unpickler):  # the one in C reserves as much memory as a pickle tells it to
    def find_class(self, module: str, name: str, /) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise Refused(f"the object {module[:40]}.{name[:40]}") from None


def read_pickle(file: IO[bytes]) -> dict[str, Any]:
    """A pickled mapping with its keys as text; raises `Refused` or, for damage, any other exception."""
    loaded = _Unpickler(file, encoding="bytes").load()
    if not isinstance(loaded, dict):
        raise Refused(f"a {type(loaded).__name__} instead of a dict")
    return {key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in loaded.items()}


def texts(value: Any) -> list[str]:
    """Check a list of text from a pickle, where Python 2 left bytes; raises `Refused`."""
    if not isinstance(value, list) or not all(isinstance(item, bytes | str) for item in value):
        raise Refused("names that are no list of text")
    return [item.decode("utf-8") if isinstance(item, bytes) else item for item in value]


def integers(value: Any, below: int) -> list[int]:
    """Check a list of labels in [0, below) from a pickle; raises `Refused`."""
    if not isinstance(value, list) or not all(type(item) is int and 0 <= item < below for item in value):
        raise Refused(f"labels that are no list of integers from 0 to {below - 1}")
    return value


def byte_array(value: Any) -> UInt8Array:
    """Check an array uint8[...] from a pickle; raises `Refused`."""
    if not isinstance(value, _Array):
        raise Refused("pixels that are no array")
    return value.array
