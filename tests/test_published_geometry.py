"""Geometry in the words of `Target`, against the processors that it is about: the installed packages' own, bit for bit.

Every target is computed by the CPU path and by the reference; `test_preprocess.py` and `test_resize_kernels.py` hold
the kernels to the latter.
"""

import dataclasses
import math

import numpy as np
import pytest
import timm.data
import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.flux.pipeline_flux_kontext import PREFERRED_KONTEXT_RESOLUTIONS
from hypothesis import example, given
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image, ImageOps
from timm.data.transforms import CenterCropOrPad, ResizeKeepRatio
from torchvision import transforms
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms import functional as torchvision
from transformers.image_processing_utils import get_patch_output_size
from transformers.image_transforms import get_size_with_aspect_ratio
from transformers.image_utils import get_image_size_for_max_height_width
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil
from transformers.models.fuyu.image_processing_pil_fuyu import FuyuImageProcessorPil
from transformers.models.glpn.image_processing_pil_glpn import GLPNImageProcessorPil
from transformers.models.janus.image_processing_pil_janus import JanusImageProcessorPil
from transformers.models.levit.image_processing_pil_levit import LevitImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.perceiver.image_processing_pil_perceiver import PerceiverImageProcessorPil
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil
from transformers.models.pixtral.image_processing_pil_pixtral import get_resize_output_image_size as pixtral_size
from transformers.models.poolformer.image_processing_pil_poolformer import PoolFormerImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.textnet.image_processing_pil_textnet import TextNetImageProcessorPil
from transformers.models.tvp.image_processing_pil_tvp import get_resize_output_image_size as tvp_size
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import fastnorm
from fastnorm import Area, Border, Buckets, Crop, Halve, Normalization, Pad, Resize, Sides, Square, Target, reference
from fastnorm.data.files import shipped_photographs
from helpers import assert_same_bits, preprocess_by_kernel, random_pixels

pytestmark = [pytest.mark.compat, pytest.mark.pillow]

# Strips, single pixels, odd and even sides, larger and smaller than what they become.
SIZES = [(1, 1), (1, 37), (41, 1), (3, 150), (210, 5), (31, 47), (90, 61), (64, 64), (120, 160), (45, 46)]
FULL_SCALE = Normalization([0.0], [1.0], "full scale")  # ToTensor alone

sides = st.integers(1, 40) | st.integers(1, 5000)


def image_of(height, width, seed=0):
    return Image.fromarray(random_pixels(height, width, 3, seed=seed).numpy())


def to_tensor(image):
    return torchvision.to_tensor(image)


@pytest.fixture(scope="module")
def photographs():
    return [Image.open(path).convert("RGB") for path in shipped_photographs()]


def outcome(call):
    """What a call returns; an error's class where it has one, as for images that come to nothing."""
    try:
        return call()
    except (ValueError, ZeroDivisionError):
        return ValueError


def check(target, published, images=None, **options):
    """The same bits from this library's paths as from `published`, of each image alone; the same refusals."""
    images = [image_of(*size, seed=i) for i, size in enumerate(SIZES)] if images is None else images
    target = dataclasses.replace(target, batch=False)
    compared = 0
    for image in images:
        wanted = outcome(lambda image=image: torch.as_tensor(published(image)))
        for call in (fastnorm.fused_preprocess, reference.preprocess):
            got = outcome(lambda image=image, call=call: call([image], [target], **options)[0][0])
            if wanted is ValueError or got is ValueError:
                assert wanted is got, (image.size, wanted, got)
            else:
                assert_same_bits(got, wanted)
                compared += 1
    assert compared > len(images), "most images are not refused"


def check_photographs(target, published, images):
    target = dataclasses.replace(target, batch=False)
    outputs, *_ = fastnorm.fused_preprocess(images, [target])
    for image, output in zip(images, outputs, strict=True):
        assert_same_bits(output, torch.as_tensor(published(image)))


def by_processor(processor, **options):
    return lambda image: processor(image, return_tensors="np", **options)["pixel_values"][0]


# --- sizes alone, on any sides


@given(height=sides, width=sides, size=st.integers(1, 1500), more=st.integers(1, 800))
@example(height=480, width=1600, size=800, more=533)
def test_shortest_and_longest_of_torchvision(height, width, size, more):
    rule = Sides(shortest=size, longest=size + more)
    wanted = torchvision._compute_resized_output_size((height, width), [size], max_size=size + more)
    assert list(rule(height, width)) == wanted
    assert list(Sides(shortest=size)(height, width)) == torchvision._compute_resized_output_size(
        (height, width), [size]
    )


