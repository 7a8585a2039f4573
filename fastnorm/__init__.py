"""Normalise one uint8 image batch for several models in one pass, with the published pipelines' exact bits.

    import fastnorm

    vae, clip = fastnorm.fused_dual_normalize(batch)  # batch: uint8, NHWC or NCHW

`fastnorm.reference` defines what is correct; `fastnorm check` on the command line proves it on your machine.
"""

from fastnorm import reference
from fastnorm._functional import DualOutput, fused_dual_normalize, fused_normalize
from fastnorm._normalization import CLIP, DINOV2, IMAGENET, SIGLIP, VAE, Normalization
from fastnorm._packed import PackedImages
from fastnorm._preprocess import fused_dual_preprocess, fused_preprocess
from fastnorm._presets import (
    CLIP_224,
    DINOV2_224,
    DINOV2_224_HF,
    VAE_512,
    VAE_512_LANCZOS,
    VAE_1024,
    VAE_1024_IP_ADAPTER,
    VAE_1024_LANCZOS,
)
from fastnorm._target import Crop, Target

__version__ = "0.1.0"

__all__ = [
    "CLIP",
    "CLIP_224",
    "DINOV2",
    "DINOV2_224",
    "DINOV2_224_HF",
    "IMAGENET",
    "SIGLIP",
    "VAE",
    "VAE_512",
    "VAE_512_LANCZOS",
    "VAE_1024",
    "VAE_1024_IP_ADAPTER",
    "VAE_1024_LANCZOS",
    "Crop",
    "DualOutput",
    "Normalization",
    "PackedImages",
    "Target",
    "fused_dual_normalize",
    "fused_dual_preprocess",
    "fused_normalize",
    "fused_preprocess",
    "reference",
]
