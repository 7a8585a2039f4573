"""Normalising by torch, where there is no native code: a cache-sized piece at a time, on threads that wait for nobody.

Eager torch walks the whole batch once per operation, so every step goes through main memory. Here each thread takes
runs of pieces that stay in its cache from the first operation to the last; a float32 output is its own workspace.

torch's own threads have no part in it. They meet at a barrier after every operation and spin there, so that one thread
which another process keeps from running holds up all of them, some hundred times a call. The threads here meet once.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fastnorm.backends.eager import FULL_SCALE, HALF_SCALE, INVERSE_FULL_SCALE, constants_of
from fastnorm.runtime import threads
from fastnorm.spec.normalization import Normalization
from fastnorm.spec.options import Order

# Elements per piece: 1 MiB as float32, half of a current server core's L2 cache. Smaller pieces pay more dispatch,
# larger ones fall out of the cache; half as many time alike.
PIECE = 1 << 18
# A batch of few pieces is cut finer, so that all threads have work. One of a single piece is left to torch's threads:
# starting others would take longer than the work.
SMALLEST_PIECE = PIECE // 2

_CPU = torch.device("cpu")


def normalize(planes: torch.Tensor, targets: Sequence[Normalization], outputs: Sequence[torch.Tensor]) -> None:
    """Write every target's output; `planes` and the outputs are (N, 3, H, W) on the CPU, with any strides."""
    job = _Job.of(planes, targets, outputs)
    pieces = zip(*(job.cut(tensor) for tensor in (planes, *outputs)), strict=True)
    threads.run([functools.partial(job.run, *piece) for piece in pieces])


