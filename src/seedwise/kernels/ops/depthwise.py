"""`depthwise.cpp` and `block.cpp` as functions of tensors; `depthwise_norm` has what is joined with BatchNorms.

Maps are [n, c, h, w] in channels_last, weights [c, 1, k, k]; all are float32 or all bfloat16, biases float32[c]. The
bits depend on the shapes alone, not on the number of threads.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seedwise.kernels.library import KernelLibrary, floats, int64s
from seedwise.kernels.ops.batch_norm import DTYPES, STEP

EXPANSION = "x: f32 maps, weight: f32, bias: f32, saved: f32, x_mean: f32, x_covariance: f64"
DEPTHWISE = KernelLibrary(
    "depthwise.cpp",
    {
        "depthwise_forward": "x: T maps, weight: T, epilogue_bias: f32?, out: T maps; "
        "limits: float[], geometry: int64[]",
        "depthwise_backward": "x: T maps, grad: T maps, weight: T, x_grad: T maps?, weight_grad: T?; geometry: int64[]",
    },
)
EXPAND = KernelLibrary(
    "expand.cpp",
    {
        "expanded_forward": f"{EXPANSION}, taps: f32, norm_weight: f32, mean: f32?, variance: f32?, batches: i64?, "
        f"{', '.join(f'epilogue_{each}' for each in STEP.split(', '))}, epilogue_saved: f32, out: f32 maps; "
        "momentum: double, eps: double, epilogue_momentum: double, epilogue_eps: double, limits: float[], "
        "inputs: int64, geometry: int64[]",
        "expanded_backward": f"{EXPANSION}, grad: f32 maps, taps: f32, epilogue_saved: f32, epilogue_affine: f32, "
        "y: f32 maps, x_grad: f32 maps, weight_grad: f32, taps_grad: f32, norm_weight_grad: f32, "
        "norm_bias_grad: f32, affine: f32; limits: float[], inputs: int64, geometry: int64[]",
    },
)
BLOCK = KernelLibrary(
    "block.cpp",
    {
        "frozen_block": "x: f32 maps, expand: f32?, expand_bias: f32?, taps: f32, bias: f32, project: f32, "
        "project_bias: f32, out: f32 maps; inputs: int64, outputs: int64, shortcut: int, limits: float[], "
        "geometry: int64[]",
    },
)
LIBRARIES = EXPAND, DEPTHWISE, BLOCK
"""Several, since they are compiled side by side."""
KERNELS, STRIDES = (3, 5, 7), (1, 2)
"""What there are kernels for: square ones of these sizes, with these strides along both axes."""


@dataclass(frozen=True)
class Geometry:
    """A square depthwise convolution: kernel size, stride, and the zeros around the input, in pixels."""

    kernel: int
    stride: int
    top: int
    left: int
    bottom: int
    right: int

    def numbers(self, images: Tensor, channels: int | None = None) -> object:
        """For the kernels: the whole call's sizes. `images`: [n, c, h, w]; `channels`: of the convolution, if not c."""
        n, c, h, w = images.shape
        size = self.out_size(h, w)
        return int64s(n, channels or c, h, w, *size, self.top, self.left, self.kernel, self.stride)

    def empty_out(self, images: Tensor, channels: int | None = None) -> Tensor:
        """Memory for the result of a convolution of images [n, c, h, w], which has `channels`, if not c."""
        n, c, h, w = images.shape
        shape = n, channels or c, *self.out_size(h, w)
        return torch.empty(shape, dtype=images.dtype, memory_format=torch.channels_last)

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


def available() -> bool:
    """Whether the kernels are compiled, or can be: the first call may take some ten seconds."""
    return all(library.available() for library in LIBRARIES)


def fits(images: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Whether the kernels take images [n, c, h, w] and a weight [c, 1, k, k].

    That is on the CPU, fp32 or bf16, in channels_last without gaps, of a known kernel size and stride.
    """
    return (
        images.dim() == 4
        and images.device.type == weight.device.type == "cpu"
        and images.dtype == weight.dtype
        and images.dtype in DTYPES
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
class Epilogue:
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

    `saved`: float32[4, c], mean, 1 / deviation, scale and shift, as `batch_norm.forward` keeps them.
    """

    saved: Tensor
    low: float = -math.inf
    high: float = math.inf


def forward(images: Tensor, weight: Tensor, geometry: Geometry, epilogue: Epilogue | None = None) -> Tensor:
    """The convolution [n, c, oh, ow] of images [n, c, h, w] with a weight [c, 1, k, k], both as `fits` has them."""
    out, weight = geometry.empty_out(images), weight.contiguous()
    bias = epilogue.bias.contiguous() if epilogue else None
    limits = (epilogue.low, epilogue.high) if epilogue else (0.0, 0.0)
    DEPTHWISE.launch("depthwise_forward", (images, weight, bias, out), floats(*limits), geometry.numbers(images))
    return out


def backward(
    images: Tensor, grad: Tensor, weight: Tensor, geometry: Geometry, wants: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of images and weight, those that are wanted, in one pass, from the result's [n, c, oh, ow].

    Sums are in fp32.
    """
    weight = weight.contiguous()
    image_grad = torch.empty_like(images, memory_format=torch.channels_last) if wants[0] else None
    weight_grad = torch.empty_like(weight) if wants[1] else None
    tensors = images, grad, weight, image_grad, weight_grad
    DEPTHWISE.launch("depthwise_backward", tensors, geometry.numbers(images))
    return image_grad, weight_grad


@dataclass(frozen=True)
class Layer:
    """A convolution that nobody differentiates, with an activation that clamps its result to `limits`.

    `weight`: float32[out, in, 1, 1] or, depthwise, [c, 1, k, k]; `bias`: float32[out].
    """

    weight: Tensor
    bias: Tensor
    limits: tuple[float, float]


def frozen_block(images: Tensor, layers: Sequence[Layer], geometry: Geometry, *, shortcut: bool) -> Tensor:
    """Convolutions in one pass: 1x1 to more channels (or none, of two layers), depthwise, 1x1 to fewer.

    `images`: float32[n, c, h, w] in channels_last, added to the result if `shortcut`. `geometry` is the depthwise
    one's, which `has_kernel`. The limits of the last layer are not used.
    """
    *expand, depthwise, project = layers
    out = geometry.empty_out(images, len(project.bias))
    parameters = [part.contiguous() for layer in layers for part in (layer.weight, layer.bias)]
    limits = (*(expand[0].limits if expand else (0.0, 0.0)), *depthwise.limits)
    BLOCK.launch(
        *("frozen_block", (images, *(() if expand else (None, None)), *parameters, out)),
        *(images.shape[1], out.shape[1], shortcut, floats(*limits), geometry.numbers(images, len(depthwise.bias))),
    )
    return out
