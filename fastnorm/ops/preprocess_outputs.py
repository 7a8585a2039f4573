"""The tensors of a preprocess call: a batch for each target, or a tensor for each image of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from fastnorm.images.batch import Images
from fastnorm.memory.outputs import check_memory, check_output, new
from fastnorm.spec.geometry import Size
from fastnorm.spec.normalization import CHANNELS
from fastnorm.spec.target import Target


class Part(NamedTuple):
    """What one backend job writes of a target: these images, into one tensor."""

    images: tuple[int, ...] | None  # None: all
    tensor: torch.Tensor  # (N, 3, height, width)


class Output(NamedTuple):
    """One target's: what the caller gets, and what has to be written for it."""

    value: torch.Tensor | list[torch.Tensor]
    parts: Sequence[Part]
    given: Mapping[str, torch.Tensor]  # the caller's own tensors, by what messages call them


def allocate(
    images: Images,
    target: Target,
    sizes: Sequence[Size],
    dtype: torch.dtype,
    device: torch.device,
    out: object,
    name: str,
) -> Output:
    """A target's output: the caller's own after its checks, or new memory.

    Args:
        images: Whose number and leading axes are the output's.
        target: What says whether it is a batch, and in which memory format.
        sizes: Of the batch, or of each image.
        dtype: The output's.
        device: Where it lies.
        out: The caller's: a tensor, or one for each image; None for new memory.
        name: What messages call it.
    """
    memory_format = target.memory_format or torch.contiguous_format
    if target.batch:
        shape = (*images.leading, CHANNELS, *sizes[0])
        if out is None:
            value = new(shape, device, dtype, memory_format)
            return Output(value, [Part(None, _one_batch_axis(value, name))], {})
        assert isinstance(out, torch.Tensor), "resolve_out has looked"
        check_output(name, out, shape, device, dtype, target.memory_format)
        return Output(out, [Part(None, _one_batch_axis(out, name))], {name: out})
    if out is not None:
        if len(out) != len(sizes):  # type: ignore[arg-type]
            raise ValueError(f"{name}: got {len(out)} tensors for {len(sizes)} images, expected one per image")  # type: ignore[arg-type]
        own = {f"{name}[{index}]": tensor for index, tensor in enumerate(out)}  # type: ignore[var-annotated, arg-type]
        for (each, tensor), size in zip(own.items(), sizes, strict=True):
            check_output(each, tensor, (CHANNELS, *size), device, dtype, target.memory_format)
        tensors = list(own.values())
        return Output(tensors, [Part((i,), tensor.unsqueeze(0)) for i, tensor in enumerate(tensors)], own)
    by_size: dict[Size, list[int]] = {}
    for index, size in enumerate(sizes):
        by_size.setdefault(size, []).append(index)
    found: dict[int, torch.Tensor] = {}
    parts = []
    for size, indices in by_size.items():
        tensor = new((len(indices), CHANNELS, *size), device, dtype, memory_format)
        parts.append(Part(tuple(indices), tensor))
        found |= zip(indices, tensor.unbind(), strict=True)
    return Output([found[index] for index in range(len(sizes))], parts, {})


def check_apart(outputs: Sequence[Output], images: Images) -> None:
    """Refuse tensors of the caller's that share memory with one another, or with the images."""
    given = {name: tensor for output in outputs for name, tensor in output.given.items()}
    check_memory(given, {f"images[{index}]": tensor for index, tensor in enumerate(images.memory)})


def _one_batch_axis(output: torch.Tensor, name: str) -> torch.Tensor:
    shape = (-1, *output.shape[-3:]) if output.numel() else (0, *output.shape[-3:])
    try:
        return output.view(shape)
    except RuntimeError:
        raise ValueError(
            f"{name}: got strides {output.stride()}, whose leading axes do not form one, expected ones that do: "
            f"out.contiguous()"
        ) from None
