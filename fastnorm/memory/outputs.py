"""The tensors that go out: one (..., 3, H, W) tensor per target, freshly allocated or the caller's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from fastnorm.images.layout import address_of
from fastnorm.memory import host_cache
from fastnorm.spec.arguments import resolve_dtypes, resolve_memory_formats


def prepare(
    planes: torch.Tensor,
    count: int,
    dtype: object,
    memory_format: object,
    out: object,
) -> tuple[torch.Tensor, ...]:
    """The tensors to write, one per target: `out` after its checks, or new memory.

    `dtype` and `memory_format` may be None: float32 and contiguous, or whatever `out` has.
    """
    dtypes, formats, given = resolve_outputs(planes, count, dtype, memory_format, out)
    if given is None:
        return tuple(empty(planes, d, f) for d, f in zip(dtypes, formats, strict=True))
    check_memory(named(given), {"the batch": planes})
    return given


def named(outputs: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """The outputs by what messages call them."""
    return {f"out[{index}]": output for index, output in enumerate(outputs)}


def check_memory(outputs: Mapping[str, torch.Tensor], inputs: Mapping[str, torch.Tensor]) -> None:
    """Refuse outputs that share memory within themselves, with one another or with the inputs; all have names."""
    for name, output in outputs.items():
        if _overlaps_itself(output):
            came = "an expanded tensor, whose elements share memory" if _is_expanded(output) else "interleaved strides"
            raise ValueError(
                f"{name}: got {came} (shape {tuple(output.shape)}, strides {output.stride()}), expected each stride to "
                f"step past what the smaller ones reach: out.contiguous()"
            )
        if output.numel() > 0 and address_of(output) == 0 and any(map(address_of, inputs.values())):
            raise TypeError(f"{name}: got a traced or fake tensor for real pixels, expected memory to write to")
    before: dict[str, torch.Tensor] = {}
    for name, output in outputs.items():
        for other, tensor in inputs.items():
            if _share_memory(output, tensor):
                raise ValueError(f"{name}: shares memory with {other}; expected memory of its own: torch.empty()")
        for other, tensor in before.items():
            if _share_memory(output, tensor):
                raise ValueError(f"{name}: shares memory with {other}; expected one tensor per target: torch.empty()")
        before[name] = output


def resolve_outputs(
    planes: torch.Tensor, count: int, dtype: object, memory_format: object, out: object
) -> tuple[tuple[torch.dtype, ...], tuple[torch.memory_format, ...], tuple[torch.Tensor, ...] | None]:
    """One dtype and memory format per target, and `out` after the checks that need no memory to look at."""
    formats = resolve_memory_formats(torch.contiguous_format if memory_format is None else memory_format, count)
    if out is None:
        return resolve_dtypes(torch.float32 if dtype is None else dtype, count), formats, None
    outputs = _as_sequence(out, count)
    dtypes = resolve_dtypes([o.dtype for o in outputs] if dtype is None else dtype, count)
    for index, output in enumerate(outputs):
        wanted_format = None if memory_format is None else formats[index]
        check_output(f"out[{index}]", output, tuple(planes.shape), planes.device, dtypes[index], wanted_format)
    return dtypes, formats, outputs


def empty(planes: torch.Tensor, dtype: torch.dtype, memory_format: torch.memory_format) -> torch.Tensor:
    """New memory for one target, shaped like `planes`."""
    # Fake tensors say that they are on the CPU, and have no memory.
    pooled = type(planes) is torch.Tensor and not torch.compiler.is_compiling()
    return new(tuple(planes.shape), planes.device, dtype, memory_format, pooled)


def new(
    shape: tuple[int, ...],
    device: torch.device,
    dtype: torch.dtype,
    memory_format: torch.memory_format,
    pooled: bool = True,
) -> torch.Tensor:
    """New memory of shape (..., 3, H, W); on the CPU from this library's pool, unless `pooled` is False."""
    if memory_format is torch.channels_last:
        # Channels fastest, for any number of leading axes; torch's own format covers four axes only.
        last = (*shape[:-3], *shape[-2:], shape[-3])
        return new(last, device, dtype, torch.contiguous_format, pooled).movedim(-1, -3)
    if pooled and device.type == "cpu":
        return host_cache.empty(shape, dtype)
    return torch.empty(shape, dtype=dtype, device=device)


