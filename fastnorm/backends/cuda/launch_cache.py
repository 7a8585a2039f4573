"""Calls like an earlier one: nothing is checked, chosen or compiled twice.

A training loop makes the same call with new pixels again and again. What depends only on the shapes, strides, dtypes
and targets is remembered after the first such call on a device that Triton serves; what is left is to allocate the
outputs and launch. Outputs of the caller's own are part of what has to be alike, and may not overlap.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.autograd.graph import increment_version

from fastnorm.backends.cuda import backend
from fastnorm.memory.outputs import extent
from fastnorm.runtime.torch_internals import allocator
from fastnorm.spec.normalization import Normalization

if TYPE_CHECKING:
    from fastnorm_kernels import Repeatable

Key = tuple[object, ...]
_Layout = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]

# A bound for callers whose every batch has another shape; a forgotten call is checked and remembered anew.
MAX_CALLS = 1024

_ALIGNMENT = 16  # Triton compiles another variant for pointers that are not multiples of this


class _Call(NamedTuple):
    """What is kept of a call."""

    layouts: list[_Layout]
    launch: Repeatable
    extents: list[int]  # in bytes, of the batch and of every output


_calls: dict[Key, _Call] = {}


_empty_cpu, _empty_cuda = allocator("cpu"), allocator("cuda")


def key_of(
    batch: torch.Tensor,
    targets: tuple[Normalization, ...],
    dtype: object,
    layout: object,
    memory_format: object,
    out: object = None,
) -> Key | None:
    """Everything that the checks, the outputs and the choice of a kernel variant look at; None for other tensors."""
    try:
        strides, address = batch.stride(), batch.data_ptr()
    except RuntimeError:  # sparse, nested or inside vmap: the checks have better words for it
        return None
    given = None
    if out is not None:
        if not isinstance(out, (tuple, list)) or not all(type(output) is torch.Tensor for output in out):
            return None
        given = tuple(
            [
                (o.shape, o.stride(), o.dtype, o.device, o.data_ptr() % _ALIGNMENT, o.requires_grad, o.is_neg())
                for o in out
            ]
        )
    return (
        batch.shape,
        strides,
        batch.dtype,
        batch.device,
        address % _ALIGNMENT,
        targets,
        tuple(dtype) if isinstance(dtype, list) else dtype,
        layout,
        tuple(memory_format) if isinstance(memory_format, list) else memory_format,
        given,
    )


def repeat(key: Key, batch: torch.Tensor, out: Sequence[torch.Tensor] | None = None) -> tuple[torch.Tensor, ...] | None:
    """The outputs, if a call with this key is remembered and can be repeated as it was."""
    try:
        call = _calls.get(key)
    except TypeError:  # an unhashable argument, which the checks refuse with a better message
        return None
    if call is None:
        return None
    if out is None:
        empty = _empty_cuda if batch.is_cuda else _empty_cpu
        outputs = tuple([empty(shape, stride, dtype) for shape, stride, dtype in call.layouts])
    elif _are_apart((batch, *out), call.extents):
        outputs = tuple(out)
    else:
        return None  # the checks tell whether any element is shared
    if not call.launch.launch(batch, outputs):
        return None
    if out is not None:
        increment_version(outputs)
    return outputs


def _are_apart(tensors: Sequence[torch.Tensor], extents: Sequence[int]) -> bool:
    spans = sorted(zip([tensor.data_ptr() for tensor in tensors], extents, strict=True))
    return all(first + length <= second for (first, length), (second, _) in itertools.pairwise(spans))


def remember(key: Key, planes: torch.Tensor, targets: Sequence[Normalization], outputs: Sequence[torch.Tensor]) -> None:
    """Keep a call that has passed every check and has run."""
    package = backend.kernels()
    launch = package.prepare(planes, backend.constants(targets), outputs) if package is not None else None
    if launch is None:
        return
    if len(_calls) >= MAX_CALLS:
        _calls.clear()
    layouts = [(tuple(output.shape), output.stride(), output.dtype) for output in outputs]
    _calls[key] = _Call(layouts, launch, [extent(tensor) for tensor in (planes, *outputs)])


def forget() -> None:
    """Drop everything, as after a change that the keys do not see."""
    _calls.clear()
