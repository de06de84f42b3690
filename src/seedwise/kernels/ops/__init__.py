"""Functions of tensors that call a kernel, and the implementations to choose from."""
