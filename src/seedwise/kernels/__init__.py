"""C++ kernels for CPUs: `csrc` -> `ops` -> `layers` -> `blocks` -> `swap` (training) and `evaluation`."""