@given(height=sides, width=sides, size=st.integers(1, 1500))
def test_longest_of_torchvision(height, width, size):
    wanted = torchvision._compute_resized_output_size((height, width), None, max_size=size, allow_size_none=True)
    assert list(Sides(longest=size)(height, width)) == wanted


@given(height=sides, width=sides, size=st.integers(1, 1500), longest=st.integers(1, 2000))
@example(height=480, width=1600, size=800, longest=1333)
@example(height=401, width=1333, size=800, longest=1333)
@example(height=7, width=7, size=7, longest=3)
def test_shortest_and_longest_of_transformers(height, width, size, longest):
    rule = Sides(shortest=size, longest=longest, rule="transformers")
    assert rule(height, width) == get_size_with_aspect_ratio((height, width), size, longest)


@given(height=sides, width=sides, within=st.tuples(st.integers(1, 2000), st.integers(1, 2000)))
@example(height=7, width=1, within=(448, 448))
def test_within_of_transformers(height, width, within):
    rule = Sides(within=within, rule="transformers")
    assert rule(height, width) == get_image_size_for_max_height_width((height, width), *within)


@given(height=sides, width=sides, size=st.tuples(st.integers(1, 700), st.integers(1, 700)))
def test_within_and_covering_of_timm(height, width, size):
    image = np.broadcast_to(np.uint8(0), (height, width))
    shape = (
        torch.from_numpy(image.copy())[None] if height * width < 10**6 else torch.empty(1, height, width, device="meta")
    )
    for longest, rule in ((1.0, Sides(within=size, rule="timm")), (0.0, Sides(covering=size, rule="timm"))):
        assert list(rule(height, width)) == ResizeKeepRatio.get_params(shape, size, longest)


@given(height=sides, width=sides, within=st.tuples(st.integers(1, 2000), st.integers(1, 2000)))
@example(height=7, width=7, within=(29, 29))  # 7 * (29 / 7) is more than 29
@example(height=672, width=1, within=(336, 672))
def test_within_of_llava_next(height, width, within):
    rule = Sides(within=within, rule="transformers", rounding="ceil")
    planes = np.broadcast_to(np.uint8(0), (3, height, width))
    assert rule(height, width) == get_patch_output_size(planes, within, "channels_first")


@given(height=st.integers(1, 60), width=st.integers(1, 60), size=st.tuples(st.integers(1, 50), st.integers(1, 50)))
def test_within_and_covering_of_pillow(height, width, size):
    image = Image.new("RGB", (width, height))
    for function, rule in (
        (ImageOps.contain, Sides(within=size, rule="pillow")),
        (ImageOps.cover, Sides(covering=size, rule="pillow")),
    ):
        wanted = outcome(lambda function=function: function(image, size[::-1]).size[::-1])
        if wanted is not ValueError and min(wanted) > 0:
            assert rule(height, width) == wanted


@given(
    height=sides,
    width=sides,
    factor=st.sampled_from([14, 28, 32]),
    least=st.integers(1, 10**6),
    more=st.integers(0, 10**7),
)
@example(height=56, width=56, factor=28, least=3136, more=1_000_000)
@example(height=3000, width=2000, factor=28, least=3136, more=1_000_384)
@example(height=1, width=500, factor=28, least=3136, more=1_000_384)
def test_area_is_smart_resize(height, width, factor, least, more):
    rule = Area(factor, min_pixels=least, max_pixels=least + more)
    wanted = outcome(lambda: smart_resize(height, width, factor, least, least + more))
    assert outcome(lambda: rule(height, width)) == wanted


@given(height=sides, width=sides)
@example(height=1, width=7)
def test_longest_sides_of_single_processors(height, width):
    sam = Sides(longest=1024, rule="transformers", rounding="half_up")
    assert sam(height, width) == SamImageProcessorPil()._get_preprocess_shape((height, width), 1024)
    planes = np.broadcast_to(np.uint8(0), (3, height, width))
    assert Sides(longest=448, rule="pillow", rounding="floor")(height, width) == tvp_size(
        planes, 448, input_data_format="channels_first"
    )
    pixtral = Sides(
        within=(1024, 768), enlarge=False, rule="timm", rounding="floor", multiple_of=16, multiple_rounding="ceil"
    )
    wanted = pixtral_size(planes, (1024, 768), (16, 16), input_data_format="channels_first")
    if min(wanted) > 0:
        assert pixtral(height, width) == wanted


