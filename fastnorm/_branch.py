"""One branch of a preprocess call, checked and ready: the same for every device's code."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fastnorm._geometry import Geometry
from fastnorm._normalization import Normalization
from fastnorm._resampling import Filter


@dataclass(frozen=True)
class Branch:
    """What becomes of all images for one target: image i is resized and cropped into output[i], then normalised."""

    normalization: Normalization
    kernel: Filter
    geometries: tuple[Geometry, ...]  # one per image
    output: torch.Tensor  # (N, 3, height, width), of the geometries' common output size; any strides
