"""Layers that train by kernels, in place of PyTorch's and timm's."""
