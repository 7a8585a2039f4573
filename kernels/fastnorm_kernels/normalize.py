"""Launches the normalising kernels: which one serves which tensors, and with what."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
import triton

from . import _normalize_kernels as kernels
from .division import Triple, plan
from .launching import OPTIONS, Launch, Repeatable, repeatable

STRIDED_TILE = 1024  # pixels per program
MAX_COMPILED_TARGETS = 3
CONSTANTS = 9  # of a target's plan, after its form
Numbers = tuple[int | float, ...]
Target = tuple[Triple, Triple] | tuple[Triple, Triple, str]  # mean, std, and the order if it is not "to_tensor"

LARGEST_INT32 = 2**31 - 1
MAX_CODES = 2**31 - 2**20  # per launch of whole words: positions are int32, with room for the last program's tail


def normalize(planes: torch.Tensor, targets: Sequence[Target], outputs: Sequence[torch.Tensor]) -> None:
    """Write (planes / 255 - mean) / std into every target's output, reading the pixels once.

    Example:
        >>> x = torch.zeros(2, 3, 8, 8, dtype=torch.uint8, device="cuda")
        >>> y = torch.empty(2, 3, 8, 8, device="cuda")
        >>> normalize(x, [((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))], [y])

    Args:
        planes: uint8, (..., 3, H, W), any strides.
        targets: Mean and std of the three channels, in units of full scale, for each output; third, if it is another
            than "to_tensor", the order of `fastnorm_kernels.division`: "to_dtype", "fused" or "scale_shift".
        outputs: float32, float16 or bfloat16 tensors of the same shape and device, any strides without overlap.

    Nothing is checked here; launches go to the current stream of the tensors' device.
    """
    if planes.numel() == 0:
        return
    plans = plans_of(targets)
    with _on_device_of(planes):
        for images, results in _parts(planes, tuple(outputs)):
            choose(images, results, plans).run()


def prepare(planes: torch.Tensor, targets: Sequence[Target], outputs: Sequence[torch.Tensor]) -> Repeatable | None:
    """Compile what `normalize` would launch; None if that is nothing, several launches, or cannot be repeated."""
    if planes.numel() == 0:
        return None
    parts = _parts(planes, tuple(outputs))
    if len(parts) != 1:
        return None
    with _on_device_of(planes):
        return repeatable(choose(*parts[0], plans_of(targets)))


def plans_of(targets: Sequence[Target]) -> Numbers:
    """The numbers that the kernels take for their targets, one plan after the other."""
    return tuple(number for target in targets for number in plan(*target).flat())


def _on_device_of(tensor: torch.Tensor) -> contextlib.AbstractContextManager[object]:
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()


def _threads() -> int:
    """Of a program on the current device. Of AMD's GPUs, those for data centres run 64 threads a wave."""
    warp = triton.runtime.driver.active.get_current_target().warp_size if torch.version.hip else 32
    return OPTIONS["num_warps"] * warp


def choose(x: torch.Tensor, outputs: tuple[torch.Tensor, ...], plans: Numbers, threads: int | None = None) -> Launch:
    """The launch for (N, 3, H, W) tensors: whole words where every access can be one, else any strides.

    The kernels of whole words give each of a program's threads one word per load: with fewer words than threads,
    neighbours would share a store, and with more, values would change threads for it.
    """
    threads = threads or _threads()
    interleaved = x.permute(0, 2, 3, 1).is_contiguous()
    if (interleaved or x.is_contiguous()) and x.numel() <= MAX_CODES:
        # Codes that fill the 16 bytes of a store; with a float32 output among them, 8 would make threads swap values.
        word = 4 if any(output.element_size() == 4 for output in outputs) else 8
        aligned = x.data_ptr() % word == 0 and all(output.data_ptr() % 16 == 0 for output in outputs)
        if aligned and (x.shape[-2] * x.shape[-1]) % word == 0 and all(_has_dense_images(o, word) for o in outputs):
            return _dense(x, outputs, plans, word, interleaved, threads)
        if aligned and interleaved and x.numel() % word == 0 and all(_is_channels_last(output) for output in outputs):
            return _flat(x, outputs, plans, word, threads)
    return _strided(x, outputs, plans)


