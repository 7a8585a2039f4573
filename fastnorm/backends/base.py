"""What every backend offers, and what it is given: arguments that have been checked, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from fastnorm.images.batch import Images
from fastnorm.spec.filters import Filter
from fastnorm.spec.geometry import Geometry
from fastnorm.spec.normalization import Normalization


@dataclass(frozen=True)
class TargetJob:
    """What becomes of all images for one target: image i is resized and cropped into output[i], then normalised."""

    normalization: Normalization
    resample: Filter
    geometries: tuple[Geometry, ...]  # one per image
    output: torch.Tensor  # (N, 3, height, width), of the geometries' common output size; any strides
    is_shared: bool = False  # whether later calls with the same sizes bring the same `geometries` object
    is_bgr: bool = False  # whether the output's channels are B, G, R; those of everything else are R, G, B


class Backend(Protocol):
    """The things to do on a device; a module with these functions is one."""

    def normalize(
        self, planes: torch.Tensor, normalizations: Sequence[Normalization], outputs: Sequence[torch.Tensor], /
    ) -> None:
        """Fill every output from a uint8 view (..., 3, H, W) of the same device."""

    def preprocess(self, images: Images, jobs: Sequence[TargetJob], /) -> None:
        """Fill every job's output from images of the same device, at least one."""

    def denormalize(self, values: torch.Tensor, source: Normalization, output: torch.Tensor, /) -> None:
        """Fill a uint8 or float output from normalised values (..., 3, H, W) of the same device."""

    def renormalize(
        self, values: torch.Tensor, source: Normalization, target: Normalization, output: torch.Tensor, /
    ) -> None:
        """Fill a float output from values (..., 3, H, W) of another normalisation, of the same device."""
