"""What augmentation spends its time on: on a CPU by native kernels, elsewhere by torch.

Those are copies of pixels by line numbers, their normalization, and the places that affine maps read from. Both give
the same bits. Results are in channels_last, which the rest of augmentation and training works on, but for what torch
looks up by lines of each image's own: that is as it comes.
"""

import torch
from torch import Tensor

from seedwise.base.devices import launches_cost
from seedwise.kernels.library import KernelLibrary, int64s

KERNELS = KernelLibrary(
    "pixels.cpp",
    {
        "pixels_look_up": "images: u8 strided, rows: i64, columns: i64, out: u8 maps; "
        "strides: int64[], shape: int64[], steps: int64[]",
        "pixels_normalize": "pixels: u8, offset: f32, scale: f32, out: f32; lines: int64, count: int64",
        "pixels_places": "along: f32, down: f32, shift: f32, places: f32; n: int64, height: int64, width: int64",
    },
)


def _has_kernels(images: Tensor) -> bool:
    return not launches_cost(images.device) and KERNELS.available()


def look_up(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`images[i, :, rows[i, y], columns[i, x]]`, uint8[n, c, height, width].

    `images`: uint8[n, c, h, w]. `rows`: int64[n, height] from 0 to h - 1, `columns`: int64[n, width] from 0 to w - 1,
    or [1, ...] for all images, on their device. The numbers are not checked.
    """
    if not _has_kernels(images):
        return _look_up_by_torch(images, rows, columns)
    n, c = images.shape[:2]
    rows, columns = rows.contiguous(), columns.contiguous()
    shape = (n, c, rows.shape[1], columns.shape[1])
    found = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
    steps = (0 if len(lines) == 1 else lines.shape[1] for lines in (rows, columns))
    numbers = int64s(*images.stride()), int64s(*shape), int64s(*steps)
    KERNELS.launch("pixels_look_up", (images, rows, columns, found), *numbers)
    return found


def _look_up_by_torch(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    n, c, h, w = images.shape
    height, width = rows.shape[1], columns.shape[1]
    if len(rows) != 1 or len(columns) != 1:
        places = rows[:, :, None] * w + columns[:, None, :]
        found = images.reshape(n, c, h * w).gather(2, places.view(len(places), 1, -1).expand(n, c, -1))
        return found.view(n, c, height, width)
    pixels = images.permute(0, 2, 3, 1)
    if height >= h and width >= w:  # rows are longer than pixels: what is repeated most is copied in the largest pieces
        found = pixels.index_select(2, columns[0]).index_select(1, rows[0])
    else:
        places = (rows[0, :, None] * w + columns[0]).flatten()
        found = pixels.reshape(n, h * w, c).index_select(1, places).view(n, height, width, c)
    return found.permute(0, 3, 1, 2)


def normalize(images: Tensor, offset: Tensor, scale: Tensor) -> Tensor:
    """`(images - offset) * scale`, float32[n, c, h, w] in channels_last, from uint8[n, c, h, w] and float32[c]."""
    if launches_cost(images.device):
        return torch.sub(images.permute(0, 2, 3, 1), offset).mul_(scale).permute(0, 3, 1, 2)
    n, c, h, w = images.shape
    # One line of pixels is one contiguous vector, 4 times as fast as broadcasting over c = 3.
    lines = images.permute(0, 2, 3, 1).reshape(n * h, w * c)
    offset, scale = offset.repeat(w), scale.repeat(w)
    if _has_kernels(images):
        normalized = torch.empty(lines.shape)
        KERNELS.launch("pixels_normalize", (lines, offset, scale, normalized), *lines.shape)
    else:
        normalized = lines.float().sub_(offset).mul_(scale)
    return normalized.view(n, h, w, c).permute(0, 3, 1, 2)


def places(along: Tensor, down: Tensor, shift: Tensor) -> Tensor:
    """`along[i, x] + down[i, y] + shift[i]`, added in this order: float32[n, h, w, 2].

    Those are float32[n, w, 2], float32[n, h, 2] and float32[n, 2].
    """
    if not _has_kernels(along):
        return along[:, None] + down[:, :, None] + shift[:, None, None]
    n, w, h = *along.shape[:2], down.shape[1]
    found = torch.empty(n, h, w, 2)
    KERNELS.launch("pixels_places", (along.contiguous(), down.contiguous(), shift.contiguous(), found), n, h, w)
    return found
