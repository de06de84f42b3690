"""The implementations of a depthwise convolution and of its gradients, by name.

- forward: `onednn`, `native`
- the images' gradient: `onednn`, `native`; of bf16 tensors `fp32` (computed by oneDNN in fp32) instead of `onednn`,
  whose bf16 sums are rounded on the way (2 units in the last place on AVX2) and many times slower
- the weight's: those; where the map is smaller than its kernel `taps` instead of `onednn` and `fp32`, which are a
  reference loop there
- both: `fused` (native, one pass), or two names joined by a plus, the images' first
- a frozen block: `native` (one pass), `layers` (its convolutions, each by its own choice)
"""

from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from seedwise.kernels import launch
from seedwise.kernels.dispatch import Candidates, Case, Choices, whole
from seedwise.kernels.ops import depthwise as depthwise_ops
from seedwise.kernels.ops.depthwise import Epilogue, Geometry, Layer
from seedwise.kernels.ops.taps import weight_gradient_by_taps

Grads = tuple[Tensor | None, Tensor | None]
FUSED = "fused"


def forward(
    images: Tensor, weight: Tensor, geometry: Geometry, choices: Choices, epilogue: Epilogue | None = None
) -> Tensor:
    """The convolution by the implementation that `choices` names."""

    def trial() -> tuple[Candidates, int]:
        return {name: partial(_on_part, run, images, weight, geometry) for name, run in _FORWARDS.items()}, len(images)

    name = choices.pick(case_of("depthwise forward", "forward", images, geometry), _FORWARDS, trial)
    return _FORWARDS[name](images, weight, geometry, epilogue)


def backward(
    images: Tensor, grad: Tensor, weight: Tensor, geometry: Geometry, wants: tuple[bool, bool], choices: Choices
) -> Grads:
    """The wanted gradients of images and weight by the implementations that `choices` names."""
    what = {(True, True): "both", (True, False): "images", (False, True): "weight"}[wants]

    def run(name: str, n: int) -> Grads:
        return compute(name, images[:n], grad[:n], weight, geometry, wants)

    def trial() -> tuple[Candidates, int]:
        return {name: partial(run, name) for name in names}, len(images)

    names = candidates(images, geometry, wants)
    name = choices.pick(case_of(f"depthwise {what}", what, images, geometry), names, trial)
    return compute(name, images, grad, weight, geometry, wants)


def frozen_block(
    images: Tensor,
    layers: Sequence[Layer],
    geometry: Geometry,
    choices: Choices,
    by_layers: Callable[[Tensor], Tensor],
    *,
    shortcut: bool,
) -> Tensor:
    """`kernels.frozen_block`, or `by_layers(images)`, which computes the same, by what `choices` names."""
    runs = {
        "native": lambda: depthwise_ops.frozen_block(images, layers, geometry, shortcut=shortcut),
        "layers": lambda: by_layers(images),
    }

    channels = [images.shape[1], layers[-2].weight.shape[0], layers[-1].weight.shape[0]]
    name = f"block {'-'.join(map(str, channels))}"
    case = case_of("block", name, images, geometry)._replace(outputs=channels[1])
    return runs[choices.pick(case, runs, lambda: whole(runs))]()


def compute(
    name: str, images: Tensor, grad: Tensor, weight: Tensor, geometry: Geometry, wants: tuple[bool, bool]
) -> Grads:
    """The wanted gradients by the named implementations: `fused`, or `images'+weight's` with `-` for none."""
    if name == FUSED:
        return depthwise_ops.backward(images, grad, weight, geometry, wants)
    of_images, of_weight = name.split("+")
    first = _one(of_images, images, grad, weight, geometry, 0) if wants[0] else None
    second = _one(of_weight, images, grad, weight, geometry, 1) if wants[1] else None
    return first, second


