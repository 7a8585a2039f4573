"""Outputs in the order B, G, R: on every path, those of R, G, B with the channels the other way round."""

import dataclasses

import pytest
import torch
from PIL import Image
from transformers import TvpImageProcessor, TvpImageProcessorPil

import fastnorm
from fastnorm import CLIP, CLIP_224, VAE, Crop, Pad, Sides, Target
from helpers import DTYPES, PREPROCESS, assert_same_bits, dtype_name, poisoned, random_pixels

pytestmark = pytest.mark.compat

ALL = {"reference": fastnorm.reference.preprocess} | PREPROCESS
IMAGES = [random_pixels(*size, 3, seed=seed) for seed, size in enumerate([(31, 47), (90, 20), (20, 23)])]

every_path = pytest.mark.parametrize("path", ALL)


def bgr(target):
    return dataclasses.replace(target, channel_order="BGR")


def assert_reversed(path, target, images=IMAGES, **options):
    (got,) = ALL[path](images, [bgr(target)], **options)
    (plain,) = fastnorm.reference.preprocess(images, [target], **options)
    for one, other in zip(got, plain, strict=True):
        assert one.shape == other.shape
        assert_same_bits(one, other.flip(-3))
        assert one.is_contiguous() == other.is_contiguous()


@every_path
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("width", [32, 25], ids=["whole vectors", "parts of vectors"])
def test_every_kind_of_output(path, dtype, memory_format, width):
    assert_reversed(path, Target(CLIP, (19, width), "bicubic", dtype=dtype, memory_format=memory_format))


AROUND = {
    "black": True,
    "pixel values": Pad((200, 3, 90)),
    "values": Pad(value=(0.25, -1.5, 3)),
    "edges": Pad(mode="edge"),
}


@every_path
@pytest.mark.parametrize("pad", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("arithmetic", ["pillow", "torch"])
def test_what_lies_around_an_image_stays_in_the_order_of_the_images(path, pad, arithmetic):
    target = Target(
        CLIP, 20, "bicubic", Crop((27, 48), (-5, -8)), pad, before=Crop(20), arithmetic=arithmetic, dtype=torch.float16
    )
    assert_reversed(path, target, flip=[True, False, True])


@every_path
@pytest.mark.parametrize("order", ["to_dtype", "fused"])
def test_the_means_stay_with_their_colours_in_every_order_of_normalising(path, order):
    assert_reversed(path, Target(dataclasses.replace(CLIP, order=order), 24, crop=24))


@every_path
def test_a_list_of_sizes(path):
    assert_reversed(path, Target(CLIP, Sides(longest=24), batch=False))


@every_path
def test_one_call_for_both_orders(path):
    """Targets that share their resized pixels."""
    plain = Target(CLIP, 24, "bicubic", 24)
    vae = Target(VAE, 24, "bicubic", 24, dtype=torch.bfloat16)
    got = ALL[path](IMAGES, [plain, bgr(plain), bgr(vae), vae])
    wanted = fastnorm.reference.preprocess(IMAGES, [plain, vae])
    assert_same_bits(got[0], wanted[0])
    assert_same_bits(got[1], wanted[0].flip(1))
    assert_same_bits(got[2], wanted[1].flip(1))
    assert_same_bits(got[3], wanted[1])


def test_into_a_part_of_a_tensor():
    """Nothing beside it is written."""
    around = poisoned((5, 5, 30, 40), torch.float32)
    target = Target(CLIP, (24, 32))
    fastnorm.fused_preprocess(IMAGES, [bgr(target)], out=[around[1:4, 1:4, 3:27, 4:36]])
    (plain,) = fastnorm.fused_preprocess(IMAGES, [target])
    assert_same_bits(around[1:4, 1:4, 3:27, 4:36].contiguous(), plain.flip(1))
    assert int(around.isfinite().sum()) == plain.numel()


@every_path
@pytest.mark.parametrize("kind", [TvpImageProcessorPil, TvpImageProcessor])
def test_a_published_processor(path, kind):
    """Means and standard deviations that differ: the class normalises first and turns the channels round then."""
    processor = kind(
        size={"longest_edge": 40},
        crop_size={"height": 48, "width": 48},
        pad_size={"height": 48, "width": 48},
        image_mean=list(CLIP.mean),
        image_std=list(CLIP.std),
    )
    target = Target.from_config(processor)
    assert target.channel_order == "BGR"
    pil_images = [Image.fromarray(image.numpy()) for image in IMAGES]
    for pil_image, image in zip(pil_images, IMAGES, strict=True):
        (got,) = ALL[path]([image], [target])
        assert_same_bits(got, processor(pil_image, return_tensors="pt").pixel_values[0])


def test_it_belongs_to_the_value_of_a_target():
    assert CLIP_224.channel_order == "RGB"
    assert bgr(CLIP_224) != CLIP_224
    assert "channel_order='BGR'" in repr(bgr(CLIP_224))
    assert dataclasses.replace(bgr(CLIP_224), channel_order="RGB") == CLIP_224


@pytest.mark.parametrize("wrong", ["bgr", "GBR", None, True])
def test_other_orders_are_refused(wrong):
    with pytest.raises(ValueError, match=r"channel_order: got .*, expected 'RGB' or 'BGR'"):
        Target(CLIP, 224, channel_order=wrong)
