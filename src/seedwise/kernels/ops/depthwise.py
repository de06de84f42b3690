"""The C++ kernels of `depthwise.cpp` and `block.cpp` as functions of tensors; `joint` has those of `widened.cpp`."""

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seedwise.kernels import launch
from seedwise.kernels.build import CSRC
from seedwise.kernels.ops.batch_norm import NormStep

SOURCES = tuple(CSRC / f"{name}.cpp" for name in ("expand", "depthwise", "block"))
"""Several, since they are compiled side by side."""
KERNELS, STRIDES = (3, 5, 7), (1, 2)
"""What there are kernels for: square ones of these sizes, with these strides along both axes."""
_DTYPES = (torch.float32, torch.bfloat16)
_NO_MEMORY = 2


@dataclass(frozen=True)
class Geometry:
    """A square depthwise convolution: kernel size, stride, and the zeros around the input, in pixels."""

    kernel: int
    stride: int
    top: int
    left: int
    bottom: int
    right: int

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """The output's height and width; less than 1 where the padded input is smaller than the kernel."""
        return (
            (height + self.top + self.bottom - self.kernel) // self.stride + 1,
            (width + self.left + self.right - self.kernel) // self.stride + 1,
        )


def same(kernel: int, stride: int, height: int, width: int) -> Geometry:
    """TensorFlow's SAME padding for an input of this size: the odd zero goes to the bottom and the right."""
    down = max((-(-height // stride) - 1) * stride + kernel - height, 0)
    across = max((-(-width // stride) - 1) * stride + kernel - width, 0)
    return Geometry(kernel, stride, down // 2, across // 2, down - down // 2, across - across // 2)


@launch.OnceATarget
def library() -> Any:
    """The compiled kernels, or None without a compiler that builds them."""
    found: list[Any] = list(map(launch.library, SOURCES))
    if None in found:
        return None
    widened, depthwise, block = found
    pointer, number, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    depthwise.depthwise_forward.argtypes = [number, *[pointer] * 9, number]
    depthwise.depthwise_backward.argtypes = [number, *[pointer] * 6, number]
    depthwise.normed_backward.argtypes = [number, *[pointer] * 4, number]
    depthwise.widened_forward, depthwise.widened_backward = widened.widened_forward, widened.widened_backward
    depthwise.widened_forward.argtypes = [pointer, size, *[pointer] * 7, number]
    depthwise.widened_backward.argtypes = [pointer, size, *[pointer] * 4, number]
    depthwise.frozen_block = block.frozen_block
    depthwise.frozen_block.argtypes = [pointer, size, size, number, *[pointer] * 3, number]
    return depthwise


def library_name() -> str | None:
    """Names the libraries' text, their compiler and this processor; None without them."""
    return None if library() is None else ", ".join(str(launch.name_of(launch.library(source))) for source in SOURCES)


def fits(images: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Whether the kernels take these: CPU, fp32 or bf16, channels_last without gaps, a known kernel size and stride."""
    return (
        images.dim() == 4
        and images.device.type == weight.device.type == "cpu"
        and images.dtype == weight.dtype
        and images.dtype in _DTYPES
        and weight.shape == (images.shape[1], 1, geometry.kernel, geometry.kernel)
        and has_kernel(geometry, images.shape[2], images.shape[3])
        and images.numel() > 0
        and images.is_contiguous(memory_format=torch.channels_last)
    )


def has_kernel(geometry: Geometry, height: int, width: int) -> bool:
    """Whether kernel size, stride and padding are known ones, and leave something of a map of this size."""
    return (
        geometry.kernel in KERNELS
        and geometry.stride in STRIDES
        and max(geometry.top, geometry.left, geometry.bottom, geometry.right) < geometry.kernel
        and min(geometry.out_size(height, width)) >= 1
    )


@dataclass(frozen=True)
class Finish:
    """What follows a convolution that nobody differentiates: a bias, float32[c], and an activation that clamps."""

    bias: Tensor
    low: float = -math.inf
    high: float = math.inf

    def apply(self, result: Tensor) -> Tensor:
        """The same in place, to a result [n, c, h, w] without it."""
        result.add_(self.bias[:, None, None])
        return result if math.isinf(self.low) and math.isinf(self.high) else result.clamp_(self.low, self.high)


@dataclass(frozen=True)
class Norm:
    """A batch's BatchNorm and an activation that clamps.

    `saved`: float32[4, c], mean, 1 / deviation, scale and shift, as `norm_act` keeps them.
    """

    saved: Tensor
    low: float = -math.inf
    high: float = math.inf


def forward(
    images: Tensor, weight: Tensor, geometry: Geometry, finish: Finish | None = None, before: Norm | None = None
) -> Tensor:
    """The convolution of [n, c, h, w] with [c, 1, k, k], both as `fits` has them; the result is channels_last.

    `before`: what is done to the images first.
    """
    return _forward(images, weight, geometry, finish, before, None)[0]


def forward_and_statistics(
    images: Tensor, weight: Tensor, geometry: Geometry, behind: NormStep, before: Norm | None = None
) -> tuple[Tensor, Tensor]:
    """`forward` and, of its result, what a BatchNorm behind it keeps (`saved` of Norm)."""
    result, saved = _forward(images, weight, geometry, None, before, behind)
    assert saved is not None
    return result, saved


def _forward(
    images: Tensor,
    weight: Tensor,
    geometry: Geometry,
    finish: Finish | None,
    before: Norm | None,
    behind: NormStep | None,
) -> tuple[Tensor, Tensor | None]:
    n, c, h, w = images.shape
    size = geometry.out_size(h, w)
    out = torch.empty(n, c, *size, dtype=images.dtype, memory_format=torch.channels_last)
    weight = weight.contiguous()
    bias = None if finish is None else finish.bias.contiguous()
    limits = [(0.0, 0.0) if one is None else (one.low, one.high) for one in (before, finish)]
    saved = None if behind is None else torch.empty(4, c)
    step = (None, None) if behind is None or saved is None else (step_pointers(behind, saved), step_numbers(behind))
    given = (
        *(images.data_ptr(), None if before is None else before.saved.data_ptr()),
        *(weight.data_ptr(), None if bias is None else bias.data_ptr(), floats(*limits[0], *limits[1])),
    )
    numbers = numbers_of(images, geometry, size)
    launch.call(
        *(library().depthwise_forward, check, (images, weight, bias, before, behind, saved, out)),
        *(is_bf16(images), *given, *step, out.data_ptr(), numbers, torch.get_num_threads()),
    )
    return out, saved


def backward(
    images: Tensor, grad: Tensor, weight: Tensor, geometry: Geometry, wants: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of images and weight, those that are wanted, in one pass over the data.

    `grad`: the output's gradient, channels_last and of the images' type. Sums are in fp32. The bits depend on the
    shapes only, not on the number of threads.
    """
    image_grad = torch.empty_like(images, memory_format=torch.channels_last) if wants[0] else None
    weight = weight.contiguous()
    weight_grad = torch.empty_like(weight) if wants[1] else None
    numbers = numbers_of(images, geometry, (grad.shape[2], grad.shape[3]))
    pointers = (
        *(images.data_ptr(), grad.data_ptr(), weight.data_ptr()),
        *(None if wanted is None else wanted.data_ptr() for wanted in (image_grad, weight_grad)),
    )
    launch.call(
        *(library().depthwise_backward, check, (images, grad, weight, image_grad, weight_grad)),
        *(is_bf16(images), *pointers, numbers, torch.get_num_threads()),
    )
    return image_grad, weight_grad


@dataclass(frozen=True)
class Layer:
    """A convolution that nobody differentiates, float32: weight, bias, and the limits that hold its result."""

    weight: Tensor
    bias: Tensor
    limits: tuple[float, float]


def frozen_block(images: Tensor, layers: Sequence[Layer], geometry: Geometry, *, shortcut: bool) -> Tensor:
    """Convolutions in one pass: 1x1 to more channels (or none, of two layers), depthwise, 1x1 to fewer.

    `images`: float32[n, c, h, w] in channels_last, added to the result if `shortcut`. `geometry` is the depthwise
    one's, which `has_kernel`. The limits of the last layer are not looked at. The bits depend on the shapes only, not
    on the number of threads.
    """
    *widen, middle, narrow = layers
    n, c, h, w = images.shape
    size = geometry.out_size(h, w)
    out = torch.empty(n, len(narrow.bias), *size, memory_format=torch.channels_last)
    tensors = [part.contiguous() for layer in layers for part in (layer.weight, layer.bias)]
    given = [images.data_ptr(), *([] if widen else [None, None]), *(tensor.data_ptr() for tensor in tensors)]
    limits = (*(widen[0].limits if widen else (0.0, 0.0)), *middle.limits)
    values = (n, len(middle.bias), h, w, *size, geometry.top, geometry.left, geometry.kernel, geometry.stride)
    launch.call(
        *(library().frozen_block, check, (images, tensors, out)),
        (ctypes.c_void_p * len(given))(*given),
        *(c, out.shape[1], int(shortcut)),
        floats(*limits),
        out.data_ptr(),
        (ctypes.c_int64 * len(values))(*values),
        torch.get_num_threads(),
    )
    return out


def is_bf16(tensor: Tensor) -> int:
    """For the kernels: 1 or 0."""
    return int(tensor.dtype == torch.bfloat16)


def pointers(tensors: Sequence[Tensor]) -> Any:
    """For the kernels: where the tensors' numbers are."""
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


def floats(*values: float) -> Any:
    """For the kernels: an array of float32."""
    return (ctypes.c_float * len(values))(*values)


def numbers_of(images: Tensor, geometry: Geometry, size: tuple[int, int]) -> Any:
    """For the kernels: the whole call's geometry; `size`: the result's height and width."""
    return geometry_numbers((*images.shape,), geometry, size)


def geometry_numbers(shape: tuple[int, ...], geometry: Geometry, size: tuple[int, int]) -> Any:
    """The same, of images of this shape, [n, c, h, w]."""
    values = (*shape, *size, geometry.top, geometry.left, geometry.kernel, geometry.stride)
    return (ctypes.c_int64 * len(values))(*values)


def step_pointers(step: NormStep, saved: Tensor) -> Any:
    """For the kernels: a BatchNorm's parameters, its running statistics, and `saved` of Norm, where they write."""
    return (ctypes.c_void_p * 6)(*step.addresses(), saved.data_ptr())


def step_numbers(*steps: NormStep) -> Any:
    """For the kernels: momentum and eps of each."""
    values = [value for step in steps for value in (step.momentum, step.eps)]
    return (ctypes.c_double * len(values))(*values)


def check(code: int) -> None:
    """Raise what a kernel's answer means."""
    if code == _NO_MEMORY:
        raise MemoryError("no memory for a depthwise convolution's sums")
    if code:
        raise ValueError("no depthwise kernel for this size and stride")
