"""Triton kernels for uint8 images, and their launchers.

    normalize(planes, targets, outputs)
    prepare(planes, targets, outputs).launch(planes, outputs)  # the same again, in a few microseconds
    preprocess(sources, targets, device)  # resized and cropped first, each image as each target needs
    denormalize(values, source, output)  # back to pixels
    renormalize(values, source, target, output)  # from one normalisation to another

Only torch, Triton and numpy are needed. Importing this package imports Triton; no CUDA context is made before a launch.
"""

import sys

try:
    from .inverse import denormalize, renormalize
    from .launching import Repeatable
    from .normalize import normalize, prepare
    from .planning import ResizeTarget, Source
    from .resize import preprocess
except ModuleNotFoundError as error:
    if error.name != "triton" or sys.argv[:1] != ["-m"]:
        raise
    # Python is about to run one of this package's tools, which say what is missing instead of where.
    print("fastnorm_kernels: error: Triton is not installed; pip install triton", file=sys.stderr)
    raise SystemExit(2) from None

__all__ = [
    "Repeatable",
    "ResizeTarget",
    "Source",
    "denormalize",
    "normalize",
    "prepare",
    "preprocess",
    "renormalize",
]
