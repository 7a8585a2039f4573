"""Triton kernels for uint8 images, and their launchers.

    normalize(planes, targets, outputs)
    prepare(planes, targets, outputs).launch(planes, outputs)  # the same again, in a few microseconds
    preprocess(sources, branches, device)  # resized and cropped first, each image and each branch as it needs

Only torch and Triton are needed. Importing this package imports Triton; no CUDA context is made before a launch.
"""

from .launching import Repeatable
from .normalize import normalize, prepare
from .resize import Branch, Source, preprocess

__all__ = ["Branch", "Repeatable", "Source", "normalize", "prepare", "preprocess"]
