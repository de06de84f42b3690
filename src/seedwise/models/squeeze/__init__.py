"""What squeeze-and-excitation sums up over whole maps in its backward, in C++. CPU, fp32."""

from seedwise.models.squeeze.kernels import available, dots, library_name

__all__ = ["available", "dots", "library_name"]
