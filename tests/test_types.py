"""What a type checker says about calls: right ones pass, and each wrong one is an error on its own line."""

import pathlib
from typing import get_args

import pytest
from mypy import api

from fastnorm.images.layout import check_layout
from fastnorm.spec import options
from fastnorm.spec.filters import FILTERS, NEAREST
from fastnorm.spec.geometry import CropRule

ROOT = pathlib.Path(__file__).parent.parent

# A comment that ignores an error which is none is an error itself (--warn-unused-ignores).
SNIPPET = """
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode

import fastnorm
from fastnorm import CLIP_224, VAE, Crop, Halve, PackedImages, Pad, Sides, Square, Target


def calls(images: list[Image.Image], batch: torch.Tensor, offsets: bool) -> None:
    vae, clip = fastnorm.fused_dual_preprocess(images, alpha="white", exif="apply", layout="auto")
    fastnorm.fused_preprocess(images, [CLIP_224], flip="random", flip_before_crop=True)
    fastnorm.fused_preprocess(images, [CLIP_224], flip=[True, False], dtype=torch.float16, device="cuda")
    fastnorm.fused_preprocess(images, [CLIP_224], out=[None], positions=[torch.zeros(3, 2, dtype=torch.int64)])
    fastnorm.fused_preprocess(images, [CLIP_224], out=[torch.zeros(1)], positions=[[(1, 2), (3, 4)]])
    fastnorm.fused_preprocess(images, [CLIP_224], sizes=[[(1, 2), (3, 4)]], boxes=[None], vertical_flip="random")
    fastnorm.fused_normalize(batch, [VAE], layout="NCHW")
    fastnorm.fused_dual_normalize(batch, layout="HWC")
    fastnorm.reference.normalize(batch, [VAE], layout="NHWC")
    codes: torch.Tensor = fastnorm.denormalize(fastnorm.renormalize(batch, VAE, VAE, out=batch), VAE, dtype=torch.uint8)
    fastnorm.guard(codes, VAE).shape
    PackedImages.pack(images, alpha="drop", exif="error", layout="CHW")
    fastnorm.Normalization([123.7], [58.4], "codes", allow_unusual=True)

    fastnorm.fused_preprocess(images, [CLIP_224], alpha="black")  # type: ignore
    fastnorm.fused_preprocess(images, [CLIP_224], exif=True)  # type: ignore
    fastnorm.fused_preprocess(images, [CLIP_224], layout="BCHW")  # type: ignore
    fastnorm.fused_preprocess(images, [CLIP_224], flip="left")  # type: ignore
    fastnorm.fused_preprocess(images, [CLIP_224], flip_before_crop="no")  # type: ignore
    fastnorm.fused_normalize(batch, [VAE], layout="BCHW")  # type: ignore
    fastnorm.fused_dual_normalize(batch, layout="BCHW")  # type: ignore
    fastnorm.denormalize(batch)  # type: ignore
    fastnorm.renormalize(batch, VAE)  # type: ignore
    PackedImages.pack(images, alpha="black")  # type: ignore


def targets() -> None:
    Target(VAE, 8, "bicubic", alpha="drop")
    Target(VAE, 8, Image.Resampling.LANCZOS)
    Target(VAE, 8, InterpolationMode.BICUBIC)
    Crop(8, "transformers")
    Crop(8, (1, 2))
    Target(VAE, {"shortest_edge": 8}, 3, Crop())

    Target(VAE, (8, 9), "nearest", before=Halve(8), pad=Pad((1, 2, 3)), batch=False)
    Target(VAE, Sides(longest=8), crop=Crop(Square("longest")), exif="apply", reducing_gap=2)
    Crop("batch", (0, 0))
    Target(VAE, lambda height, width: (height // 2, width // 2))

    Target(VAE, 8, "nearest-exact")  # type: ignore
    Target(VAE, 8, exif=True)  # type: ignore
    Sides(longest=8, rule="detr")  # type: ignore
    Pad(mode="wrap")  # type: ignore
    Square("height")  # type: ignore
    Crop("largest")  # type: ignore
    Target(VAE, alpha="black")  # type: ignore
    Crop(8, "left")  # type: ignore
    Crop(8, [(1, 2), (3, 4)])  # type: ignore


def results(images: list[Image.Image], offsets: bool) -> None:
    plain: fastnorm.DualOutput = fastnorm.fused_dual_preprocess(images)
    pair, places = fastnorm.fused_dual_preprocess(images, return_offsets=True)
    pair.vae.shape, places[0].shape
    either = fastnorm.fused_dual_preprocess(images, return_offsets=offsets)
    either.vae  # type: ignore
    tensors: tuple[torch.Tensor, ...] = fastnorm.fused_preprocess(images, [CLIP_224])
    outputs, places = fastnorm.fused_preprocess(images, [CLIP_224], return_offsets=True)
    outputs[0].shape, places[0].shape
    fastnorm.fused_preprocess(images, [CLIP_224], return_offsets=offsets)
    fastnorm.fused_preprocess(images, [CLIP_224], return_offsets="no")  # type: ignore
"""


def test_a_type_checker_knows_the_options(tmp_path):
    path = tmp_path / "calls.py"
    path.write_text(SNIPPET)
    options = ("--strict", "--warn-unused-ignores", "--config-file", str(ROOT / "pyproject.toml"))
    output, errors, _ = api.run([*options, str(path)])
    lines = [line for line in output.splitlines() if line.startswith(str(path)) or "error:" in line]
    assert (lines, errors) == ([], "")
    assert "Success" in output


def test_the_types_name_what_is_understood_at_run_time():
    assert set(options.FILTER_NAMES) == {*FILTERS, NEAREST.name}
    assert {*get_args(options.Placement)} == {"random", *(rule.value for rule in CropRule)}
    for layout in get_args(options.Layout):
        check_layout(layout)
    for alpha in options.ALPHA_CHOICES:
        options.check_alpha(alpha)
    for channel_order in options.CHANNEL_ORDERS:
        options.check_channel_order(channel_order)
    for exif in options.EXIF_CHOICES:
        options.check_exif(exif)
    with pytest.raises(ValueError, match="got 'black'"):
        options.check_alpha("black")
