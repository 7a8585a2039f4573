"""Turn decoded images into the input tensors of several models in one call, with the published pipelines' exact bits.

    import fastnorm

    vae, clip = fastnorm.fused_dual_preprocess(images)  # PIL images or uint8 tensors: resized, cropped, normalised
    vae, clip = fastnorm.fused_dual_normalize(batch)  # one uint8 batch of one size: normalised

`fastnorm.reference` defines what is correct; `fastnorm check` on the command line proves it on your machine.
"""

import importlib
import pathlib
import sys
from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "CLIP",
    "CLIP_224",
    "CLIP_224_TORCH",
    "CLIP_336",
    "DINOV2",
    "DINOV2_224",
    "DINOV2_224_HF",
    "DINOV2_224_TORCH",
    "DINOV3_256",
    "DINOV3_SAT",
    "DINOV3_SAT_256",
    "IMAGENET",
    "IMAGENET_224",
    "SIGLIP",
    "SIGLIP2_224",
    "SIGLIP2_224_TORCH",
    "SIGLIP_224",
    "SIGLIP_224_TORCH",
    "SIGLIP_384",
    "VAE",
    "VAE_256_ADM",
    "VAE_512",
    "VAE_512_LANCZOS",
    "VAE_1024",
    "VAE_1024_IP_ADAPTER",
    "VAE_1024_LANCZOS",
    "VAE_IMAGE_PROCESSOR",
    "Area",
    "Border",
    "Buckets",
    "Crop",
    "DualOutput",
    "Halve",
    "Normalization",
    "PackedImages",
    "Pad",
    "PictureError",
    "Prefetcher",
    "Preprocess",
    "Resize",
    "Sides",
    "Square",
    "Target",
    "Verification",
    "collate_image_fn",
    "collate_images",
    "denormalize",
    "empty_host_cache",
    "fused_dual_normalize",
    "fused_dual_preprocess",
    "fused_normalize",
    "fused_preprocess",
    "guard",
    "reference",
    "renormalize",
    "set_host_cache_limit",
    "verify",
]


def _is_command() -> bool:
    """Whether this process is the command `fastnorm` or `python -m fastnorm`, as far as can be told."""
    program = sys.argv[0] if getattr(sys, "argv", None) else ""
    if program == "-m":  # Python is looking for the module to run
        after = sys.orig_argv.index("-m") + 1 if "-m" in sys.orig_argv else len(sys.orig_argv)
        return sys.orig_argv[after : after + 1] == [__name__]
    return pathlib.PurePath(program).stem == __name__


# Everywhere but in the command's own process, importing this package imports torch and registers
# torch.ops.fastnorm.normalize. The command does without until it needs them: --help is quick, Ctrl-C is quiet.
if TYPE_CHECKING or not _is_command():
    from fastnorm import reference
    from fastnorm.data.collate import collate_image_fn, collate_images
    from fastnorm.data.prefetch import Prefetcher
    from fastnorm.data.preprocess import Preprocess
    from fastnorm.images.packed import PackedImages
    from fastnorm.memory.host_cache import empty_host_cache, set_host_cache_limit
    from fastnorm.ops.denormalize import denormalize, renormalize
    from fastnorm.ops.guard import guard
    from fastnorm.ops.normalize import fused_dual_normalize, fused_normalize
    from fastnorm.ops.preprocess import fused_dual_preprocess, fused_preprocess
    from fastnorm.spec.errors import PictureError
    from fastnorm.spec.normalization import CLIP, DINOV2, DINOV3_SAT, IMAGENET, SIGLIP, VAE, Normalization
    from fastnorm.spec.padding import Pad
    from fastnorm.spec.presets import (
        CLIP_224,
        CLIP_224_TORCH,
        CLIP_336,
        DINOV2_224,
        DINOV2_224_HF,
        DINOV2_224_TORCH,
        DINOV3_256,
        DINOV3_SAT_256,
        IMAGENET_224,
        SIGLIP2_224,
        SIGLIP2_224_TORCH,
        SIGLIP_224,
        SIGLIP_224_TORCH,
        SIGLIP_384,
        VAE_256_ADM,
        VAE_512,
        VAE_512_LANCZOS,
        VAE_1024,
        VAE_1024_IP_ADAPTER,
        VAE_1024_LANCZOS,
        VAE_IMAGE_PROCESSOR,
    )
    from fastnorm.spec.sizes import Area, Buckets, Sides, Square
    from fastnorm.spec.steps import Border, Crop, Halve, Resize
    from fastnorm.spec.target import DualOutput, Target

    _HOMES: dict[str, tuple[str, ...]] = {}
else:
    _HOMES = {
        "ops.denormalize": ("denormalize", "renormalize"),
        "ops.guard": ("guard",),
        "ops.normalize": ("fused_dual_normalize", "fused_normalize"),
        "memory.host_cache": ("empty_host_cache", "set_host_cache_limit"),
        "data.collate": ("collate_image_fn", "collate_images"),
        "data.prefetch": ("Prefetcher",),
        "data.preprocess": ("Preprocess",),
        "spec.errors": ("PictureError",),
        "spec.normalization": ("CLIP", "DINOV2", "DINOV3_SAT", "IMAGENET", "SIGLIP", "VAE", "Normalization"),
        "images.packed": ("PackedImages",),
        "ops.preprocess": ("fused_dual_preprocess", "fused_preprocess"),
        "spec.presets": (
            "VAE_IMAGE_PROCESSOR",
            "CLIP_224_TORCH",
            "SIGLIP_224_TORCH",
            "SIGLIP2_224",
            "SIGLIP2_224_TORCH",
            "DINOV2_224_TORCH",
            "DINOV3_256",
            "DINOV3_SAT_256",
            "CLIP_224",
            "CLIP_336",
            "IMAGENET_224",
            "SIGLIP_224",
            "SIGLIP_384",
            "VAE_256_ADM",
            "DINOV2_224",
            "DINOV2_224_HF",
            "VAE_512",
            "VAE_512_LANCZOS",
            "VAE_1024",
            "VAE_1024_IP_ADAPTER",
            "VAE_1024_LANCZOS",
        ),
        "spec.padding": ("Pad",),
        "spec.sizes": ("Area", "Buckets", "Sides", "Square"),
        "spec.steps": ("Border", "Crop", "Halve", "Resize"),
        "spec.target": ("DualOutput", "Target"),
    }

# Only when asked for, because it imports Pillow.
_HOMES["verification.verifying"] = ("Verification", "verify")
if TYPE_CHECKING:
    from fastnorm.verification.verifying import Verification, verify
else:

    def __getattr__(name: str) -> object:
        if name == "reference":
            return importlib.import_module("fastnorm.reference")
        home = next((home for home, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"fastnorm.{home}"), name)
