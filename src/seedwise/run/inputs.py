"""Accepts images for `predict` in the forms that people have them in, one or many. Nothing is guessed."""

import io
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from seedwise.base.errors import UserError
from seedwise.data.deep import Range
from seedwise.data.images import as_trained, pixels_of, unscaled
from seedwise.data.source import RawImage, UInt8Array

if TYPE_CHECKING:
    from PIL.Image import Image

    One = Path | str | Image | UInt8Array | Tensor
    """A path, a PIL image, uint8[h, w, 3] or gray uint8[h, w], or a tensor uint8[3, h, w]."""
    Given = One | Iterable[One]
    """One image, or any iterable of them; uint8[n, h, w, 3] and tensors uint8[n, 3, h, w] are many."""

_WANTED = "give a path, a PIL image, uint8[h, w, 3], gray uint8[h, w], or a torch tensor uint8[3, h, w]"


def batches(given: "Given", size: int, pixel_range: Range | None) -> Iterator[list[UInt8Array]]:
    """Yield the images' pixels uint8[h, w, 3] in lists of at most `size`, so that few are in memory at once.

    `pixel_range`: black and white of files and PIL images of more than 8 bits, as for the run's own images. A UserError
    says which image, counted from 0, and what is wrong with it.
    """
    numbered = enumerate(_each(given))
    while batch := [pixels(one, pixel_range, f"images[{number}]") for number, one in itertools.islice(numbered, size)]:
        yield batch


def _each(given: Any) -> Iterable[Any]:
    """Turn one image into a list of one; many stay as lazy as they are."""
    if isinstance(given, str | os.PathLike) or _is_pil(given):
        return [given]
    if isinstance(given, Tensor | np.ndarray):
        many = 4 if given.ndim != 1 else 1  # of one dimension: an array of paths, or what is refused one by one
        return given if given.ndim == many else [given]
    if isinstance(given, Mapping | Set | bytes | bytearray | io.IOBase) or not isinstance(given, Iterable):
        raise UserError(f"images are {type(given).__name__}; {_WANTED}, or a list, tuple or generator of them")
    return given


def pixels(one: "One", pixel_range: Range | None, name: str = "the image") -> UInt8Array:
    """Pixels uint8[h, w, 3] of one image, upright; a UserError calls it `name`."""
    if isinstance(one, str | os.PathLike):
        return as_trained(os.fspath(one), unscaled(RawImage(os.fspath(one), Path(one))), pixel_range)
    if isinstance(one, Tensor):
        if one.ndim != 3 or one.shape[0] != 3 or not one.numel() or str(one.dtype) != "torch.uint8":
            kind = f"a tensor {str(one.dtype).removeprefix('torch.')}{list(one.shape)}"
            raise _wrong(name, kind, one.is_floating_point(), "give uint8[3, h, w]")
        return one.detach().cpu().permute(1, 2, 0).contiguous().numpy()
    if isinstance(one, np.ndarray):
        gray = one.ndim == 2
        if one.dtype != np.uint8 or not one.size or not (gray or (one.ndim == 3 and one.shape[2] == 3)):
            is_float = np.issubdtype(one.dtype, np.floating)
            raise _wrong(name, f"{one.dtype}{list(one.shape)}", is_float, "give uint8[h, w, 3], or gray uint8[h, w]")
        return np.repeat(one[:, :, None], 3, axis=2) if gray else one
    if _is_pil(one):
        return as_trained(name, pixels_of(one), pixel_range)
    raise UserError(f"{name} is {type(one).__name__}; {_WANTED}")


def _wrong(name: str, kind: str, is_float: bool, wanted: str) -> UserError:
    hint = " with values from 0 to 255: floats may be of any scale, or normalized already" if is_float else ""
    return UserError(f"{name} is {kind}; {wanted}{hint}")


def _is_pil(one: object) -> bool:
    from PIL.Image import Image

    return isinstance(one, Image)
