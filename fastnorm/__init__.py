"""Normalise one uint8 image batch for several models in one pass, with the published pipelines' exact bits.

    import fastnorm

    vae, clip = fastnorm.fused_dual_normalize(batch)  # batch: uint8, NHWC or NCHW

`fastnorm.reference` defines what is correct; `fastnorm check` on the command line proves it on your machine.
"""

from fastnorm import reference
from fastnorm._functional import DualOutput, fused_dual_normalize, fused_normalize
from fastnorm._host_memory import empty_host_cache, set_host_cache_limit
from fastnorm._normalization import CLIP, DINOV2, IMAGENET, SIGLIP, VAE, Normalization
from fastnorm._packed import PackedImages
from fastnorm._preprocess import fused_dual_preprocess, fused_preprocess
from fastnorm._target import CLIP_224, VAE_512, VAE_1024, Crop, Target

__version__ = "0.1.0"

__all__ = [
    "CLIP",
    "CLIP_224",
    "DINOV2",
    "IMAGENET",
    "SIGLIP",
    "VAE",
    "VAE_512",
    "VAE_1024",
    "Crop",
    "DualOutput",
    "Normalization",
    "PackedImages",
    "Target",
    "empty_host_cache",
    "fused_dual_normalize",
    "fused_dual_preprocess",
    "fused_normalize",
    "fused_preprocess",
    "reference",
    "set_host_cache_limit",
]
