"""Normalise one uint8 image batch for several models in one pass, with the published pipelines' exact bits.

    import fastnorm

    vae, clip = fastnorm.fused_dual_normalize(batch)  # batch: uint8, NHWC or NCHW

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
    "empty_host_cache",
    "fused_dual_normalize",
    "fused_dual_preprocess",
    "fused_normalize",
    "fused_preprocess",
    "reference",
    "set_host_cache_limit",
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
    from fastnorm._functional import DualOutput, fused_dual_normalize, fused_normalize
    from fastnorm._host_memory import empty_host_cache, set_host_cache_limit
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
else:
    _HOMES = {
        "_functional": ("DualOutput", "fused_dual_normalize", "fused_normalize"),
        "_host_memory": ("empty_host_cache", "set_host_cache_limit"),
        "_normalization": ("CLIP", "DINOV2", "IMAGENET", "SIGLIP", "VAE", "Normalization"),
        "_packed": ("PackedImages",),
        "_preprocess": ("fused_dual_preprocess", "fused_preprocess"),
        "_presets": (
            "CLIP_224",
            "DINOV2_224",
            "DINOV2_224_HF",
            "VAE_512",
            "VAE_512_LANCZOS",
            "VAE_1024",
            "VAE_1024_IP_ADAPTER",
            "VAE_1024_LANCZOS",
        ),
        "_target": ("Crop", "Target"),
    }

    def __getattr__(name: str) -> object:
        if name == "reference":
            return importlib.import_module("fastnorm.reference")
        home = next((home for home, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"fastnorm.{home}"), name)
