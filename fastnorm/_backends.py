"""Which code serves which device: Triton kernels on CUDA, the cache-blocked path on the CPU, eager torch elsewhere."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

import torch
from torch.autograd.graph import increment_version

from fastnorm import _cpu, reference
from fastnorm._branch import Branch
from fastnorm._images import Images
from fastnorm._normalization import Normalization
from fastnorm._resampling import coefficients
from fastnorm._resize_reference import resize_and_crop

Constants = tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...]


def kernels_for(tensor: torch.Tensor) -> ModuleType | None:
    """The kernel package if it serves this tensor's device."""
    return triton_kernels() if tensor.is_cuda else None


def write(planes: torch.Tensor, targets: Sequence[Normalization], outputs: Sequence[torch.Tensor]) -> None:
    """Fill every target's output from a checked (..., 3, H, W) view."""
    kernels = kernels_for(planes)
    if kernels is not None:
        kernels.normalize(planes, constants(targets), outputs)
        increment_version(outputs)  # autograd learns of a write that torch has not seen
    elif planes.device.type == "cpu":
        _cpu.normalize(planes, targets, outputs)
    else:
        values = reference.eager(planes, targets, [output.dtype for output in outputs])
        for output, value in zip(outputs, values, strict=True):
            output.copy_(value)


def preprocess(pictures: Images, branches: Sequence[Branch]) -> None:
    """Fill every branch's output from checked pictures, at least one."""
    kernels = triton_kernels() if pictures.device.type == "cuda" else None
    if kernels is not None:
        launch_preprocess(kernels, pictures, branches)
    elif pictures.device.type == "cpu":
        from fastnorm._preprocess_cpu import preprocess as preprocess_on_cpu  # imports PIL

        preprocess_on_cpu(pictures.views(), branches)
    else:
        preprocess_eagerly(pictures, branches)


def launch_preprocess(kernels: ModuleType, pictures: Images, branches: Sequence[Branch]) -> None:
    """The Triton path."""
    jobs = [
        kernels.Branch(
            filter=branch.kernel,
            coefficients=functools.partial(coefficients, kernel=branch.kernel),
            mean=branch.normalization.mean,
            std=branch.normalization.std,
            geometries=branch.geometries,
            output=branch.output,
        )
        for branch in branches
    ]
    kernels.preprocess(pictures.places(), jobs, pictures.device)
    increment_version([branch.output for branch in branches])


def preprocess_eagerly(pictures: Images, branches: Sequence[Branch]) -> None:
    """The reference: pure torch, in integers up to the normalisation."""
    for branch in branches:
        for index, (image, geometry) in enumerate(zip(pictures.as_tensors(), branch.geometries, strict=True)):
            codes = resize_and_crop(image, geometry, branch.kernel).movedim(-1, 0)
            (values,) = reference.eager(codes, [branch.normalization], [branch.output.dtype])
            branch.output[index].copy_(values)


def constants(targets: Sequence[Normalization]) -> Constants:
    """The targets as the kernel package takes them: plain numbers."""
    return tuple((target.mean, target.std) for target in targets)


@functools.cache
def triton_kernels() -> ModuleType | None:
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


def path_name(device: torch.device) -> str:
    """Which path serves tensors on `device`, for reports: "Triton on NVIDIA H200", "torch on CPU, 8 threads"."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        return f"Triton on {name}" if triton_kernels() is not None else f"eager torch on {name} (Triton missing)"
    if device.type == "cpu":
        return f"torch on CPU, {torch.get_num_threads()} threads"
    return f"eager torch on {device.type}"