def onednn_forward(images: Tensor, weight: Tensor, geometry: Geometry, epilogue: Epilogue | None = None) -> Tensor:
    """PyTorch's convolution, of a padded copy where the padding isn't symmetric."""
    launch.synchronize()
    padded_images, padding = padded(images, geometry)
    result = F.conv2d(padded_images, weight, None, geometry.stride, padding, groups=weight.shape[0])
    return result if epilogue is None else epilogue.apply(result)


def onednn_backward(
    images: Tensor, grad: Tensor, weight: Tensor, geometry: Geometry, wants: tuple[bool, bool]
) -> Grads:
    """PyTorch's gradients of images and weight; they can be differentiated once more."""
    launch.synchronize()
    padded_images, padding = padded(images, geometry)
    stride = (geometry.stride, geometry.stride)
    image_grad, weight_grad, _ = torch.ops.aten.convolution_backward(
        grad, padded_images, weight, None, stride, padding, (1, 1), False, (0, 0), weight.shape[0], (*wants, False)
    )
    if image_grad is not None and padded_images is not images:
        image_grad = F.pad(image_grad, [-geometry.left, -geometry.right, -geometry.top, -geometry.bottom])
    return image_grad, weight_grad


def _one(name: str, images: Tensor, grad: Tensor, weight: Tensor, geometry: Geometry, which: int) -> Tensor | None:
    wants = (which == 0, which == 1)
    if name == "native":
        return depthwise_ops.backward(images, grad, weight, geometry, wants)[which]
    if name == "onednn":
        return onednn_backward(images, grad, weight, geometry, wants)[which]
    launch.synchronize()
    # the values of the images don't enter their own gradient
    images32 = images.float() if which == 1 else torch.empty_like(images, dtype=torch.float32)
    if name == "taps":
        padded_images, padding = padded(images32, geometry)
        kernel, stride = (geometry.kernel,) * 2, (geometry.stride,) * 2
        return weight_gradient_by_taps(padded_images, grad.float(), kernel, stride, padding).to(weight.dtype)
    result = onednn_backward(images32, grad.float(), weight.float(), geometry, wants)[which]
    return None if result is None else result.to(weight.dtype)


def padded(images: Tensor, geometry: Geometry) -> tuple[Tensor, tuple[int, int]]:
    """What a convolution with symmetric padding takes instead, and that padding."""
    if geometry.top == geometry.bottom and geometry.left == geometry.right:
        return images, (geometry.top, geometry.left)
    return F.pad(images, [geometry.left, geometry.right, geometry.top, geometry.bottom]), (0, 0)


def candidates(images: Tensor, geometry: Geometry, wants: tuple[bool, bool] = (True, True)) -> tuple[str, ...]:
    """Names for the wanted gradients."""
    stock = "onednn" if images.dtype == torch.float32 else "fp32"
    is_small = min(images.shape[2:]) < geometry.kernel
    return _candidates(stock, "taps" if is_small else stock, wants)


@cache
def _candidates(of_images: str, of_weight: str, wants: tuple[bool, bool]) -> tuple[str, ...]:
    first = [of_images, "native"] if wants[0] else ["-"]
    second = [of_weight, "native"] if wants[1] else ["-"]
    joined = [f"{a}+{b}" for a in first for b in second]
    return (FUSED, *joined) if all(wants) else tuple(joined)


def _on_part(run: Callable[..., Tensor], images: Tensor, weight: Tensor, geometry: Geometry, n: int) -> Tensor:
    return run(images[:n], weight, geometry)


def case_of(operation: str, name: str, images: Tensor, geometry: Geometry) -> Case:
    """What the fastest implementation depends on."""
    n, c, h, w = images.shape
    g, threads = geometry, torch.get_num_threads()
    padding = (g.top, g.left, g.bottom, g.right)
    return Case(operation, name, c, c, h, w, n, threads, g.kernel, g.stride, padding, images.dtype)


_FORWARDS: dict[str, Callable[..., Tensor]] = {"onednn": onednn_forward, "native": depthwise_ops.forward}