@given(height=sides, width=sides)
def test_buckets_of_kontext(height, width):
    rule = Buckets([(h, w) for w, h in PREFERRED_KONTEXT_RESOLUTIONS])
    _, wanted_width, wanted_height = min((abs(width / height - w / h), w, h) for w, h in PREFERRED_KONTEXT_RESOLUTIONS)
    assert rule(height, width) == (wanted_height, wanted_width)


# --- torchvision on PIL images


FILTERS = ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]


@pytest.mark.parametrize("name", FILTERS)
def test_torchvision_with_max_size(name):
    pipeline = transforms.Compose(
        [transforms.Resize(20, InterpolationMode[name.upper()], max_size=50), transforms.ToTensor()]
    )
    check(Target(FULL_SCALE, Sides(shortest=20, longest=50), name), pipeline)


def test_torchvision_with_max_size_alone():
    pipeline = v2.Compose([v2.Resize(None, max_size=40), transforms.ToTensor()])
    check(Target(FULL_SCALE, Sides(longest=40)), pipeline)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize("after", [False, True])
def test_torchvision_pad(mode, after):
    pad = transforms.Pad((5, 2, 9, 40), fill=(12, 255, 7) if mode == "constant" else 0, padding_mode=mode)
    resize = transforms.Resize((23, 31), InterpolationMode.BICUBIC)
    pads = Pad(fill=(12, 255, 7)) if mode == "constant" else Pad(mode=mode)
    border = Border(2, 5, 40, 9)
    if after:
        target = Target(FULL_SCALE, pad=pads, before=[Resize((23, 31), "bicubic"), border], crop=Crop((50, 20)))
        steps = [resize, pad, transforms.CenterCrop((50, 20))]
    else:
        target = Target(FULL_SCALE, (23, 31), "bicubic", pad=pads, before=border)
        steps = [pad, resize]
    check(target, transforms.Compose([*steps, transforms.ToTensor()]))


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric"])
def test_a_crop_padded_with_pixels_is_timms(mode):
    pipeline = transforms.Compose(
        [transforms.Resize((23, 31)), CenterCropOrPad((70, 20), padding_mode=mode), transforms.ToTensor()]
    )
    check(Target(FULL_SCALE, (23, 31), crop=(70, 20), pad=Pad(mode=mode)), pipeline)


def test_crop_before_resize():
    pipeline = transforms.Compose([transforms.CenterCrop((30, 24)), transforms.Resize(17), transforms.ToTensor()])
    check(Target(FULL_SCALE, 17, before=Crop((30, 24))), pipeline)


def test_resized_crop():
    def published(image):
        top, left = image.height // 5, image.width // 3
        height, width = image.height - top, image.width - left
        return to_tensor(torchvision.resized_crop(image, top, left, height, width, [12, 15]))

    def cut(height, width):
        return height - height // 5, width - width // 3

    images = [image_of(*size) for size in SIZES]
    for image in images:
        top, left = image.height // 5, image.width // 3
        target = Target(FULL_SCALE, (12, 15), before=Border(-top, -left, 0, 0), batch=False)
        ((got,),) = fastnorm.fused_preprocess([image], [target])
        assert_same_bits(got, published(image))
        by_rule = Target(FULL_SCALE, (12, 15), before=Crop(cut, (top, left)), batch=False)
        ((got,),) = fastnorm.fused_preprocess([image], [by_rule])
        assert_same_bits(got, published(image))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_vertical_flip(flip, before):
    crop = transforms.CenterCrop((21, 18))

    def published(image):
        resized = torchvision.resize(image, 20)
        mirrored = torchvision.vflip(resized if before else crop(resized))
        mirrored = torchvision.hflip(mirrored) if flip else mirrored
        return to_tensor(crop(mirrored) if before else mirrored)

    check(Target(FULL_SCALE, 20, crop=(21, 18)), published, vertical_flip=True, flip=flip, flip_before_crop=before)


