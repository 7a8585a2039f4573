"""The way back on the CPU: by the native code, or by torch where that is missing or cannot take the tensors."""

from __future__ import annotations

import torch

from fastnorm.backends.cpu import native, torch_inverse
from fastnorm.backends.cpu.batches import as_batches
from fastnorm.spec.normalization import Normalization


def denormalize(values: torch.Tensor, source: Normalization, output: torch.Tensor) -> None:
    """`Backend.denormalize`."""
    engine = native.engine()
    for part, result in as_batches((values, output)):
        if engine is not None and engine.can_invert(part, result):
            engine.denormalize(part, source, result)
        else:
            torch_inverse.denormalize(part, source, result)


def renormalize(values: torch.Tensor, source: Normalization, target: Normalization, output: torch.Tensor) -> None:
    """`Backend.renormalize`."""
    engine = native.engine()
    for part, result in as_batches((values, output)):
        if engine is not None and engine.can_invert(part, result):
            engine.renormalize(part, source, target, result)
        else:
            torch_inverse.renormalize(part, source, target, result)
