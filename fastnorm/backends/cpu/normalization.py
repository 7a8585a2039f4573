"""Normalising on the CPU: by the native code, or by torch where that is missing or cannot take the tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fastnorm.backends.cpu import native, torch_normalization
from fastnorm.backends.cpu.batches import as_batches
from fastnorm.spec.normalization import Normalization


def normalize(planes: torch.Tensor, targets: Sequence[Normalization], outputs: Sequence[torch.Tensor]) -> None:
    """Write every target's output; `planes` and the outputs are (..., 3, H, W) on the CPU, with any strides."""
    engine = native.engine()
    for part, *results in as_batches((planes, *outputs)):
        if engine is not None and engine.can_normalize(part, results):
            engine.normalize(part, targets, results)
        else:
            torch_normalization.normalize(part, targets, results)