def test_flips_draw_what_torchvision_draws():
    pipeline = transforms.Compose(
        [
            transforms.Resize(20),
            transforms.RandomCrop(12, pad_if_needed=True),
            transforms.RandomHorizontalFlip(),
            transforms.RandomVerticalFlip(),
            transforms.ToTensor(),
        ]
    )
    images = [image_of(31, 40, seed) for seed in range(20)]
    torch.manual_seed(3)
    wanted = torch.stack([pipeline(image) for image in images])
    target = Target(FULL_SCALE, 20, crop=Crop(12, "random"))
    torch.manual_seed(3)
    (got,), (offsets,) = fastnorm.fused_preprocess(
        images, [target], flip="random", vertical_flip="random", return_offsets=True
    )
    assert_same_bits(got, wanted)
    assert ((offsets >= 0) & (offsets <= torch.tensor([20 - 12, 25 - 12]))).all()


def test_offsets_of_images_mirrored_upside_down_are_those_of_others():
    images = [image_of(31, 40), image_of(9, 50)]
    target = Target(FULL_SCALE, 20, crop=Crop((30, 11), (-4, 3)))
    for before in (False, True):
        _, (wanted,) = fastnorm.fused_preprocess(images, [target], return_offsets=True, flip_before_crop=before)
        _, (got,) = fastnorm.fused_preprocess(
            images, [target], return_offsets=True, flip_before_crop=before, vertical_flip=True, flip=[False, True]
        )
        assert got.tolist() == wanted.tolist() == [[-4, 3], [-4, 3]]


# --- Pillow's own options


@st.composite
def boxes(draw):
    """An image's size, what it becomes, and a box of it: fractions, whole numbers, all of an axis."""
    height, width, new_height, new_width = (draw(st.integers(1, 90)) for _ in range(4))
    sides = []
    for length in (width, height):
        whole = draw(st.booleans())
        low = 0.0 if whole else draw(st.floats(0, length * 0.75, width=32))
        high = float(length) if whole else draw(st.floats(low, length, width=32))
        sides.append((low, high if high > low else float(length)))
    (left, right), (top, bottom) = sides
    return (height, width), (new_height, new_width), (left, top, right, bottom)


@given(case=boxes(), name=st.sampled_from(FILTERS), gap=st.sampled_from([None, 1.0, 1.01, 2.0, 3.0]))
@example(case=((90, 2), (3, 2), (0.0, 0.0, 2.0, 90.0)), name="bicubic", gap=1.0)
@example(case=((90, 90), (3, 2), (0.25, 0.5, 89.75, 90.0)), name="bicubic", gap=1.0)
@example(case=((310, 3), (20, 2), (0.25, 0.5, 3.0, 300.0)), name="bilinear", gap=None)
@example(case=((310, 3), (305, 2), (0.25, 0.5, 3.0, 300.0)), name="bilinear", gap=None)
@example(case=((620, 6), (20, 2), (0.0, 0.0, 6.0, 620.0)), name="bilinear", gap=1.5)
@example(case=((20, 20), (20, 20), (0.0, 0.0, 20.0, 20.0)), name="bicubic", gap=1.0)
def test_boxes_and_reducing_gap(case, name, gap):
    size, resized, box = case
    image = image_of(*size)
    wanted = np.asarray(image.resize(resized[::-1], Image.Resampling[name.upper()], box, gap))
    target = Target(FULL_SCALE, resized, name, reducing_gap=gap)
    for call in (fastnorm.fused_preprocess, reference.preprocess):
        (got,) = call([image], [target], boxes=[[box]])
        assert_same_bits(got[0], to_tensor(Image.fromarray(wanted)))


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("gap", [1.0, 1.5, 2.0, 3.0])
def test_reducing_gap_of_larger_images(name, gap):
    images = [image_of(*size) for size in [(400, 300), (37, 801), (600, 5), (257, 255)]]
    for size in [(7, 9), (40, 30), (1, 1), (99, 2)]:
        target = Target(FULL_SCALE, size, name, reducing_gap=gap)
        (got,) = fastnorm.fused_preprocess(images, [target])
        wanted = [i.resize(size[::-1], Image.Resampling[name.upper()], reducing_gap=gap) for i in images]
        assert_same_bits(got, torch.stack([to_tensor(image) for image in wanted]))
        (got,) = reference.preprocess(images, [target])
        assert_same_bits(got, torch.stack([to_tensor(image) for image in wanted]))


# --- ADM's center_crop_arr, from its description: halve by BOX while twice as large, one BICUBIC resize, a centre crop


