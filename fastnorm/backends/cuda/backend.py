"""The `Backend` of CUDA devices: hands checked arguments to the kernel package, which knows nothing of this one."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

import torch
from torch.autograd.graph import increment_version

from fastnorm.backends import eager
from fastnorm.backends.base import TargetJob
from fastnorm.backends.staging import in_stages
from fastnorm.images.batch import Images
from fastnorm.spec.filters import coefficients
from fastnorm.spec.normalization import Normalization
from fastnorm.spec.options import Order
from fastnorm.spec.padding import Pad

Triple = tuple[float, float, float]
Constants = tuple[tuple[Triple, Triple, Order], ...]


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
    """Fill every job's output: the last steps by the kernels, those before them by eager torch on the device."""
    package = kernels()
    assert package is not None, "without Triton, another backend is selected"
    launch_preprocess(package, images, jobs)


def denormalize(values: torch.Tensor, source: Normalization, output: torch.Tensor) -> None:
    """Fill a uint8 or float output from normalised values (..., 3, H, W)."""
    package = kernels()
    assert package is not None, "without Triton, another backend is selected"
    package.denormalize(values, _mean_and_std(source), output)
    increment_version([output])


def renormalize(values: torch.Tensor, source: Normalization, target: Normalization, output: torch.Tensor) -> None:
    """Fill a float output from values (..., 3, H, W) of another normalisation."""
    package = kernels()
    assert package is not None, "without Triton, another backend is selected"
    package.renormalize(values, _mean_and_std(source), _mean_and_std(target), output)
    increment_version([output])


def launch_preprocess(package: ModuleType, images: Images, jobs: Sequence[TargetJob]) -> None:
    """`preprocess` by a given kernel package."""
    in_stages(images, jobs, eager.steps, functools.partial(_launch, package))


def _launch(package: ModuleType, images: Images, jobs: Sequence[TargetJob]) -> None:
    for job in jobs:
        _fill_borders(job)
    targets = [
        package.ResizeTarget(
            filter=job.resample,
            coefficients=functools.partial(coefficients, resample=job.resample),
            mean=job.normalization.mean,
            std=job.normalization.std,
            geometries=job.geometries,
            output=job.output,
            order=job.normalization.order,
            is_bgr=job.is_bgr,
        )
        for job in jobs
    ]
    package.preprocess(images.places(), targets, images.device, keep_plan=all(job.is_shared for job in jobs))
    increment_version([job.output for job in jobs])


def _fill_borders(job: TargetJob) -> None:
    """Fill outputs in which something is not written that is not black, all over, with what is to be seen there."""
    pads = {g.pad for g in job.geometries if g.is_padded and g.pad.mode == "constant" and not g.pad.is_black}
    for pad in pads:  # the target's: one, or none
        values = _border_values(job.normalization, pad)
        for channel, value in enumerate(reversed(values) if job.is_bgr else values):
            job.output[:, channel].fill_(value)


@functools.lru_cache(maxsize=256)
def _border_values(normalization: Normalization, pad: Pad) -> list[float]:
    """What the output shows around the image, in float32: `fill_` rounds it to the output's dtype."""
    if pad.value is not None:
        values = torch.tensor(pad.value, dtype=torch.float32, device="cpu")
    else:
        codes = torch.tensor(pad.fill, dtype=torch.uint8, device="cpu").view(3, 1, 1)
        (values,) = eager.normalized(codes, [normalization], [torch.float32])
    return [float(value) for value in values.flatten().tolist()]


def constants(normalizations: Sequence[Normalization]) -> Constants:
    """The normalisations as the kernel package takes them: plain numbers, and the order's name."""
    return tuple((normalization.mean, normalization.std, normalization.order) for normalization in normalizations)


def _mean_and_std(normalization: Normalization) -> tuple[Triple, Triple]:
    return normalization.mean, normalization.std


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
