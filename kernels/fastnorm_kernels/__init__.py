"""Triton kernels for uint8 images, and their launchers.

    normalize(planes, targets, outputs)

Only torch and Triton are needed. Importing this package imports Triton; no CUDA context is made before a launch.
"""

from fastnorm_kernels.normalize import normalize

__all__ = ["normalize"]