def center_crop_arr(size):
    def crop(image):
        while min(image.size) // size >= 2:
            image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
        factor = size / min(image.size)
        image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)
        pixels = np.asarray(image)
        top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
        return to_tensor(Image.fromarray(pixels[top : top + size, left : left + size]))

    return crop


def adm(size):
    return Target(
        FULL_SCALE,
        Sides(shortest=size, rule="transformers", rounding="round"),
        "bicubic",
        Crop(size, "transformers"),
        before=Halve(size),
    )


@pytest.mark.parametrize("size", [7, 16, 31])
def test_center_crop_arr(size):
    check(adm(size), center_crop_arr(size))


@pytest.mark.parametrize("size", [64, 256, 512])
def test_center_crop_arr_of_photographs(size, photographs):
    check_photographs(adm(size), center_crop_arr(size), photographs)


def test_photographs_through_the_kernels(photographs):
    """What changes the kernels' tables, records or inputs, on as many pixels as Triton's interpreter gets through."""
    arguments = ((40, 40), 0.9, "border", "lanczos")
    cases = [
        (adm(40), center_crop_arr(40)),
        (timm_target(*arguments), timm_transform(*arguments)),
        (
            Target(FULL_SCALE, (30, 44), "nearest"),
            lambda image: to_tensor(image.resize((44, 30), Image.Resampling.NEAREST)),
        ),
    ]
    images = [image.crop((40, 60, 140, 192)) for image in photographs[:2]]
    outputs = preprocess_by_kernel(images, [target for target, _ in cases])
    for output, (_, published) in zip(outputs, cases, strict=True):
        assert_same_bits(output, torch.stack([published(image) for image in images]))


def test_omnigens_crop_to_a_multiple():
    def published(image):
        while min(image.size) >= 2 * 24:
            image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
        if max(image.size) > 24:
            factor = 24 / max(image.size)
            image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)
        pixels = np.asarray(image)
        top, left = pixels.shape[0] % 4 // 2, pixels.shape[1] % 4 // 2
        bottom, right = pixels.shape[0] - (pixels.shape[0] % 4 - top), pixels.shape[1] - (pixels.shape[1] % 4 - left)
        return to_tensor(Image.fromarray(pixels[top:bottom, left:right]))

    target = Target(
        FULL_SCALE,
        Sides(within=24, enlarge=False, rule="transformers", rounding="round"),
        "bicubic",
        Crop(Sides(multiple_of=4, multiple_rounding="floor"), "transformers"),
        before=Halve(24),
    )
    images = [image_of(*size) for size in [(31, 47), (90, 61), (64, 64), (120, 160), (45, 46), (200, 90)]]
    check(target, published, images)


# --- timm and open_clip


def timm_transform(size, crop_pct, mode, interpolation="bicubic", mean=(0.48, 0.45, 0.4), std=(0.2, 0.3, 0.25)):
    return timm.data.create_transform(
        (3, *size), interpolation=interpolation, mean=mean, std=std, crop_pct=crop_pct, crop_mode=mode
    )


def timm_target(size, crop_pct, mode, interpolation="bicubic", mean=(0.48, 0.45, 0.4), std=(0.2, 0.3, 0.25)):
    scaled = tuple(math.floor(side / crop_pct) for side in size)
    normalization = Normalization(mean, std)
    if mode == "squash":
        return Target(normalization, scaled, interpolation, size)
    if mode == "border":
        fill = [round(255 * value) for value in mean]
        return Target(normalization, Sides(within=scaled, rule="timm"), interpolation, size, Pad(fill))
    if scaled[0] == scaled[1]:
        return Target(normalization, scaled[0], interpolation, size)
    return Target(normalization, Sides(covering=scaled, rule="timm"), interpolation, size)


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("size", [(24, 24), (31, 22)])
def test_timm(mode, crop_pct, size):
    check(timm_target(size, crop_pct, mode), timm_transform(size, crop_pct, mode))


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_timm_on_photographs(mode, photographs):
    arguments = ((224, 224), 0.9, mode, "bilinear")
    check_photographs(timm_target(*arguments), timm_transform(*arguments), photographs)


def test_timm_that_trims_a_border():
    pipeline = timm.data.create_transform((3, 24, 24), crop_pct=1.0, crop_border_pixels=3)
    images = [image_of(*size) for size in SIZES if min(size) > 6]
    check(Target(IMAGENET, 24, "bilinear", 24, before=Border(-3)), pipeline, images)


