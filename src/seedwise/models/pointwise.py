"""1x1 convolutions as matrix products, where these are faster than oneDNN's convolution. CPU, fp32, channels_last.

In channels_last a 1x1 convolution is one product of [pixels, in] and [in, out], without a copy. oneDNN's convolution
is as fast forward, but takes up to twice as long for the weight's gradient (AMD Zen 3: 2.7 against 1.3 ms for 512
pixels, 192 to 1152 channels), and 30 times as long for the maps of one pixel in squeeze-excite layers; it also returns
that gradient in a layout that is copied again. What is faster is tried for each shape (see depthwise/choices.py).
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from seedwise.models.depthwise.choices import Choices, fastest, one_of, seconds_of

Run = Callable[[], Tensor]


class _Pointwise(Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, choices: Choices) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.choices = choices
        return _pick("forward", images, weight, choices, _forward(images, weight, bias))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        images, weight = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        wants_images, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        of_images = of_weight = None
        if wants_images:
            of_images = _pick("images", images, weight, ctx.choices, _images_gradient(images, grad, weight))
        if wants_weight:
            of_weight = _pick("weight", images, weight, ctx.choices, _weight_gradient(images, grad, weight))
        return of_images, of_weight, _rows(grad).sum(0) if wants_bias else None, None


class _PointwiseConv(nn.Conv2d):
    choices: Choices

    def forward(self, input: Tensor) -> Tensor:
        """float[n, in, h, w] -> float[n, out, h, w]."""
        if not _takes(self, input):
            return super().forward(input)
        result: Tensor = _Pointwise.apply(input, self.weight, self.bias, self.choices)
        return result


def use_matrix_products(model: nn.Module, choices: Choices) -> int:
    """Let a model's 1x1 convolutions train by matrix products where these are faster, in place; returns how many.

    Parameters, their names and evaluation stay. Strided, grouped and padded ones, and other layouts, types and devices
    than channels_last, fp32 and CPU, stay as they are.
    """
    count = 0
    for module in model.modules():
        if type(module) is nn.Conv2d and _fits(module):
            module.__class__ = _PointwiseConv
            module.choices = choices  # type: ignore[assignment]
            count += 1
    return count


def _fits(conv: nn.Conv2d) -> bool:
    plain = conv.groups == 1 and tuple(conv.stride) == (1, 1) and conv.padding in ((0, 0), 0)
    return plain and tuple(conv.kernel_size) == (1, 1)


def _takes(conv: nn.Conv2d, images: Tensor) -> bool:
    """Whether this is a plain training step; compilers, tracers and whatever has its own tensors see a convolution."""
    return (
        torch.is_grad_enabled()
        and (images.requires_grad or conv.weight.requires_grad)
        and type(images) is Tensor
        and images.device.type == "cpu"
        and images.dtype == conv.weight.dtype == torch.float32
        and images.dim() == 4
        and images.numel() > 0
        and images.is_contiguous(memory_format=torch.channels_last)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    )


def _pick(what: str, images: Tensor, weight: Tensor, choices: Choices, runs: dict[str, Run]) -> Tensor:
    n, inputs, h, w = images.shape
    rounded = 1 << (n - 1).bit_length()  # batches of an epoch differ by an image: not a probe for each
    key = f"pointwise {what} {inputs}>{weight.shape[0]} {h}x{w} n{rounded} t{torch.get_num_threads()}"
    whole = {name: lambda _images, run=run: run() for name, run in runs.items()}
    return runs[choices.pick(key, one_of(runs), lambda: fastest(seconds_of(whole, 1)))]()


def _forward(images: Tensor, weight: Tensor, bias: Tensor | None) -> dict[str, Run]:
    rows, matrix = _rows(images), weight.reshape(weight.shape[:2])

    def product() -> Tensor:
        maps = _maps(images, len(matrix))
        if bias is None:
            torch.mm(rows, matrix.t(), out=_rows(maps))
        else:
            torch.addmm(bias, rows, matrix.t(), out=_rows(maps))
        return maps

    return {"onednn": lambda: F.conv2d(images, weight, bias), "product": product}


def _images_gradient(images: Tensor, grad: Tensor, weight: Tensor) -> dict[str, Run]:
    def product() -> Tensor:
        maps = _maps(images, images.shape[1])
        torch.mm(_rows(grad), weight.reshape(weight.shape[:2]), out=_rows(maps))
        return maps

    return {"onednn": lambda: _onednn(images, grad, weight, 0), "product": product}


def _weight_gradient(images: Tensor, grad: Tensor, weight: Tensor) -> dict[str, Run]:
    return {
        "onednn": lambda: _onednn(images, grad, weight, 1),
        "product": lambda: (_rows(grad).t() @ _rows(images)).view(weight.shape),
    }


def _onednn(images: Tensor, grad: Tensor, weight: Tensor, which: int) -> Tensor:
    wanted = (which == 0, which == 1, False)
    found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        grad, images, weight, None, (1, 1), (0, 0), (1, 1), False, (0, 0), 1, wanted
    )
    return found[which]


def _rows(maps: Tensor) -> Tensor:
    """channels_last [n, c, h, w] as [n * h * w, c], without a copy."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _maps(like: Tensor, channels: int) -> Tensor:
    """Room for a result; its own tensor, not a view of a product's, so that an activation may change it in place."""
    n, _, h, w = like.shape
    return torch.empty((n, channels, h, w), memory_format=torch.channels_last)
