"""Tensors with any number of leading axes, as what the native code takes: (N, 3, H, W)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch


def as_batches(tensors: Sequence[torch.Tensor]) -> Iterator[Sequence[torch.Tensor]]:
    """Views with four axes of tensors (..., 3, H, W) of one shape; several where one cannot be had without a copy."""
    axes = tensors[0].dim()
    if tensors[0].numel() == 0:
        return
    if axes == 4:
        yield tensors
    elif axes == 3:
        yield [tensor.unsqueeze(0) for tensor in tensors]
    else:
        try:
            yield [tensor.view(-1, *tensor.shape[-3:]) for tensor in tensors]
        except RuntimeError:  # leading axes that do not form one axis without a copy, such as every second clip
            for parts in zip(*tensors, strict=True):
                yield from as_batches(parts)
