"""The CPU's `Backend`."""

from __future__ import annotations

from collections.abc import Sequence

from fastnorm.backends.base import TargetJob
from fastnorm.backends.cpu.inverse import denormalize, renormalize
from fastnorm.backends.cpu.normalization import normalize
from fastnorm.images.batch import Images

__all__ = ["denormalize", "normalize", "preprocess", "renormalize"]


def preprocess(images: Images, jobs: Sequence[TargetJob]) -> None:
    """Fill every job's output."""
    from fastnorm.backends.cpu import preprocessing  # imports PIL, which normalising does without

    preprocessing.preprocess(images.views(), jobs)
