"""The candidates for a depthwise convolution and for a frozen block, by name.

- forward: `onednn`, `native`
- a frozen block: `native` (one pass), `layers` (its convolutions, each by its own choice)

A convolution's gradients have none: the kernel that computes both in one pass was the fastest almost everywhere, and
choosing where it wasn't bought less than 1% of a step.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from seedwise.kernels import launch
from seedwise.kernels.dispatch import Candidates, Case, Dispatcher, whole
from seedwise.kernels.ops import depthwise as depthwise_ops
from seedwise.kernels.ops.depthwise import Epilogue, Geometry, Layer

Grads = tuple[Tensor | None, Tensor | None]


def forward(
    images: Tensor, weight: Tensor, geometry: Geometry, dispatcher: Dispatcher, epilogue: Epilogue | None = None
) -> Tensor:
    """The convolution [n, c, oh, ow] of images [n, c, h, w] with a weight [c, 1, k, k], by what `dispatcher` names."""

    def trial() -> tuple[Candidates, int]:
        return {name: partial(_on_part, run, images, weight, geometry) for name, run in _FORWARDS.items()}, len(images)

    name = dispatcher.choose(case_of("depthwise forward", "forward", images, geometry), _FORWARDS, trial)
    return _FORWARDS[name](images, weight, geometry, epilogue)


def frozen_block(
    images: Tensor,
    layers: Sequence[Layer],
    geometry: Geometry,
    dispatcher: Dispatcher,
    by_layers: Callable[[Tensor], Tensor],
    *,
    shortcut: bool,
) -> Tensor:
    """`depthwise.frozen_block` of images [n, c, h, w], or the same by `by_layers(images)`: what `dispatcher` names."""
    runs = {
        "native": lambda: depthwise_ops.frozen_block(images, layers, geometry, shortcut=shortcut),
        "layers": lambda: by_layers(images),
    }

    channels = [images.shape[1], layers[-2].weight.shape[0], layers[-1].weight.shape[0]]
    name = f"block {'-'.join(map(str, channels))}"
    case = case_of("block", name, images, geometry)._replace(outputs=channels[1])
    return runs[dispatcher.choose(case, runs, lambda: whole(runs))]()


def onednn_forward(images: Tensor, weight: Tensor, geometry: Geometry, epilogue: Epilogue | None = None) -> Tensor:
    """PyTorch's convolution of images [n, c, h, w], of a padded copy where padding isn't symmetric."""
    launch.synchronize()
    padded_images, padding = padded(images, geometry)
    result = F.conv2d(padded_images, weight, None, geometry.stride, padding, groups=weight.shape[0])
    return result if epilogue is None else epilogue.apply(result)


def onednn_backward(
    images: Tensor, grad: Tensor, weight: Tensor, geometry: Geometry, wants: tuple[bool, bool]
) -> Grads:
    """PyTorch's gradients of images [n, c, h, w] and weight; they can be differentiated once more."""
    launch.synchronize()
    padded_images, padding = padded(images, geometry)
    stride = (geometry.stride, geometry.stride)
    image_grad, weight_grad, _ = torch.ops.aten.convolution_backward(
        grad, padded_images, weight, None, stride, padding, (1, 1), False, (0, 0), weight.shape[0], (*wants, False)
    )
    if image_grad is not None and padded_images is not images:
        image_grad = F.pad(image_grad, [-geometry.left, -geometry.right, -geometry.top, -geometry.bottom])
    return image_grad, weight_grad


def padded(images: Tensor, geometry: Geometry) -> tuple[Tensor, tuple[int, int]]:
    """Images [n, c, h, w] as a convolution with symmetric padding takes them, and that padding."""
    if geometry.top == geometry.bottom and geometry.left == geometry.right:
        return images, (geometry.top, geometry.left)
    return F.pad(images, [geometry.left, geometry.right, geometry.top, geometry.bottom]), (0, 0)


def _on_part(run: Callable[..., Tensor], images: Tensor, weight: Tensor, geometry: Geometry, n: int) -> Tensor:
    return run(images[:n], weight, geometry)


def case_of(operation: str, name: str, images: Tensor, geometry: Geometry) -> Case:
    """What the fastest implementation for images [n, c, h, w] depends on."""
    n, c, h, w = images.shape
    g, threads = geometry, torch.get_num_threads()
    padding = (g.top, g.left, g.bottom, g.right)
    return Case(operation, name, c, c, h, w, n, threads, g.kernel, g.stride, padding, images.dtype)


_FORWARDS: dict[str, Callable[..., Tensor]] = {"onednn": onednn_forward, "native": depthwise_ops.forward}
