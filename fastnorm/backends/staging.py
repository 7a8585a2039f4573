"""What all backends share of targets with steps before their last: who takes them, and borders written after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from fastnorm.backends.base import TargetJob
from fastnorm.images.batch import ImageList, Images
from fastnorm.spec.geometry import Geometry, Reduction, Stage

if TYPE_CHECKING:
    from PIL import Image

Before = tuple[Stage | Reduction, ...]
Steps = Callable[[Images, Sequence[Before]], "Sequence[Image.Image | torch.Tensor]"]
Finish = Callable[[Images, Sequence[TargetJob]], None]


def in_stages(images: Images, jobs: Sequence[TargetJob], steps: Steps, finish: Finish) -> None:
    """Take the jobs' last steps by `finish`, each after the steps before it by `steps`, which jobs with the same share.

    Args:
        images: What the jobs begin with.
        jobs: What becomes of them.
        steps: Makes new images of them, by each image's own steps.
        finish: Fills the outputs of jobs that have no steps before.
    """
    groups: dict[tuple[Before, ...], list[TargetJob]] = {}
    for job in jobs:
        groups.setdefault(tuple([geometry.before for geometry in job.geometries]), []).append(job)
    for before, group in groups.items():
        if not any(before):
            finish(images, group)
            continue
        made = ImageList.of(steps(images, before), images.device)
        finish(made, [replace(job, geometries=_last(job), is_shared=False) for job in group])


def fill_borders(job: TargetJob) -> None:
    """Write what lies around the images, where it is given as values of the output."""
    for output, geometry in zip(job.output, job.geometries, strict=True):
        if geometry.pad.value is None or not geometry.is_padded:
            continue
        value = torch.tensor(geometry.pad.value, dtype=torch.float32, device=output.device).to(output.dtype)
        value = (value.flip(0) if job.is_bgr else value).view(3, 1, 1)
        top, left = geometry.rows.offset, geometry.columns.offset
        bottom, right = top + geometry.rows.count, left + geometry.columns.count
        for border in (output[:, :top], output[:, bottom:], output[:, :, :left], output[:, :, right:]):
            border.copy_(value.expand_as(border))


def _last(job: TargetJob) -> tuple[Geometry, ...]:
    return tuple([replace(geometry, before=()) for geometry in job.geometries])
