"""The implementations of a depthwise convolution and of its gradients, by name.

- forward: `onednn`, `native`
- the images' gradient: `onednn`, `native`; of bf16 tensors `fp32` (computed by oneDNN in fp32) instead of `onednn`,
  whose bf16 sums are rounded on the way (2 units in the last place on AVX2) and many times slower
- the weight's: those; where the map is smaller than its kernel `taps` instead of `onednn` and `fp32`, which are a
  reference loop there
- both: `fused` (native, one pass), or two names joined by a plus, the images' first
- a frozen block: `native` (one pass), `layers` (its convolutions, each by its own choice)
"""

from collections.abc import Callable, Hashable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from seedwise import native
from seedwise.models.depthwise import kernels
from seedwise.models.depthwise.choices import Choices, fastest, one_of, seconds_of
from seedwise.models.depthwise.conv import weight_gradient_by_taps
from seedwise.models.depthwise.kernels import Finish, Geometry, Layer

Grads = tuple[Tensor | None, Tensor | None]
FUSED = "fused"


def forward(
    images: Tensor, weight: Tensor, geometry: Geometry, choices: Choices, finish: Finish | None = None
) -> Tensor:
    """The convolution by the implementation that `choices` names."""
    known = {"onednn": onednn_forward, "native": kernels.forward}

    def probe() -> str:
        runs = {name: _on_part(run, images, weight, geometry) for name, run in known.items()}
        return fastest(seconds_of(runs, len(images)))

    def choose() -> str:
        return choices.pick(key_of("forward", images, geometry), one_of(known), probe)

    return known[choices.pick_at(_place("forward", images, geometry), choose)](images, weight, geometry, finish)


def backward(
    images: Tensor, grad: Tensor, weight: Tensor, geometry: Geometry, wants: tuple[bool, bool], choices: Choices
) -> Grads:
    """The wanted gradients of images and weight by the implementations that `choices` names."""
    what = {(True, True): "both", (True, False): "images", (False, True): "weight"}[wants]

    def run(name: str, wanted: tuple[bool, bool], n: int) -> Grads:
        return compute(name, images[:n], grad[:n], weight, geometry, wanted)

    def probe(parts: tuple[list[str], list[str]]) -> str:
        total, joined = 0.0, []
        for i, wanted in enumerate(((True, False), (False, True))):
            if not wants[i]:
                joined.append("-")
                continue
            sides = {name: "+".join([name, "-"][:: 1 - 2 * i]) for name in parts[i]}
            runs = {name: _bind(run, full, wanted) for name, full in sides.items()}
            seconds = seconds_of(runs, len(images))
            joined.append(fastest(seconds))
            total += min(seconds.values())
        if wants != (True, True):
            return "+".join(joined)
        fused = seconds_of({FUSED: _bind(run, FUSED, wants), FUSED + " again": _bind(run, FUSED, wants)}, len(images))
        return FUSED if min(fused.values()) <= total else "+".join(joined)

    def choose() -> str:
        parts = candidates(images, geometry)
        of_images, of_weight = (parts[i] if wants[i] else ["-"] for i in range(2))
        names = {f"{a}+{b}" for a in of_images for b in of_weight} | {FUSED}
        return choices.pick(key_of(what, images, geometry), one_of(names), lambda: probe(parts))

    name = choices.pick_at(_place(what, images, geometry), choose)
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
        "native": lambda: kernels.frozen_block(images, layers, geometry, shortcut=shortcut),
        "layers": lambda: by_layers(images),
    }

    def probe() -> str:
        # Whole batches only: for a part of one, the layers would choose anew.
        return fastest(seconds_of({name: _whole(run) for name, run in runs.items()}, 1))

    channels = "-".join(str(n) for n in (images.shape[1], layers[-2].weight.shape[0], layers[-1].weight.shape[0]))
    return runs[choices.pick(key_of(f"block {channels}", images, geometry), one_of(runs), probe)]()


def compute(
    name: str, images: Tensor, grad: Tensor, weight: Tensor, geometry: Geometry, wants: tuple[bool, bool]
) -> Grads:
    """The wanted gradients by the named implementations: `fused`, or `images'+weight's` with `-` for none."""
    if name == FUSED:
        return kernels.backward(images, grad, weight, geometry, wants)
    of_images, of_weight = name.split("+")
    first = _one(of_images, images, grad, weight, geometry, 0) if wants[0] else None
    second = _one(of_weight, images, grad, weight, geometry, 1) if wants[1] else None
    return first, second