def open_clip_target(size, mode, fill=0):
    if mode == "squash":
        return Target(fastnorm.CLIP, (size, size), "bicubic")
    if mode == "longest":
        return Target(fastnorm.CLIP, Sides(within=size, rule="timm"), "bicubic", size, Pad(fill))
    return Target(fastnorm.CLIP, size, "bicubic", size)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_open_clip(mode, photographs):
    for size, run, images in ((24, check, None), (224, check_photographs, photographs)):
        published = image_transform_v2(PreprocessCfg(size=size, resize_mode=mode, fill_color=0), is_train=False)
        run(open_clip_target(size, mode), published, images)


# --- diffusers


def test_vae_image_processor(photographs):
    processor = VaeImageProcessor()
    target = Target(fastnorm.VAE, (512, 768), "lanczos")
    check_photographs(target, lambda image: processor.preprocess(image, height=512, width=768)[0], photographs)


def test_vae_image_processor_of_images_size():
    processor = VaeImageProcessor(resample="bicubic")
    target = Target(fastnorm.VAE, Sides(multiple_of=8, multiple_rounding="floor"), "bicubic")
    images = [image_of(*size) for size in [(31, 47), (90, 61), (64, 64), (120, 160), (45, 46), (8, 100)]]
    check(target, lambda image: processor.preprocess(image)[0], images)


def test_vae_image_processor_that_crops():
    processor = VaeImageProcessor(vae_scale_factor=1)
    target = Target(fastnorm.VAE, Sides(covering=(24, 30)), "lanczos", Crop((24, 30), "transformers"))
    half = [image_of(*size) for size in [(31, 48), (90, 60), (64, 64), (120, 160), (46, 46)]]
    check(target, lambda image: processor.preprocess(image, height=24, width=30, resize_mode="crop")[0], half)


def test_vae_image_processor_with_a_gap(photographs):
    processor = VaeImageProcessor(reducing_gap=2)
    target = Target(fastnorm.VAE, (64, 96), "lanczos", reducing_gap=2)
    check_photographs(target, lambda image: processor.preprocess(image, height=64, width=96)[0], photographs)


# --- transformers' Pillow backend


IMAGENET, HALF, CLIP = fastnorm.IMAGENET, fastnorm.SIGLIP, fastnorm.CLIP


WITHOUT_LINES = (PerceiverImageProcessorPil, GLPNImageProcessorPil)


def transformers_cases():
    yield "ViT", ViTImageProcessorPil(size={"height": 24, "width": 20}), Target(HALF, (24, 20))
    yield (
        "SigLIP",
        SiglipImageProcessorPil(size={"height": 24, "width": 20}),
        Target(HALF, {"height": 24, "width": 20}, "bicubic"),
    )
    yield (
        "ConvNext, which crops",
        ConvNextImageProcessorPil(size={"shortest_edge": 24}, crop_pct=0.875),
        Target(HALF, int(24 / 0.875), "bicubic", Crop(24, "transformers")),
    )
    yield (
        "LeViT",
        LevitImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}),
        Target(IMAGENET, int(256 / 224 * 24), "bicubic", Crop(24, "transformers")),
    )
    yield (
        "PoolFormer",
        PoolFormerImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}, crop_pct=0.9),
        Target(IMAGENET, int(24 / 0.9), "bicubic", Crop(24, "transformers")),
    )
    yield (
        "Perceiver, which crops before it resizes",
        PerceiverImageProcessorPil(size={"height": 24, "width": 24}, crop_size={"height": 28, "width": 28}),
        Target(IMAGENET, (24, 24), "bicubic", before=Crop(Square("shortest", 24 / 28), "transformers")),
    )
    yield (
        "TextNet",
        TextNetImageProcessorPil(size={"shortest_edge": 24}, size_divisor=8),
        Target(IMAGENET, Sides(shortest=24, multiple_of=8)),
    )
    yield (
        "GLPN",
        GLPNImageProcessorPil(size_divisor=8),
        Target(FULL_SCALE, Sides(multiple_of=8, multiple_rounding="floor")),
    )
    yield (
        "Pixtral",
        PixtralImageProcessorPil(size={"longest_edge": 48}, patch_size={"height": 8, "width": 8}),
        Target(CLIP, Sides(within=48, enlarge=False, rule="timm", rounding="floor", multiple_of=8), "bicubic"),
    )
    yield (
        "LLaVA, which pads to a square before it resizes",
        LlavaImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}, do_pad=True),
        Target(
            CLIP,
            24,
            "bicubic",
            Crop(24, "transformers"),
            Pad([int(255 * value) for value in CLIP.mean]),
            before=Crop(Square("longest")),
        ),
    )
    yield (
        "Janus, which pads to a square afterwards",
        JanusImageProcessorPil(size={"height": 24, "width": 24}, min_size=5),
        Target(
            CLIP,
            Sides(longest=24, rule="transformers", rounding="round", minimum=5),
            "bicubic",
            Crop(Square("longest")),
            Pad([int(255 * value) for value in CLIP.mean]),
        ),
    )
    yield (
        "SAM, which pads what it has normalised",
        SamImageProcessorPil(size={"longest_edge": 24}, pad_size={"height": 24, "width": 26}),
        Target(
            IMAGENET,
            Sides(longest=24, rule="transformers", rounding="half_up"),
            "bilinear",
            Crop((24, 26), (0, 0)),
            Pad(value=0.0),
        ),
    )
    yield (
        "DETR",
        DetrImageProcessorPil(size={"shortest_edge": 24, "longest_edge": 40}, do_pad=False),
        Target(IMAGENET, {"shortest_edge": 24, "longest_edge": 40}),
    )


