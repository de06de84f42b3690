"""1x1 convolutions that train by matrix products. CPU, fp32."""

from seedwise.models.pointwise.conv import PointwiseConv, backward, forward, product, use_matrix_products
from seedwise.models.pointwise.kernels import available, library_name
from seedwise.models.pointwise.kernels import forward as split

__all__ = [
    "PointwiseConv",
    "available",
    "backward",
    "forward",
    "library_name",
    "product",
    "split",
    "use_matrix_products",
]