def _dense(
    x: torch.Tensor,
    outputs: tuple[torch.Tensor, ...],
    plans: Numbers,
    group: int,
    interleaved: bool,
    threads: int,
) -> Launch:
    groups = x.numel() // (3 * group)
    plans, constants = _compiled_and_passed(plans)
    image_groups = None
    if not all(output.is_contiguous() for output in outputs):
        image_groups = tuple(output.stride(0) // group for output in outputs)
    return Launch(
        kernels._normalize_dense_kernel,
        (triton.cdiv(groups, threads),),
        x,
        outputs,
        (groups, x.shape[-2] * x.shape[-1] // group, image_groups, constants),
        {"PLANS": plans, "INTERLEAVED": interleaved, "GROUP": group, "BLOCK": threads},
    )


def _flat(x: torch.Tensor, outputs: tuple[torch.Tensor, ...], plans: Numbers, word: int, threads: int) -> Launch:
    words = x.numel() // word
    plans, constants = _compiled_and_passed(plans)
    return Launch(
        kernels._normalize_flat_kernel,
        (triton.cdiv(words, threads),),
        x,
        outputs,
        (words, constants),
        {"PLANS": plans, "WORD": word, "BLOCK": threads},
    )


def _strided(x: torch.Tensor, outputs: tuple[torch.Tensor, ...], plans: Numbers) -> Launch:
    n, _, height, width = x.shape
    tensors = (x, *outputs)
    if all(t.stride(2) == width * t.stride(3) for t in tensors):
        height, width = 1, height * width  # rows follow each other everywhere: an image is one long row
    plans, constants = _compiled_and_passed(plans)
    cols = min(STRIDED_TILE, triton.next_power_of_2(width))
    rows = STRIDED_TILE // cols
    return Launch(
        kernels._normalize_strided_kernel,
        (triton.cdiv(n * height, rows) * triton.cdiv(width, cols),),
        x,
        outputs,
        (n * height, height, width, x.stride(), sum((o.stride() for o in outputs), ()), constants),
        {"PLANS": plans, "ROWS": rows, "COLS": cols, "WIDE": any(_reach(t) > LARGEST_INT32 for t in tensors)},
    )


def _has_dense_images(output: torch.Tensor, group: int) -> bool:
    """Whether each image is contiguous, and begins where whole groups do: as x[:, :3] of a tensor of six channels."""
    return output[0].is_contiguous() and output.stride(0) % group == 0


def _compiled_and_passed(plans: Numbers) -> tuple[Numbers, tuple[float, ...] | None]:
    """The part of the plans to compile for, and the constants to pass to the launch.

    Few targets' constants are compiled: the launch binds no arguments for them. Of more, only the forms are, so that
    every set of as many targets shares one kernel.
    """
    length = 1 + CONSTANTS
    each = [plans[first : first + length] for first in range(0, len(plans), length)]
    if len(set(each)) <= MAX_COMPILED_TARGETS:  # what is asked for twice is computed once
        return plans, None
    forms = [number for form, *_ in each for number in (form, *(0.0,) * CONSTANTS)]
    return tuple(forms), tuple([float(number) for _, *constants in each for number in constants])


def _is_channels_last(tensor: torch.Tensor) -> bool:
    return tensor.permute(0, 2, 3, 1).is_contiguous()


def _reach(tensor: torch.Tensor) -> int:
    """The last element's offset; what masked-out lanes compute past it may wrap, since it is not used."""
    return sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _parts(
    planes: torch.Tensor, outputs: tuple[torch.Tensor, ...]
) -> list[tuple[torch.Tensor, tuple[torch.Tensor, ...]]]:
    """The same memory as (N, 3, H, W) tensors of fewer than 2^31 codes; one of them unless it has to be more.

    More where leading axes cannot be one axis without a copy, and for batches past 2^31 codes: positions are 32-bit
    numbers within a launch (a 64-bit division alone would double its instructions).
    """
    if planes.dim() < 4:
        return [(planes.unsqueeze(0), tuple(output.unsqueeze(0) for output in outputs))]
    if planes.dim() > 4:
        shape = (-1, *planes.shape[-3:])
        try:
            return _parts(planes.view(shape), tuple(output.view(shape) for output in outputs))
        except RuntimeError:
            return [
                part
                for index in range(planes.shape[0])
                for part in _parts(planes[index], tuple(output[index] for output in outputs))
            ]
    images = max(1, MAX_CODES // (3 * planes.shape[-2] * planes.shape[-1]))
    if planes.shape[0] <= images:
        return [(planes, outputs)]
    return [
        (planes[first : first + images], tuple(output[first : first + images] for output in outputs))
        for first in range(0, planes.shape[0], images)
    ]
