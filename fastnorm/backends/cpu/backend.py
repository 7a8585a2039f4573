"""The CPU's `Backend`."""

from __future__ import annotations

from collections.abc import Sequence

from fastnorm.backends.base import TargetJob
from fastnorm.backends.cpu import native
from fastnorm.backends.cpu.inverse import denormalize, renormalize
from fastnorm.backends.cpu.normalization import normalize
from fastnorm.backends.staging import in_stages
from fastnorm.images.batch import Images

__all__ = ["denormalize", "normalize", "preprocess", "renormalize"]


def preprocess(images: Images, jobs: Sequence[TargetJob]) -> None:
    """Fill every job's output."""
    from fastnorm.backends.cpu import preprocessing  # imports PIL, which normalising does without

    in_stages(images, jobs, preprocessing.steps, _preprocess)


def _preprocess(images: Images, jobs: Sequence[TargetJob]) -> None:
    from fastnorm.backends.cpu import preprocessing, resizing

    engine = native.engine()
    if engine is None:
        preprocessing.preprocess(images.views(), jobs)
    else:
        resizing.preprocess(engine, images.views(), jobs)
