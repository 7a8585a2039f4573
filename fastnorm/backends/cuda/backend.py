"""The `Backend` of CUDA devices: hands checked arguments to the kernel package, which knows nothing of this one."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

import torch
from torch.autograd.graph import increment_version

from fastnorm.backends.base import TargetJob
from fastnorm.images.batch import Images
from fastnorm.spec.filters import coefficients
from fastnorm.spec.normalization import Normalization
from fastnorm.spec.options import Order

Constants = tuple[tuple[tuple[float, float, float], tuple[float, float, float], Order], ...]


def serves(device: torch.device) -> bool:
    """Whether this backend's kernels run on `device`, and Triton is there."""
    return device.type == "cuda" and kernels() is not None


def normalize(planes: torch.Tensor, normalizations: Sequence[Normalization], outputs: Sequence[torch.Tensor]) -> None:
    """Fill every output from a uint8 view (..., 3, H, W)."""
    package = kernels()
    assert package is not None, "without Triton, another backend is selected"
    package.normalize(planes, constants(normalizations), outputs)
    increment_version(outputs)  # autograd learns of a write that torch has not seen


def preprocess(images: Images, jobs: Sequence[TargetJob]) -> None:
    """Fill every job's output."""
    package = kernels()
    assert package is not None, "without Triton, another backend is selected"
    launch_preprocess(package, images, jobs)


def launch_preprocess(package: ModuleType, images: Images, jobs: Sequence[TargetJob]) -> None:
    """`preprocess` by a given kernel package."""
    branches = [
        package.ResizeTarget(
            filter=job.resample,
            coefficients=functools.partial(coefficients, resample=job.resample),
            mean=job.normalization.mean,
            std=job.normalization.std,
            geometries=job.geometries,
            output=job.output,
            order=job.normalization.order,
        )
        for job in jobs
    ]
    package.preprocess(images.places(), branches, images.device, keep_plan=all(job.is_shared for job in jobs))
    increment_version([job.output for job in jobs])


def constants(normalizations: Sequence[Normalization]) -> Constants:
    """The normalisations as the kernel package takes them: plain numbers, and the order's name."""
    return tuple((normalization.mean, normalization.std, normalization.order) for normalization in normalizations)


@functools.cache
def kernels() -> ModuleType | None:
    """The kernel package, or None, with one warning, where Triton is not installed."""
    try:
        import fastnorm_kernels
    except ImportError as error:
        warnings.warn(
            f"CUDA tensors take the slower torch path because Triton cannot be imported ({error}); pip install triton",
            RuntimeWarning,
            stacklevel=_level_of_caller(),
        )
        return None
    return fastnorm_kernels


def _level_of_caller() -> int:
    """The `stacklevel` with which the calling function's warning names the line outside of this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "fastnorm":
        level, frame = level + 1, frame.f_back
    return level
