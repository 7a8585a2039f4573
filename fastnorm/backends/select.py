"""Which backend serves which device: Triton kernels on CUDA, Pillow and torch on the CPU, eager torch elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fastnorm.backends import eager
from fastnorm.backends.base import Backend, TargetJob
from fastnorm.backends.cpu import backend as cpu
from fastnorm.backends.cpu import native
from fastnorm.backends.cuda import backend as cuda
from fastnorm.images.batch import Images
from fastnorm.spec.normalization import Normalization


def backend_for(device: torch.device) -> Backend:
    """The backend of a device."""
    if cuda.serves(device):
        return cuda
    return cpu if device.type == "cpu" else eager


def normalize(planes: torch.Tensor, normalizations: Sequence[Normalization], outputs: Sequence[torch.Tensor]) -> None:
    """`Backend.normalize` of the backend that serves the tensors' device."""
    backend_for(planes.device).normalize(planes, normalizations, outputs)


def preprocess(images: Images, jobs: Sequence[TargetJob]) -> None:
    """`Backend.preprocess` of the backend that serves the images' device."""
    backend_for(images.device).preprocess(images, jobs)


def denormalize(values: torch.Tensor, source: Normalization, output: torch.Tensor) -> None:
    """`Backend.denormalize` of the backend that serves the tensors' device."""
    backend_for(values.device).denormalize(values, source, output)


def renormalize(values: torch.Tensor, source: Normalization, target: Normalization, output: torch.Tensor) -> None:
    """`Backend.renormalize` of the backend that serves the tensors' device."""
    backend_for(values.device).renormalize(values, source, target, output)


def path_name(device: torch.device) -> str:
    """Which path serves tensors on `device`: "Triton on NVIDIA H200", "native code (avx2) on CPU, 8 threads"."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        return f"Triton on {name}" if cuda.serves(device) else f"eager torch on {name} (Triton missing)"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"{native.path_name()} on CPU, {threads} {'thread' if threads == 1 else 'threads'}"
    return f"eager torch on {device.type}"


def what_would_help(device: torch.device) -> str:
    """What would make calls on `device` faster, for reports; "" where nothing is missing."""
    return native.what_would_help() if device.type == "cpu" else ""