def _as_sequence(out: object, count: int) -> tuple[torch.Tensor, ...]:
    if isinstance(out, torch.Tensor) or not isinstance(out, Sequence):
        raise TypeError(f"out: got {type(out).__name__}, expected a sequence of {count} tensor(s), one per target")
    if len(out) != count:
        raise ValueError(f"out: got {len(out)} tensors for {count} target(s), expected one per target")
    for index, item in enumerate(out):
        if not isinstance(item, torch.Tensor):
            raise TypeError(
                f"out[{index}]: got {type(item).__name__}, expected a torch.Tensor; torch.from_numpy(array) shares an "
                f"array's memory"
            )
    return tuple(out)


def check_output(
    what: str,
    output: torch.Tensor,
    shape: tuple[int, ...],
    device: torch.device,
    dtype: torch.dtype,
    memory_format: torch.memory_format | None,
) -> None:
    """Refuse an output of the caller's that is not what would be allocated; any strides if the format is None."""
    if tuple(output.shape) != shape:
        raise ValueError(
            f"{what}: got shape {tuple(output.shape)}, expected {shape}: torch.empty({shape}, dtype={dtype})"
        )
    if output.dtype is not dtype:
        raise ValueError(f"{what}: got {output.dtype} where dtype={dtype}; pass dtype={output.dtype}, or omit it")
    if output.device != device:
        raise ValueError(f"{what}: got a tensor on {output.device}, expected {device}, where the input is")
    if not torch.compiler.is_compiling() and output.is_neg():
        raise ValueError(f"{what}: got a view that shows its memory negated, expected memory itself: out.resolve_neg()")
    if output.requires_grad:
        raise ValueError(f"{what}: got a tensor that requires grad, expected one that does not: out.detach()")
    if memory_format is not None and not _has_format(output, memory_format):
        raise ValueError(
            f"{what}: got strides {output.stride()}, which are not {memory_format}; leave memory_format out to write "
            f"into these strides"
        )


def _has_format(output: torch.Tensor, memory_format: torch.memory_format) -> bool:
    if memory_format is torch.channels_last:
        return output.movedim(-3, -1).is_contiguous()
    return output.is_contiguous()


def _is_expanded(tensor: torch.Tensor) -> bool:
    return any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))


def _overlaps_itself(tensor: torch.Tensor) -> bool:
    """Whether elements share memory, or strides do not nest, so that nothing short of looking at all would tell."""
    if tensor.is_contiguous() or tensor.numel() == 0:
        return False
    reach = 0  # how far the axes seen so far extend; the next stride must step past it
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride <= reach:
                return True
            reach += stride * (size - 1)
    return False


def _share_memory(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.numel() == 0 or b.numel() == 0 or a.device != b.device:
        return False
    if a is b:
        return True  # all that can be asked while torch.compile traces
    a_first, b_first = address_of(a), address_of(b)
    if 0 in (a_first, b_first) or a_first + extent(a) <= b_first or b_first + extent(b) <= a_first:
        return False
    if a.stride() != b.stride() or a.dtype is not b.dtype:
        return True
    # Interleaved slices of one buffer: the ranges meet, the elements need not. With strides that nest (each steps
    # past what the smaller ones reach, which _overlaps_itself has made sure of), a distance can be made of steps in
    # at most two ways per axis.
    distance, rest = divmod(a_first - b_first, a.element_size())
    axes = zip(a.stride(), a.shape, b.shape, strict=True)
    return rest != 0 or _reachable(distance, sorted(((s, a_size, b_size) for s, a_size, b_size in axes), reverse=True))


def extent(tensor: torch.Tensor) -> int:
    """Bytes from the first element to the end of the last."""
    last = sum(stride * (size - 1) for stride, size in zip(tensor.stride(), tensor.shape, strict=True))
    return (last + 1) * tensor.element_size()


def _reachable(distance: int, axes: Sequence[tuple[int, int, int]]) -> bool:
    """Whether an element of a is an element of b, which begins `distance` elements before a.

    Axes are (stride, size of a, size of b), the largest stride first. Index j of b is index i of a where
    (j - i) * stride, summed over the axes, makes the distance.
    """
    axes = [axis for axis in axes if max(axis[1:]) > 1]
    if not axes:
        return distance == 0
    (stride, a_size, b_size), rest = axes[0], axes[1:]
    steps = distance // stride
    return any(-a_size < k < b_size and _reachable(distance - k * stride, rest) for k in (steps, steps + 1))
