"""The weight gradient of a depthwise convolution by a sum over its taps: PyTorch alone, any type and device."""

from collections.abc import Iterator

from torch import Tensor


def _overlap(tap: int, padding: int, stride: int, extent: int, out_extent: int) -> tuple[slice, slice] | None:
    """Along one axis: which outputs a kernel tap contributes to, and the inputs it reads for them. None: neither."""
    first = max(0, -((tap - padding) // stride))
    last = min(out_extent - 1, (extent - 1 - tap + padding) // stride)
    if last < first:
        return None
    start = first * stride + tap - padding
    return slice(first, last + 1), slice(start, (last - first) * stride + start + 1, stride)


def _taps(kernel: int, padding: int, stride: int, extent: int, out_extent: int) -> Iterator[tuple[int, slice, slice]]:
    for tap in range(kernel):
        overlap = _overlap(tap, padding, stride, extent, out_extent)
        if overlap is not None:
            yield tap, *overlap


def weight_gradient_by_taps(
    images: Tensor, grad: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """The weight gradient [c, 1, kh, kw] of a depthwise convolution: one multiply-and-sum over n, h, w for each tap.

    `images`: float[n, c, h, w]; `grad`: float[n, c, oh, ow], the gradient of the output.
    """
    weight_grad = images.new_zeros(images.shape[1], 1, *kernel)
    (h, w), (oh, ow) = images.shape[2:], grad.shape[2:]
    for i, out_rows, rows in _taps(kernel[0], padding[0], stride[0], h, oh):
        for j, out_columns, columns in _taps(kernel[1], padding[1], stride[1], w, ow):
            product = grad[:, :, out_rows, out_columns] * images[:, :, rows, columns]
            weight_grad[:, 0, i, j] = product.sum(dim=(0, 2, 3))
    return weight_grad
