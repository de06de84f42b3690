"""What 1x1 and 3x3 convolutions that train by other means than oneDNN have in common."""

import functools
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from seedwise.kernels import launch
from seedwise.kernels.dispatch import Candidates, Case, Dispatcher, whole

Run = Callable[..., Tensor]


def dispatched(
    what: str,
    images: Tensor,
    weight: Tensor,
    dispatcher: Dispatcher,
    runs: Mapping[str, Run],
    *given: Tensor,
    operation: str | None = None,
    stride: int = 1,
) -> Tensor:
    """Compute `given` by the one of `runs` that is chosen for images [n, in, h, w] and a weight [out, in, k, k].

    `what`: the case's name, and its operation unless that is given.
    """
    n, inputs, h, w = images.shape
    outputs, _, kernel, _ = weight.shape
    threads = torch.get_num_threads()
    case = Case(operation or what, what, inputs, outputs, h, w, n, threads, kernel, stride)

    def trial() -> tuple[Candidates, int]:
        return whole({name: functools.partial(run, *given) for name, run in runs.items()})

    return runs[dispatcher.choose(case, runs, trial)](*given)


def onednn_forward(images: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution of [n, in, h, w] with [out, in, k, k] and a bias [out], of stride 1, that keeps the maps' size."""
    launch.synchronize()
    return F.conv2d(images, weight, bias, 1, (weight.shape[2] // 2, weight.shape[3] // 2))


def onednn_images_gradient(images: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """The gradient of `onednn_forward`'s images, [n, in, h, w], from the result's, [n, out, h, w]."""
    return _onednn_gradients(images, grad, weight, (True, False, False))[0]


def onednn_weight_gradient(images: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """The gradient of `onednn_forward`'s weight, [out, in, k, k], from the result's, [n, out, h, w]."""
    return _onednn_gradients(images, grad, weight, (False, True, False))[1]


def _onednn_gradients(images: Tensor, grad: Tensor, weight: Tensor, wanted: tuple[bool, ...]) -> tuple[Tensor, ...]:
    launch.synchronize()
    padding = (weight.shape[2] // 2, weight.shape[3] // 2)
    found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        grad, images, weight, None, (1, 1), padding, (1, 1), False, (0, 0), 1, wanted
    )
    return found
