"""The size rules of single transformers models, on any sides, against the functions of the installed package."""

import inspect

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from transformers.image_utils import SizeDict
from transformers.models.bridgetower import image_processing_bridgetower as bridgetower
from transformers.models.donut.image_processing_donut import DonutImageProcessor
from transformers.models.dpt import image_processing_dpt as dpt
from transformers.models.gemma4 import image_processing_gemma4 as gemma4
from transformers.models.glm4v import image_processing_glm4v as glm4v
from transformers.models.glm_image import image_processing_glm_image as glm_image
from transformers.models.idefics2 import image_processing_idefics2 as idefics2
from transformers.models.idefics3 import image_processing_idefics3 as idefics3
from transformers.models.kimi_k25 import image_processing_kimi_k25 as kimi
from transformers.models.lfm2_vl.image_processing_lfm2_vl import Lfm2VlImageProcessor
from transformers.models.minicpmv4_6.image_processing_minicpmv4_6 import MiniCPMV4_6ImageProcessor
from transformers.models.muse_glimmer import image_processing_muse_glimmer as muse
from transformers.models.paddleocr_vl import image_processing_paddleocr_vl as paddleocr
from transformers.models.siglip2 import image_processing_siglip2 as siglip2
from transformers.models.yolos import image_processing_yolos as yolos

from fastnorm import Area
from fastnorm.spec.configs.transformers import sizes
from fastnorm.spec.size import Size

pytestmark = pytest.mark.compat

LFM2, MINICPM, DONUT = Lfm2VlImageProcessor(), MiniCPMV4_6ImageProcessor(), DonutImageProcessor()
HAS_MODES = "downsample_mode" in inspect.signature(MINICPM.find_best_resize).parameters  # transformers 5.24, not 5.20
MODE = {"downsample_mode": "16x"} if HAS_MODES else {}


def planes(height, width):
    """An image of that size, which takes no memory."""
    return torch.empty(3, height, width, device="meta")


def pair(size):
    return (size.height, size.width) if isinstance(size, SizeDict) else tuple(size)


def thumbnail(height, width):
    """The size that Donut's method asks `resize` for, or the image's."""
    size = SizeDict(height=60, width=45)
    found = []
    resize = type(DONUT).__mro__[1].resize
    type(DONUT).__mro__[1].resize = lambda _, image, size, **__: found.append(pair(size)) or image
    try:
        DONUT.thumbnail(planes(height, width), size)
    finally:
        type(DONUT).__mro__[1].resize = resize
    return found[0] if found else (height, width)


def lfm2(height, width):
    return LFM2.smart_resize(height, width, 2, 64, 256, 16)[::-1]


AREA = Area(28, min_pixels=112 * 112, max_pixels=28 * 28 * 90)
RULES = {
    "BridgeTower": (
        sizes.ShortestDivided(288, 32),
        lambda h, w: bridgetower.get_resize_output_image_size(planes(h, w), 288, int(1333 / 800 * 288), 32),
    ),
    "DPT, in proportion": (
        sizes.NearestScale(Size(384, 300), 14, True),
        lambda h, w: dpt.get_resize_output_image_size(planes(h, w), (384, 300), True, 14),
    ),
    "DPT": (
        sizes.NearestScale(Size(384, 300), 14, False),
        lambda h, w: dpt.get_resize_output_image_size(planes(h, w), (384, 300), False, 14),
    ),
    "Idefics2": (
        sizes.BetweenEdges(378, 980),
        lambda h, w: idefics2.get_resize_output_image_size(planes(h, w), SizeDict(shortest_edge=378, longest_edge=980)),
    ),
    "Idefics3": (
        sizes.EvenLongest(1456),
        lambda h, w: idefics3.get_resize_output_image_size(planes(h, w), 1456),
    ),
    "Idefics3, above its largest": (
        sizes.EvenLongest(4801),
        lambda h, w: idefics3.get_resize_output_image_size(planes(h, w), 4801),
    ),
    "YOLOS": (
        sizes.Yolos(512, 1333),
        lambda h, w: yolos.get_size_with_aspect_ratio_yolos((h, w), 512, 1333),
    ),
    "GLM-4V": (
        sizes.AtLeastOneFactor(AREA, rounded=False),
        lambda h, w: glm4v.smart_resize(2, h, w, 2, 28, 2 * AREA.min_pixels, 2 * AREA.max_pixels),
    ),
    "PaddleOCR-VL": (
        sizes.AtLeastOneFactor(AREA, rounded=True),
        lambda h, w: paddleocr.smart_resize(h, w, 28, AREA.min_pixels, AREA.max_pixels),
    ),
    "GLM-Image": (
        sizes.GlmImage(28, 56 * 56, 28 * 28 * 1280),
        lambda h, w: glm_image.smart_resize(h, w, 28, 56 * 56, 28 * 28 * 1280),
    ),
    "Muse Glimmer": (sizes.NearestGrid(28, 90), lambda h, w: muse.smart_resize(h, w, 28, 90)),
    "Gemma 4": (
        sizes.PatchBudget(16, 280 * 9, 3),
        lambda h, w: gemma4.get_aspect_ratio_preserving_size(h, w, 16, 280 * 9, 3),
    ),
    "SigLIP 2": (sizes.NaFlex(16, 256), lambda h, w: siglip2.get_image_size_for_max_num_patches(h, w, 16, 256)),
    "Kimi K2.5": (sizes.NaViT(14, 800, 60), lambda h, w: kimi.navit_resize(h, w, 14, 2, 800, 60)[0]),
    "LFM2-VL": (sizes.TokenArea(32, 64, 256), lfm2),
    "MiniCPM-V": (
        sizes.SquareOfArea(448, 56),
        lambda h, w: MINICPM.find_best_resize((h, w), 448, 14, allow_upscale=True, **MODE),
    ),
    "Donut": (sizes.Thumbnail(Size(60, 45)), thumbnail),
}


def outcome(call):
    try:
        return tuple(map(int, pair(call())))
    except (ValueError, ZeroDivisionError):
        return ValueError


sides = st.integers(1, 60) | st.integers(1, 5000)


@pytest.mark.parametrize("name", RULES)
@given(height=sides, width=sides)
@example(height=1, width=1)
@example(height=1, width=3000)
@example(height=2000, width=9)
@example(height=512, width=512)
@example(height=511, width=1400)
def test_sizes(name, height, width):
    rule, published = RULES[name]
    assert outcome(lambda: rule(height, width)) == outcome(lambda: published(height, width))


@pytest.mark.parametrize("name", RULES)
def test_small_sizes(name):
    """Small sides, where rounding decides."""
    rule, published = RULES[name]
    for height, width in np.random.default_rng(0).integers(1, 400, (500, 2)).tolist():
        assert outcome(lambda: rule(height, width)) == outcome(lambda: published(height, width)), (height, width)  # noqa: B023
