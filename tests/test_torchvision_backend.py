"""transformers' default image processors, which compute with torchvision on tensors: their whole output, bit for bit.

Each class is built with its own default configuration, or that of a published model; nothing is downloaded.
"""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import BitImageProcessor, CLIPImageProcessor, SiglipImageProcessor, ViTImageProcessor

import fastnorm
from fastnorm import CLIP, DINOV2, SIGLIP, Crop, Target
from fastnorm.data.files import shipped_photographs
from helpers import assert_same_bits, preprocess_by_kernel, random_pixels

pytestmark = pytest.mark.compat


def fused(normalization):
    return dataclasses.replace(normalization, order="fused")


DINOV2_BASE = {  # facebook/dinov2-base
    "size": {"shortest_edge": 256},
    "image_mean": list(DINOV2.mean),
    "image_std": list(DINOV2.std),
}
CENTRE = Crop(224, "transformers")

MODELS = {
    "CLIP": (CLIPImageProcessor(), Target(fused(CLIP), 224, "bicubic", CENTRE, arithmetic="torch")),
    "SigLIP": (SiglipImageProcessor(), Target(fused(SIGLIP), (224, 224), "bicubic", arithmetic="torch")),
    "DINOv2": (BitImageProcessor(**DINOV2_BASE), Target(fused(DINOV2), 256, "bicubic", CENTRE, arithmetic="torch")),
    "BiT": (BitImageProcessor(), Target(fused(CLIP), 224, "bicubic", CENTRE, arithmetic="torch")),
    "ViT": (ViTImageProcessor(), Target(fused(SIGLIP), (224, 224), "bilinear", arithmetic="torch")),
}
every_model = pytest.mark.parametrize("model", MODELS)
PATHS = {
    "cpu": fastnorm.fused_preprocess,
    "reference": fastnorm.reference.preprocess,
    "kernels": preprocess_by_kernel,
}


def photographs():
    return [Image.open(path).convert("RGB") for path in shipped_photographs()]


def published(processor, images):
    return processor(images=images, return_tensors="pt").pixel_values


@pytest.mark.parametrize("path", PATHS)
def test_the_shipped_photographs(path):
    """All models from one call."""
    images = photographs()
    got = PATHS[path](images, [target for _, target in MODELS.values()])
    for output, (processor, _) in zip(got, MODELS.values(), strict=True):
        assert_same_bits(output, published(processor, images))


sides = st.integers(1, 40) | st.integers(30, 900)
shapes = st.tuples(sides, sides).filter(lambda shape: max(shape) <= 12 * min(shape))


@given(shape=shapes, seed=st.integers(0, 2**16))
@settings(max_examples=settings().max_examples // 2)  # 40, or 1,000 in the nightly run, of each model
@example(shape=(224, 224), seed=0)
@example(shape=(256, 256), seed=0)
@example(shape=(225, 224), seed=0)
@example(shape=(1, 1), seed=0)
@example(shape=(1200, 500), seed=0)
@example(shape=(227, 231), seed=0)  # a margin of 3 modulo 4
def test_random_sizes(shape, seed):
    image = Image.fromarray(random_pixels(*shape, 3, seed=seed).numpy())
    got = fastnorm.fused_preprocess([image], [target for _, target in MODELS.values()])
    for output, (processor, _) in zip(got, MODELS.values(), strict=True):
        assert_same_bits(output, published(processor, [image]))


# The same models at a size that Triton's interpreter gets through.
SMALL = {
    "CLIP": (
        CLIPImageProcessor(size={"shortest_edge": 20}, crop_size={"height": 17, "width": 17}),
        Target(fused(CLIP), 20, "bicubic", Crop(17, "transformers"), arithmetic="torch"),
    ),
    "ViT": (
        ViTImageProcessor(size={"height": 21, "width": 24}),
        Target(fused(SIGLIP), (21, 24), "bilinear", arithmetic="torch"),
    ),
}
small_sides = st.integers(1, 5) | st.integers(1, 70)


@given(batch=st.lists(st.tuples(small_sides, small_sides), min_size=6, max_size=12), seed=st.integers(0, 2**16))
@settings(max_examples=settings().max_examples // 4)  # some 180 images, or 4,500
@example(batch=[(1, 1), (20, 20), (21, 24), (60, 1), (1, 60), (60, 29), (61, 30), (23, 50)], seed=0)
def test_random_sizes_through_the_kernels(batch, seed):
    images = [Image.fromarray(random_pixels(*shape, 3, seed=seed + i).numpy()) for i, shape in enumerate(batch)]
    targets = [target for _, target in SMALL.values()]
    for path in PATHS.values():
        for output, (processor, _) in zip(path(images, targets), SMALL.values(), strict=True):
            assert_same_bits(output, published(processor, images))


@every_model
def test_neither_the_arithmetic_nor_the_order_alone_is_enough(model):
    """What each of the two is for: without it, values differ."""
    processor, target = MODELS[model]
    images = photographs()
    wanted = published(processor, images)
    pillows = dataclasses.replace(target, arithmetic="pillow")
    unfused = dataclasses.replace(target, normalization=dataclasses.replace(target.normalization, order="to_tensor"))
    of_pixels, of_order = fastnorm.fused_preprocess(images, [pillows, unfused])
    assert 0 < int((of_pixels != wanted).sum()) < wanted.numel() / 20
    assert 1e-3 < (of_pixels - wanted).abs().max() < 0.1
    assert int((of_order != wanted).sum()) > wanted.numel() / 10
    assert (of_order - wanted).abs().max() < 1e-6


def test_padding_is_on_torchvisions_side():
    """A crop of an image that is smaller: the odd row is where CenterCrop has it, and not where the Pil classes do."""
    image = Image.fromarray(random_pixels(10, 13, 3).numpy())
    processor = CLIPImageProcessor(do_resize=False, crop_size={"height": 21, "width": 20})
    targets = [Target(fused(CLIP), crop=Crop((21, 20), rule)) for rule in ("torchvision", "transformers")]
    same, other = fastnorm.fused_preprocess([image], targets)
    assert_same_bits(same, published(processor, [image]))
    assert not torch.equal(other, same)


@pytest.mark.parametrize("form", ["array", "CHW tensor", "HWC tensor"])
def test_images_in_other_forms(form):
    """transformers takes a channels-first tensor as it is, and so may torch's vector code for planes."""
    processor, target = MODELS["CLIP"]
    image = np.array(photographs()[0])
    given_image = {
        "array": image,
        "CHW tensor": torch.from_numpy(image).permute(2, 0, 1).contiguous(),
        "HWC tensor": torch.from_numpy(image),
    }[form]
    (got,) = fastnorm.fused_preprocess([given_image], [target])
    assert_same_bits(got, published(processor, [given_image]))