def onednn_forward(images: Tensor, weight: Tensor, geometry: Geometry, finish: Finish | None = None) -> Tensor:
    """PyTorch's convolution, of a padded copy where the padding isn't symmetric."""
    native.settle()
    widened, padding = padded(images, geometry)
    result = F.conv2d(widened, weight, None, geometry.stride, padding, groups=weight.shape[0])
    return result if finish is None else finish.apply(result)


def onednn_backward(
    images: Tensor, grad: Tensor, weight: Tensor, geometry: Geometry, wants: tuple[bool, bool]
) -> Grads:
    """PyTorch's gradients of images and weight; they can be differentiated once more."""
    native.settle()
    widened, padding = padded(images, geometry)
    stride = (geometry.stride, geometry.stride)
    image_grad, weight_grad, _ = torch.ops.aten.convolution_backward(
        grad, widened, weight, None, stride, padding, (1, 1), False, (0, 0), weight.shape[0], (*wants, False)
    )
    if image_grad is not None and widened is not images:
        image_grad = F.pad(image_grad, [-geometry.left, -geometry.right, -geometry.top, -geometry.bottom])
    return image_grad, weight_grad


def _one(name: str, images: Tensor, grad: Tensor, weight: Tensor, geometry: Geometry, which: int) -> Tensor | None:
    wants = (which == 0, which == 1)
    if name == "native":
        return kernels.backward(images, grad, weight, geometry, wants)[which]
    if name == "onednn":
        return onednn_backward(images, grad, weight, geometry, wants)[which]
    native.settle()
    wide_weight = weight.float()
    # the values of the images don't enter their own gradient
    wide = images.float() if which == 1 else torch.empty_like(images, dtype=torch.float32)
    if name == "taps":
        widened, padding = padded(wide, geometry)
        kernel, stride = (geometry.kernel,) * 2, (geometry.stride,) * 2
        return weight_gradient_by_taps(widened, grad.float(), kernel, stride, padding).to(weight.dtype)
    result = onednn_backward(wide, grad.float(), wide_weight, geometry, wants)[which]
    return None if result is None else result.to(weight.dtype)


def padded(images: Tensor, geometry: Geometry) -> tuple[Tensor, tuple[int, int]]:
    """What a convolution with symmetric padding takes instead, and that padding."""
    if geometry.top == geometry.bottom and geometry.left == geometry.right:
        return images, (geometry.top, geometry.left)
    return F.pad(images, [geometry.left, geometry.right, geometry.top, geometry.bottom]), (0, 0)


def candidates(images: Tensor, geometry: Geometry) -> tuple[list[str], list[str]]:
    """Names for the images' gradient and for the weight's."""
    stock = ["onednn" if images.dtype == torch.float32 else "fp32"]
    is_small = min(images.shape[2:]) < geometry.kernel
    return [*stock, "native"], ["taps" if is_small else stock[0], "native"]


def _bind(
    run: Callable[[str, tuple[bool, bool], int], object], name: str, wants: tuple[bool, bool]
) -> Callable[[int], object]:
    return lambda n: run(name, wants, n)


def _whole(run: Callable[[], object]) -> Callable[[int], object]:
    return lambda _: run()


def _on_part(
    run: Callable[[Tensor, Tensor, Geometry], Tensor], images: Tensor, weight: Tensor, geometry: Geometry
) -> Callable[[int], object]:
    return lambda n: run(images[:n], weight, geometry)


def _place(what: str, images: Tensor, geometry: Geometry) -> tuple[Hashable, ...]:
    """What `key_of` tells apart, and more, without putting it in words."""
    return what, images.shape, images.dtype, geometry, torch.get_num_threads()


def key_of(what: str, images: Tensor, geometry: Geometry) -> str:
    """What the fastest implementation depends on.

    The number of images is rounded up to a power of two: batches of an epoch differ by an image, and each would have a
    probe of its own, while the winner depends only on how much of the data stays in the cache.
    """
    n, c, h, w = images.shape
    padding = ".".join(map(str, (geometry.top, geometry.left, geometry.bottom, geometry.right)))
    dtype = str(images.dtype).removeprefix("torch.")
    rounded = 1 << (n - 1).bit_length()
    return (
        f"{what} {geometry.kernel}x{geometry.kernel}/{geometry.stride} pad {padding} {c}x{h}x{w} "
        f"n{rounded} {dtype} t{torch.get_num_threads()}"
    )
