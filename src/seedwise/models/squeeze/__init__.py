"""What squeeze-and-excitation does to whole maps, in C++. CPU, fp32."""

from seedwise.models.squeeze.kernels import available, dots, library_name, means, scale

__all__ = ["available", "dots", "library_name", "means", "scale"]