@pytest.mark.parametrize(("processor", "target"), [pytest.param(*c[1:], id=c[0]) for c in transformers_cases()])
def test_transformers(processor, target, photographs):
    # Of a single line, Perceiver crops nothing and makes black of that; GLPN's multiples come to nothing.
    images = [image_of(*size) for size in SIZES if min(size) > (8 if isinstance(processor, WITHOUT_LINES) else 0)]
    check(target, by_processor(processor), images)
    check_photographs(target, by_processor(processor), photographs)


def test_qwens_sizes():
    processor = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 28 * 28 * 2, "longest_edge": 28 * 28 * 20}, patch_size=14, merge_size=2
    )
    target = Target(CLIP, Area(28, min_pixels=28 * 28 * 2, max_pixels=28 * 28 * 20), "bicubic", batch=False)
    images = [image_of(*size) for size in SIZES if max(size) <= 200 * min(size)]
    ((*outputs,),) = fastnorm.fused_preprocess(images, [target])
    for image, output in zip(images, outputs, strict=True):
        wanted = processor(image, return_tensors="pt")
        _, rows, columns = wanted["image_grid_thw"][0].tolist()
        assert output.shape == (3, 14 * rows, 14 * columns)
        # The first of the two frames of each patch, put back in its place.
        patches = wanted["pixel_values"].view(rows // 2, columns // 2, 2, 2, 3, 2, 14, 14)[:, :, :, :, :, 0]
        assert_same_bits(output, patches.permute(4, 0, 2, 5, 1, 3, 6).reshape(3, 14 * rows, 14 * columns))


def test_fuyus_size():
    processor = FuyuImageProcessorPil()
    rule = Sides(within=(40, 60), enlarge=False, rule="transformers")
    size = type(processor.size)(height=40, width=60) if not isinstance(processor.size, dict) else None
    for height, width in [(31, 47), (90, 61), (120, 160), (40, 60), (41, 60), (40, 61), (400, 77)]:
        planes = np.zeros((3, height, width), np.uint8)
        assert rule(height, width) == processor.resize(planes, size, resample=2).shape[-2:]


def test_a_batch_is_padded_to_its_largest_image():
    processor = DetrImageProcessorPil(size={"shortest_edge": 24, "longest_edge": 40})
    images = [image_of(*size) for size in [(31, 47), (90, 61), (64, 64), (45, 146)]]
    wanted = processor(images, return_tensors="pt").pixel_values
    target = Target(IMAGENET, {"shortest_edge": 24, "longest_edge": 40}, crop=Crop("batch", (0, 0)), pad=Pad(value=0.0))
    for call in (fastnorm.fused_preprocess, reference.preprocess):
        (got,) = call(images, [target])
        assert_same_bits(got, wanted)
        (alone,) = call(images[:1], [target])
        assert_same_bits(alone, processor(images[:1], return_tensors="pt").pixel_values)
