"""One row of the table, and the comparison that it states."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image

import fastnorm
from fastnorm import Target
from fastnorm.verification.oracle import bits


class Row(NamedTuple):
    library: str
    name: str
    backend: str
    result: str  # "identical" or "refused: why"


def compare(target: Target, run_published: Callable[[Image.Image], Any], images: Sequence[Image.Image]) -> None:
    """Raise AssertionError where an image's output differs in shape, dtype or any bit.

    `run_published` returns one image's (3, height, width), as a tensor or an array. An image that it refuses with a
    ValueError or the like is left out, as long as some remain: what then happens to it is no difference of pixels.
    """
    compared = differing = total = 0
    shown = []
    for image in images:
        try:
            wanted = torch.as_tensor(run_published(image))
        except (ArithmeticError, LookupError, MemoryError, NameError, RuntimeError, TypeError, ValueError):
            continue
        (got,), *_ = fastnorm.fused_preprocess([image], [target])
        compared += 1
        total += wanted.numel()
        assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype), (
            f"an image of {image.height} x {image.width} becomes {got.dtype} {tuple(got.shape)}, published is "
            f"{wanted.dtype} {tuple(wanted.shape)}"
        )
        count = int((bits(got) != bits(wanted)).sum())
        if count:
            differing += count
            shown.append(f"{image.height} x {image.width}")
    assert compared, "the published code refused every image"
    assert not differing, f"{differing} of {total} values differ, in images of {', '.join(shown)}"
