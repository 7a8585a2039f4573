"""Triton kernels for uint8 images, and their launchers.

    normalize(planes, targets, outputs)
    prepare(planes, targets, outputs).launch(planes, outputs)  # the same again, in a few microseconds

Only torch and Triton are needed. Importing this package imports Triton; no CUDA context is made before a launch.
"""

from fastnorm_kernels.launching import Repeatable
from fastnorm_kernels.normalize import normalize, prepare

__all__ = ["Repeatable", "normalize", "prepare"]
