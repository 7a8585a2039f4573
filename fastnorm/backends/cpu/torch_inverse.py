"""The way back by torch, where there is no native code: the reference's bits, a cache-sized piece at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import torch

from fastnorm.backends.cpu.torch_normalization import PIECE
from fastnorm.backends.eager import FULL_SCALE, channel_constants, pixel_mean
from fastnorm.runtime import threads
from fastnorm.spec.normalization import Normalization

_CPU = torch.device("cpu")

# Turns pixels in units of full scale, in place, into what is rounded to the output's dtype.
Finish = Callable[[torch.Tensor], object]


def denormalize(values: torch.Tensor, source: Normalization, output: torch.Tensor) -> None:
    """`Backend.denormalize`."""
    _in_pieces(values, source, output, _to_codes if output.dtype is torch.uint8 else _to_unit)


def renormalize(values: torch.Tensor, source: Normalization, target: Normalization, output: torch.Tensor) -> None:
    """`Backend.renormalize`."""
    mean, std = channel_constants(target.mean, _CPU), channel_constants(target.std, _CPU)
    _in_pieces(values, source, output, lambda p: p.sub_(mean).div_(std))


def _to_codes(p: torch.Tensor) -> None:
    p.mul_(FULL_SCALE).nan_to_num_(nan=0.0).clamp_(0, FULL_SCALE).round_()


def _to_unit(p: torch.Tensor) -> None:
    p.clamp_(0, 1)


def _in_pieces(values: torch.Tensor, source: Normalization, output: torch.Tensor, finish: Finish) -> None:
    values = values.detach()  # threads record gradients unless told otherwise
    mean, std = pixel_mean(source, _CPU), channel_constants(source.std, _CPU)

    def run(piece: torch.Tensor, result: torch.Tensor) -> None:
        p = result if result.dtype is torch.float32 else torch.empty_like(piece, dtype=torch.float32)
        torch.mul(piece, std, out=p)  # in float32, whatever the dtype of the piece
        finish(p.add_(mean))
        if p is not result:
            result.copy_(p)

    threads.run([functools.partial(run, *pair) for pair in zip(_pieces(values), _pieces(output), strict=True)])


def _pieces(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Whole images, or rows of one, that fit a core's cache: the same ones for every tensor of a shape."""
    if tensor.numel() == 0:
        return
    if tensor.dim() > 4:
        for part in tensor:
            yield from _pieces(part)
        return
    batch = tensor if tensor.dim() == 4 else tensor.unsqueeze(0)
    image = batch[0].numel()
    for images in torch.split(batch, max(1, PIECE // image)):
        yield from torch.split(images, max(1, PIECE * batch.shape[-2] // image), dim=-2)
