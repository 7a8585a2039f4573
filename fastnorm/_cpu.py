"""The CPU path: the reference's bits, a cache-sized piece at a time.

Eager torch walks the whole batch once per operation, so every step goes through main memory. Here each thread owns one
run of images and takes it in pieces that stay in its cache from the first operation to the last; a float32 output is
its own workspace. Owning a run also keeps two threads from faulting in the same page of new memory.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fastnorm._normalization import Normalization
from fastnorm.reference import FULL_SCALE, channel_constants

# Elements per thread and piece: 1 MiB as float32, half of a current server core's L2 cache. Smaller pieces pay more
# dispatch, larger ones fall out of the cache; 0.5 to 1.5 MiB time alike.
PIECE = 1 << 18

_CPU = torch.device("cpu")
_FULL_SCALE = torch.tensor(FULL_SCALE, dtype=torch.float32, device=_CPU)


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
    _normalize_batch(planes, targets, outputs)


def _one_batch_axis(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(-1, *tensor.shape[-3:])


def _normalize_batch(planes: torch.Tensor, targets: Sequence[Normalization], outputs: Sequence[torch.Tensor]) -> None:
    images = planes.shape[0]
    lanes = min(torch.get_num_threads(), images)
    shared = images - images % lanes
    job = _Job.of(targets, outputs)
    job.run(_lanes(planes[:shared], lanes), [_lanes(output[:shared], lanes) for output in outputs])
    if shared < images:  # fewer images than threads: torch splits each operation among them
        job.run(_lanes(planes[shared:], 1), [_lanes(output[shared:], 1) for output in outputs])


def _lanes(tensor: torch.Tensor, lanes: int) -> torch.Tensor:
    return tensor.view(lanes, tensor.shape[0] // lanes, *tensor.shape[1:])


@dataclass(frozen=True)
class _Job:
    """What is the same for every piece: the constants, and where q = x / 255 is kept."""

    constants: Sequence[_Constants]
    channels_last: bool
    order: Sequence[int]  # in which the targets are written
    home: int | None  # the output that holds q until its own turn, the last; None: a buffer does

    @classmethod
    def of(cls, targets: Sequence[Normalization], outputs: Sequence[torch.Tensor]) -> _Job:
        """A dense float32 output serves as the workspace: its memory has to come into the cache anyway."""
        dense = [i for i, o in enumerate(outputs) if o.dtype is torch.float32 and _is_dense(o)]
        home = dense[-1] if dense else None
        model = outputs[-1 if home is None else home]
        channels_last = _is_channels_last(model)
        return cls(
            constants=[
                _Constants.of(target, channels_last, model.shape[-1] if channels_last else 1) for target in targets
            ],
            channels_last=channels_last,
            order=sorted(range(len(outputs)), key=lambda index: index == home),
            home=home,
        )

    def run(self, planes: torch.Tensor, outputs: Sequence[torch.Tensor]) -> None:
        """`planes` and outputs are (lanes, images, 3, H, W); torch gives each thread one lane of every operation."""
        lanes, images, channels, height, width = planes.shape
        bands = -(-channels * height * width // PIECE)
        rows = -(-height // bands)
        group = max(1, min(images, PIECE // (channels * height * width)))
        shape = (lanes, group, channels, rows, width)
        q_buffer = self._buffer(shape) if self.home is None else outputs[self.home]
        narrow = any(output.dtype is not torch.float32 for output in outputs)
        d_buffer = self._buffer(shape) if narrow else q_buffer
        for image in range(0, images, group):
            for row in range(0, height, rows):
                piece = (slice(None), slice(image, image + group), slice(None), slice(row, row + rows))
                pixels = planes[piece]
                fitted = (slice(None), slice(pixels.shape[1]), slice(None), slice(pixels.shape[3]))
                q = q_buffer[fitted if self.home is None else piece]
                q.copy_(pixels)
                q.div_(_FULL_SCALE)
                for index in self.order:
                    self.constants[index].apply(q, d_buffer[fitted] if narrow else q, outputs[index][piece])

    def _buffer(self, shape: tuple[int, ...]) -> torch.Tensor:
        """New float32 memory with the outputs' order of axes, so that pieces are written straight through."""
        if self.channels_last:
            lanes, group, channels, rows, width = shape
            return torch.empty((lanes, group, rows, width, channels), dtype=torch.float32, device=_CPU).movedim(-1, -3)
        return torch.empty(shape, dtype=torch.float32, device=_CPU)


@dataclass(frozen=True)
class _Constants:
    """One target's constants, shaped to broadcast over a piece."""

    mean: torch.Tensor
    std: torch.Tensor
    scale: float | None
    offset: torch.Tensor | None

    @classmethod
    @functools.lru_cache(maxsize=256)  # making them takes as long as a 100 x 100 image
    def of(cls, target: Normalization, channels_last: bool, width: int) -> _Constants:
        mean, std = (_broadcastable(values, channels_last, width) for values in (target.mean, target.std))
        scale = _power_of_two_scale(target)
        offset = None if scale is None else mean.mul(-scale)
        return cls(mean, std, scale, offset)

    def apply(self, q: torch.Tensor, scratch: torch.Tensor, output: torch.Tensor) -> None:
        """Write (q - mean) / std into `output`, which may be q itself; only a narrower dtype needs the scratch."""
        result = output if output.dtype is torch.float32 else scratch
        if self.scale is not None and self.offset is not None:
            torch.add(self.offset, q, alpha=self.scale, out=result)
        else:
            torch.sub(q, self.mean, out=result)
            result.div_(self.std)
        if result is not output:
            output.copy_(result)


def _power_of_two_scale(target: Normalization) -> float | None:
    """1 / std where that is one power of two for all channels, else None.

    Scaling by a power of two is exact, so that (q - mean) / std equals scale * q - scale * mean rounded once: one
    pass over the piece instead of two. The bounds keep every intermediate a normal float32.
    """
    std = target.std[0]
    if target.std != (std, std, std) or math.frexp(std)[0] != 0.5 or not 2**-16 <= std <= 2**16:
        return None
    if any(mean != 0 and not 2**-16 <= abs(mean) <= 2**16 for mean in target.mean):
        return None
    return 1 / std


def _broadcastable(values: tuple[float, float, float], channels_last: bool, width: int) -> torch.Tensor:
    constants = channel_constants(values, _CPU)
    if channels_last:
        # Written out along a row, so that the innermost loop is long: otherwise it would have three steps.
        return constants.view(1, 1, 3).repeat(1, width, 1).movedim(-1, -3)
    return constants


def _is_channels_last(output: torch.Tensor) -> bool:
    return output.stride(-3) == 1 and output.stride(-1) == 3


def _is_dense(output: torch.Tensor) -> bool:
    return output.is_contiguous() or output.movedim(-3, -1).is_contiguous()