@dataclass(frozen=True)
class _Job:
    """What is the same for every piece: its size, the constants, and where q, which is x / 255, is kept.

    Orders of normalising other than "to_tensor" begin with another q: see `fastnorm.backends.eager`.
    """

    piece: tuple[int, int, int]  # images, rows, columns; all but the last of each are of this size
    steps: Sequence[_Step]
    channels_last: bool
    order: Sequence[int]  # in which the targets are written: those that share a q one after the other
    home: int | None  # the output that holds q until its own turn, the last; None: a buffer does
    narrow: bool  # some output is not float32

    @classmethod
    def of(cls, planes: torch.Tensor, targets: Sequence[Normalization], outputs: Sequence[torch.Tensor]) -> _Job:
        """A dense float32 output serves as the workspace: its memory has to come into the cache anyway."""
        dense = [i for i, o in enumerate(outputs) if o.dtype is torch.float32 and _is_dense(o)]
        home = dense[-1] if dense else None
        channels_last = _is_channels_last(outputs[-1 if home is None else home])
        images, channels, height, width = planes.shape
        elements = PIECE
        if planes.numel() > PIECE:
            elements = min(PIECE, max(SMALLEST_PIECE, planes.numel() // (4 * torch.get_num_threads())))
        columns = min(width, elements // channels)
        rows = min(height, elements // (channels * columns))
        piece = (min(images, elements // (channels * rows * columns)), rows, columns)
        return cls(
            piece=piece,
            steps=[_Step.of(target, columns if channels_last else None) for target in targets],
            channels_last=channels_last,
            order=_in_turn([target.order for target in targets], home),
            home=home,
            narrow=any(output.dtype is not torch.float32 for output in outputs),
        )

    def cut(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """The tensor's pieces, in the order in which they lie in contiguous memory."""
        images, rows, columns = self.piece
        return [
            part
            for batch in torch.split(tensor, images)
            for band in torch.split(batch, rows, dim=-2)
            for part in torch.split(band, columns, dim=-1)
        ]

    def run(self, pixels: torch.Tensor, *outputs: torch.Tensor) -> None:
        """Write one piece of every output."""
        q = self._buffer(pixels) if self.home is None else outputs[self.home]
        d = self._buffer(pixels) if self.narrow else q
        started = None
        for index in self.order:
            step = self.steps[index]
            if step.order != started:
                started = step.order
                _start(q, pixels, started)
            step.apply(q, d, outputs[index])

    def _buffer(self, piece: torch.Tensor) -> torch.Tensor:
        """New float32 memory with the outputs' order of axes, so that pieces are written straight through."""
        if self.channels_last:
            images, channels, rows, columns = piece.shape
            return torch.empty((images, rows, columns, channels), dtype=torch.float32, device=_CPU).movedim(-1, -3)
        return torch.empty(piece.shape, dtype=torch.float32, device=_CPU)


def _in_turn(orders: Sequence[Order], home: int | None) -> list[int]:
    """The targets by their orders, that which is the home of q last."""
    last = None if home is None else orders[home]
    return sorted(range(len(orders)), key=lambda index: (orders[index] == last, orders[index], index == home))


def _start(q: torch.Tensor, pixels: torch.Tensor, order: Order) -> None:
    q.copy_(pixels)
    if order == "to_tensor":
        q.div_(FULL_SCALE)  # on a CPU, torch divides by a number as it does by a tensor
    elif order == "to_dtype":
        q.mul_(INVERSE_FULL_SCALE)
    elif order == "scale_shift":
        q.div_(HALF_SCALE)


@dataclass(frozen=True)
class _Step:
    """What one target does to a piece, (q - mean) / std; its tensors broadcast over (N, 3, H, W)."""

    order: Order
    mean: torch.Tensor
    std: torch.Tensor
    scale: float | None
    offset: torch.Tensor | None

    @classmethod
    def of(cls, target: Normalization, columns: int | None) -> _Step:
        """With a number of columns, constants are written out along a row of channels_last memory."""
        mean, std = (_broadcastable(values, columns) for values in constants_of(target, _CPU))
        scale = _power_of_two_scale(target)
        return cls(target.order, mean, std, scale, None if scale is None else mean.mul(-scale))

    def apply(self, q: torch.Tensor, scratch: torch.Tensor, output: torch.Tensor) -> None:
        """Write (q - mean) / std into `output`, which may be q itself; only a narrower dtype needs the scratch."""
        result = output if output.dtype is torch.float32 else scratch
        if self.scale is not None and self.offset is not None:
            torch.add(_as_wide(self.offset, q), q, alpha=self.scale, out=result)
        else:
            torch.sub(q, _as_wide(self.mean, q), out=result)
            result.div_(_as_wide(self.std, q))
        if result is not output:
            output.copy_(result)


def _as_wide(constant: torch.Tensor, piece: torch.Tensor) -> torch.Tensor:
    """Written-out constants cut to the columns of a piece at the end of a row."""
    return constant if constant.shape[-1] in (1, piece.shape[-1]) else constant[..., : piece.shape[-1]]


@functools.lru_cache(maxsize=256)
def _power_of_two_scale(target: Normalization) -> float | None:
    """1 / std where that is one power of two for all channels, else None.

    Scaling by a power of two is exact, so that (q - mean) / std equals scale * q - scale * mean rounded once: one
    pass over the piece instead of two. The bounds keep every intermediate a normal float32.
    """
    means, (std, *others) = (values.flatten().tolist() for values in constants_of(target, _CPU))
    if others != [std, std] or math.frexp(std)[0] != 0.5 or not 2**-16 <= std <= 2**16:
        return None
    if any(mean != 0 and not 2**-16 <= abs(mean) <= 2**16 for mean in means):
        return None
    return float(1 / std)


def _broadcastable(constants: torch.Tensor, columns: int | None) -> torch.Tensor:
    if columns is not None:
        # Written out along a row, so that the innermost loop is long: otherwise it would have three steps.
        return constants.view(1, 1, 3).repeat(1, columns, 1).movedim(-1, -3)
    return constants


def _is_channels_last(output: torch.Tensor) -> bool:
    return output.stride(-3) == 1 and output.stride(-1) == 3


def _is_dense(output: torch.Tensor) -> bool:
    return output.is_contiguous() or output.movedim(-3, -1).is_contiguous()
