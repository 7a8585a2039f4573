"""Normalising on the CPU: by the native code, or by torch where that is missing or cannot take the tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fastnorm.backends.cpu import native, torch_normalization
from fastnorm.spec.normalization import Normalization


def normalize(planes: torch.Tensor, targets: Sequence[Normalization], outputs: Sequence[torch.Tensor]) -> None:
    """Write every target's output; `planes` and the outputs are (..., 3, H, W) on the CPU, with any strides."""
    if planes.numel() == 0:
        return
    if planes.dim() == 3:
        planes, outputs = planes.unsqueeze(0), [output.unsqueeze(0) for output in outputs]
    if planes.dim() > 4:
        try:
            planes, outputs = _one_batch_axis(planes), [_one_batch_axis(output) for output in outputs]
        except RuntimeError:  # leading axes that do not form one axis without a copy, such as every second clip
            for index in range(planes.shape[0]):
                normalize(planes[index], targets, [output[index] for output in outputs])
            return
    engine = native.engine()
    if engine is not None and engine.can_normalize(planes, outputs):
        engine.normalize(planes, targets, outputs)
    else:
        torch_normalization.normalize(planes, targets, outputs)


def _one_batch_axis(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(-1, *tensor.shape[-3:])
