"""Squeeze-and-excitation, a training step forward and backward, in C++. CPU, fp32, with SiLU and sigmoid."""

from seedwise.models.squeeze.kernels import available, backward, forward, library_name

__all__ = ["available", "backward", "forward", "library_name"]
