"""The words that options are chosen from: for type checkers, and for the checks before any work."""

from __future__ import annotations

from typing import Literal, get_args

Alpha = Literal["error", "drop", "white"]
Exif = Literal["ignore", "apply", "error"]
Layout = Literal["auto", "NHWC", "NCHW", "HWC", "CHW"]
FilterName = Literal["bilinear", "bicubic", "lanczos", "box", "hamming", "nearest"]
Placement = Literal["torchvision", "transformers", "random"]

ALPHA_CHOICES: tuple[Alpha, ...] = get_args(Alpha)
FILTER_NAMES: tuple[FilterName, ...] = get_args(FilterName)
EXIF_CHOICES: tuple[Exif, ...] = get_args(Exif)


def check_alpha(alpha: object) -> None:
    if alpha not in ALPHA_CHOICES:
        raise ValueError(
            f"alpha: got {alpha!r}, expected 'error', 'drop' (as torchvision pipelines, which call convert('RGB')) or "
            f"'white' (as transformers' image processors)"
        )


def check_exif(exif: object) -> None:
    if exif not in EXIF_CHOICES:
        raise ValueError(f"exif: got {exif!r}, expected 'ignore' (as published pipelines), 'apply' or 'error'")


def check_bool(what: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{what}: got {value!r}, expected True or False")
