"""`fastnorm.verify`: the real classes of other libraries, with mistakes planted in them that it has to name."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import transformers
from diffusers.image_processor import VaeImageProcessor
from open_clip.transform import image_transform
from PIL import Image, ImageOps
from timm.data import create_transform
from torchvision import transforms
from torchvision.transforms import InterpolationMode, v2
from transformers import (
    BitImageProcessor,
    CLIPImageProcessor,
    CLIPImageProcessorPil,
    MobileViTImageProcessorPil,
    SiglipImageProcessor,
    SiglipImageProcessorPil,
    ViTImageProcessor,
)

import fastnorm
from fastnorm import CLIP, CLIP_224, IMAGENET, VAE, Crop, Normalization, Target
from fastnorm.data.files import shipped_photographs
from fastnorm.verification.differences import difference
from helpers import random_pixels, transformers_alpha

pytestmark = pytest.mark.compat

FUSED = dataclasses.replace(CLIP, order="fused")
SAME_SIZE = Target(CLIP)
MOBILEVIT = Target.from_config(MobileViTImageProcessorPil())
OTHER_ALPHA = "drop" if transformers_alpha() == "white" else "white"  # than the installed transformers'


def noisy_blocks(height, width, seed=0):
    """Blocks, which every filter shows, with noise on them."""
    blocks = Image.fromarray(random_pixels(height // 16 + 2, width // 16 + 2, 3, seed=seed).numpy())
    return Image.blend(
        blocks.resize((width, height), Image.Resampling.NEAREST),
        Image.fromarray(random_pixels(height, width, 3, seed=seed + 1).numpy()),
        0.2,
    )


# The first has a margin of 3 pixels for a crop of 224, where the rules for the centre differ.
IMAGES = [noisy_blocks(227, 224), noisy_blocks(300, 451, 2), noisy_blocks(410, 256, 4)]


def rotated():
    """An image with an EXIF orientation."""
    image = noisy_blocks(300, 250, 6)
    image.getexif()[0x0112] = 6
    return image


def glass():
    """An image with transparent pixels."""
    image = noisy_blocks(240, 260, 8)
    image.putalpha(Image.fromarray(random_pixels(240, 260, seed=9).numpy()))
    return image


def torchvision_chain(*steps, size=224, crop=224):
    resize = transforms.Resize(size, InterpolationMode.BICUBIC)
    return transforms.Compose([resize, transforms.CenterCrop(crop), transforms.ToTensor(), *steps])


NORMALIZE = transforms.Normalize(CLIP.mean, CLIP.std)
CENTRED = dataclasses.replace(CLIP_224, crop=Crop())  # as torchvision_chain(NORMALIZE)

ON_TENSORS = transforms.Compose(  # resized as a tensor, normalised as ToTensor does
    [
        transforms.PILToTensor(),
        v2.Resize(224, InterpolationMode.BICUBIC),
        v2.CenterCrop(224),
        transforms.ConvertImageDtype(torch.float32),
        NORMALIZE,
    ]
)


def already_scaled(processor):
    """Gives an image processor what ToTensor has divided by 255."""

    def run(image):
        return processor(images=transforms.ToTensor()(image), return_tensors="np")

    return run


# By the kinds that have to be named: a processor with a mistake, the target it is taken for, and images.
PLANTED = {
    "arithmetic": (ON_TENSORS, CENTRED, IMAGES),
    "order": (CLIPImageProcessor(), dataclasses.replace(CLIP_224, arithmetic="torch"), IMAGES),
    "arithmetic order": (CLIPImageProcessor(), CLIP_224, IMAGES),
    "crop": (torchvision_chain(NORMALIZE), CLIP_224, IMAGES),
    "filter": (CLIPImageProcessorPil(resample=Image.Resampling.BILINEAR), CLIP_224, IMAGES),
    "exif": (
        lambda image: CLIPImageProcessorPil()(ImageOps.exif_transpose(image), return_tensors="pt"),
        CLIP_224,
        [*IMAGES, rotated()],
    ),
    "alpha": (CLIPImageProcessorPil(), dataclasses.replace(CLIP_224, alpha=OTHER_ALPHA), [*IMAGES, glass()]),
    "channels": (
        lambda image: CLIPImageProcessorPil()(np.array(image)[..., ::-1], return_tensors="pt"),
        CLIP_224,
        IMAGES,
    ),
    "rescale": (
        already_scaled(CLIPImageProcessorPil(do_resize=False, do_center_crop=False)),
        SAME_SIZE,
        IMAGES,
    ),
    "normalize": (torchvision_chain(NORMALIZE, NORMALIZE), CENTRED, IMAGES),
    "constants": (CLIPImageProcessorPil(image_mean=[0.5] * 3, image_std=[0.5] * 3), CLIP_224, IMAGES),
    "size": (SiglipImageProcessorPil(image_mean=list(CLIP.mean), image_std=list(CLIP.std)), CLIP_224, IMAGES),
}

# Further mistakes, with the words that the cause has to have.
FURTHER = {
    "torchvision's backend rescales twice": (
        already_scaled(CLIPImageProcessor(do_resize=False, do_center_crop=False)),
        Target(FUSED),
        "divides by 255 twice",
    ),
    "never scaled": (
        transforms.Compose([transforms.PILToTensor(), lambda x: x.float(), NORMALIZE]),
        SAME_SIZE,
        "does not divide by 255",
    ),
    "raw pixels": (transforms.PILToTensor(), SAME_SIZE, "does not divide by 255 and does not normalise"),
    "only ToTensor": (transforms.ToTensor(), SAME_SIZE, "does not subtract the mean and divide by the std"),
    "only v2's ToDtype": (
        v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]),
        SAME_SIZE,
        "does not subtract the mean and divide by the std",
    ),
    "a processor of its own output": (
        lambda image: (NORMALIZE(NORMALIZE(transforms.ToTensor()(image)) / 255))[None],
        SAME_SIZE,
        "divides by 255 and normalises, both twice",
    ),
    "v2's order": (
        v2.Compose(
            [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(CLIP.mean), list(CLIP.std))]
        ),
        SAME_SIZE,
        "normalises in the order 'to_dtype'",
    ),
    "another size": (
        torchvision_chain(NORMALIZE, size=336, crop=336),
        CENTRED,
        "resizes the short side to 336, crops to 336 x 336",
    ),
    "crop_pct": (
        torchvision_chain(NORMALIZE, size=math.floor(224 / 0.9)),
        CENTRED,
        "resizes the short side to 248, crops to 224 x 224",
    ),
    "no resize": (
        transforms.Compose([transforms.CenterCrop(224), transforms.ToTensor(), NORMALIZE]),
        CENTRED,
        "does not resize, crops to 224 x 224",
    ),
    "the exact size": (
        transforms.Compose([transforms.Resize((224, 224)), transforms.ToTensor(), NORMALIZE]),
        dataclasses.replace(CENTRED, resample="bilinear"),
        "resizes to 224 x 224",
    ),
    "size and arithmetic and order": (
        CLIPImageProcessor(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}),
        CLIP_224,
        "resizes with torch's arithmetic instead of Pillow's and normalises in the order 'fused' and resizes the "
        "short side to 336, crops to 336 x 336",
    ),
    "everything": (
        ViTImageProcessor(),
        fastnorm.IMAGENET_224,
        "resizes with torch's arithmetic instead of Pillow's and normalises in the order 'fused' and normalises "
        "with the mean and std of vae or siglip and resizes to 224 x 224",
    ),
    "channels and constants": (
        lambda image: CLIPImageProcessorPil(image_mean=[0.5] * 3, image_std=[0.5] * 3)(
            np.array(image)[..., ::-1], return_tensors="pt"
        ),
        CLIP_224,
        "normalises with the mean and std of vae or siglip and has its channels in the order B, G, R",
    ),
    "outputs turned round": (
        MobileViTImageProcessorPil(),
        dataclasses.replace(MOBILEVIT, channel_order="RGB"),
        "B, G, R",
    ),
    "outputs not turned round": (
        MobileViTImageProcessorPil(do_flip_channel_order=False),
        MOBILEVIT,
        "has its channels in the order R, G, B",
    ),
    "channels, and constants by their place": (
        lambda image: CLIPImageProcessorPil(
            image_mean=list(fastnorm.IMAGENET.mean), image_std=list(fastnorm.IMAGENET.std)
        )(np.array(image)[..., ::-1], return_tensors="pt"),
        CLIP_224,
        "normalises with the mean and std of imagenet or dinov2 and has its channels in the order B, G, R, while mean "
        "and std keep theirs",
    ),
    "channels of raw pixels": (
        lambda image: transforms.PILToTensor()(image).flip(0),
        SAME_SIZE,
        "has its channels in the order B, G, R and does not divide by 255 and does not normalise",
    ),
}


@pytest.mark.parametrize("kinds", PLANTED)
def test_a_planted_mistake_is_named(kinds):
    processor, target, images = PLANTED[kinds]
    found = fastnorm.verify(processor, images, target)
    assert not found.identical
    assert found.cause.kinds == tuple(kinds.split())
    assert found.cause.explains == "all"
    assert found.cause.left.differing == 0
    assert f"cause: the processor {found.cause.texts[0]}"[:60] in str(found)


@pytest.mark.once
@pytest.mark.parametrize("kinds", [kinds for kinds in PLANTED if kinds not in ("rescale", "normalize")])
def test_the_target_of_a_cause_is_the_processor(kinds):
    processor, target, images = PLANTED[kinds]
    cause = fastnorm.verify(processor, images, target).cause
    assert fastnorm.verify(processor, images, cause.target).identical


@pytest.mark.parametrize("kinds", ["rescale", "normalize"])
def test_what_no_target_does_has_no_target(kinds):
    assert fastnorm.verify(*PLANTED[kinds][::2], PLANTED[kinds][1]).cause.target is None


@pytest.mark.once
@pytest.mark.parametrize("name", FURTHER)
def test_further_mistakes(name):
    processor, target, text = FURTHER[name]
    images = IMAGES[1:2] if text.count(" and ") > 1 else IMAGES  # a search for several changes takes long
    cause = fastnorm.verify(processor, images, target).cause
    assert text in " and ".join(cause.texts)
    assert cause.explains == "all"


@pytest.mark.once
@pytest.mark.parametrize("kinds", PLANTED)
def test_rounding_is_told_from_other_pixels(kinds):
    processor, target, images = PLANTED[kinds]
    found = fastnorm.verify(processor, images, target)
    assert found.is_rounding is (kinds == "order")
    assert found.verdict.startswith("rounding: " if kinds == "order" else "different ")
    assert (found.difference.largest < 1e-5) is (kinds == "order")


def test_differences_are_in_both_units():
    """The order changes last bits; torch's arithmetic changes a pixel by 1."""
    processor, target, images = PLANTED["arithmetic"]
    apart = fastnorm.verify(processor, images, target).difference
    theirs = torch.stack([processor(image) for image in images])
    (ours,) = fastnorm.fused_preprocess(images, [target])
    assert apart.values == theirs.numel()
    assert apart.differing == int((theirs != ours).sum())
    assert apart.largest == float((theirs - ours).abs().max())
    assert apart.mean == pytest.approx(float((theirs - ours).double().abs().mean()), rel=1e-5)
    assert apart.largest_pixels == pytest.approx(1, abs=1e-4)
    assert apart.mean_pixels == pytest.approx(apart.differing / apart.values, rel=1e-4)


def test_what_no_change_gives_is_said_to_be_the_best():
    """A blurred image: none of the changes is that."""
    chain = transforms.Compose([transforms.GaussianBlur(3, 0.6), *torchvision_chain(NORMALIZE).transforms])
    found = fastnorm.verify(chain, IMAGES, dataclasses.replace(CENTRED, normalization=VAE))
    assert found.cause.kinds[0] == "constants"
    assert found.cause.explains == "most"
    assert 0 < found.cause.left.mean < found.difference.mean
    assert "less differs, but not nothing" in str(found)


def test_a_cause_has_to_explain_every_image():
    """One image of five goes another way: the change that explains the others is not the cause of all."""
    other = CLIPImageProcessorPil(resample=Image.Resampling.LANCZOS)
    usual = CLIPImageProcessorPil(resample=Image.Resampling.BILINEAR)

    def mixed(image):
        return (other if image.size == (900, 800) else usual)(image, return_tensors="pt")

    images = [noisy_blocks(230 + 10 * index, 250, index) for index in range(4)] + [noisy_blocks(800, 900)]
    cause = fastnorm.verify(mixed, images, CLIP_224).cause
    assert cause is None or cause.explains == "most"


def test_nothing_explains_noise():
    generator = torch.Generator().manual_seed(0)
    found = fastnorm.verify(lambda _: torch.randn(3, 224, 224, generator=generator), IMAGES[:1], CLIP_224)
    assert found.cause is None or found.cause.explains == "most"
    assert not found.identical


# What is identical

VAE_LANCZOS = Target(VAE, (64, 96), "lanczos")
IDENTICAL = {
    "transformers": (CLIPImageProcessorPil(), CLIP_224),
    "transformers, torchvision": (
        CLIPImageProcessor(),
        dataclasses.replace(CLIP_224, arithmetic="torch", normalization=FUSED),
    ),
    "torchvision": (torchvision_chain(NORMALIZE), CENTRED),
    "a batch of one": (lambda image: torchvision_chain(NORMALIZE)(image)[None], CENTRED),
    "an image in a batch in a batch": (lambda image: torchvision_chain(NORMALIZE)(image)[None, None], CENTRED),
    "an array": (lambda image: torchvision_chain(NORMALIZE)(image).numpy(), CENTRED),
    "a dictionary": (lambda image: {"pixel_values": torchvision_chain(NORMALIZE)(image)[None]}, CENTRED),
    "a list of one": (lambda image: CLIPImageProcessorPil()(image), CLIP_224),
    "diffusers": (
        VaeImageProcessor(),
        Target(VAE, fastnorm.Sides(multiple_of=8, multiple_rounding="floor"), "lanczos"),
    ),
    "timm": (
        create_transform(224, interpolation="bicubic", crop_pct=0.9, mean=IMAGENET.mean, std=IMAGENET.std),
        Target(IMAGENET, 248, "bicubic", 224),
    ),
    "open_clip": (image_transform(224, is_train=False), CENTRED),
    "float16": (lambda image: torchvision_chain(NORMALIZE)(image).half(), CENTRED),
    "bfloat16": (lambda image: torchvision_chain(NORMALIZE)(image).bfloat16(), CENTRED),
}


@pytest.mark.parametrize("name", IDENTICAL)
def test_identical(name):
    processor, target = IDENTICAL[name]
    found = fastnorm.verify(processor, IMAGES, target)
    assert found.identical
    assert found.cause is None
    assert not found.is_rounding
    assert found.difference.values == sum(math.prod(one.shape) for one in found.images) > 0
    assert "identical: no value of" in str(found)


def test_a_processor_that_holds_an_image_processor():
    class Processor:
        image_processor = CLIPImageProcessorPil()

    found = fastnorm.verify(Processor(), IMAGES, CLIP_224)
    assert found.identical
    assert found.processor == "CLIPImageProcessorPil"


def test_the_shipped_photographs_by_path():
    paths = shipped_photographs()
    found = fastnorm.verify(CLIPImageProcessorPil(), paths, CLIP_224)
    assert found.identical
    assert [one.name for one in found.images] == [str(path) for path in paths]
    assert fastnorm.verify(CLIPImageProcessorPil(), str(paths[0]), CLIP_224).images == found.images[:1]


@pytest.mark.parametrize(
    "family", [CLIPImageProcessor, SiglipImageProcessor, BitImageProcessor, ViTImageProcessor], ids=lambda c: c.__name__
)
@pytest.mark.parametrize("backend", ["pil", "torchvision"])
def test_without_a_target_the_processor_is_read(family, backend):
    processor = family() if backend == "torchvision" else getattr(transformers, f"{family.__name__}Pil")()
    images = [*IMAGES, *shipped_photographs(), rotated()]
    images += [glass()] if processor.do_convert_rgb else []
    found = fastnorm.verify(processor, images)
    assert found.identical
    assert found.target == Target.from_config(processor)


def test_another_dtype_is_not_identical():
    found = fastnorm.verify(lambda image: torchvision_chain(NORMALIZE)(image).double(), IMAGES, CENTRED)
    assert not found.identical
    assert found.difference.differing == 0
    assert found.verdict == (
        "the values are the same, the dtypes are not: got float64 of the processor, float32 of ours"
    )
    half = dataclasses.replace(CENTRED, dtype=torch.float16)
    assert not fastnorm.verify(torchvision_chain(NORMALIZE), IMAGES, half).identical


def test_a_last_place_of_a_narrow_dtype_is_rounding():
    """One in the last place of bfloat16 is 0.008 of the value."""
    values = torch.linspace(-2, 2, 3 * 40).view(3, 5, 8).bfloat16()
    beside = (values.view(torch.int16) + 1).view(torch.bfloat16)
    apart = difference(values, beside, CLIP)
    assert apart.is_rounding
    assert apart.differing == values.numel()
    assert apart.largest > 1e-3
    assert not difference(values, (values.view(torch.int16) + 2).view(torch.bfloat16), CLIP).is_rounding


def test_infinite_and_missing_values_differ():
    values = torch.zeros(3, 1, 2)
    for wrong in (math.nan, math.inf):
        apart = difference(torch.full_like(values, wrong), values, CLIP)
        assert apart.differing == 6
        assert math.isinf(apart.largest)
        assert not apart.is_rounding
    assert difference(torch.full_like(values, math.inf), torch.full_like(values, math.inf), CLIP).differing == 0


def test_the_sign_of_zero_is_a_difference():
    apart = difference(torch.zeros(3, 1, 1), -torch.zeros(3, 1, 1), CLIP)
    assert apart.differing == 3
    assert apart.is_rounding


def test_other_shapes_are_shown():
    found = fastnorm.verify(torchvision_chain(NORMALIZE, size=100, crop=96), IMAGES, CENTRED)
    assert found.difference.differing == found.difference.values == 3 * 3 * 96 * 96
    assert "images[0]: got shape (3, 96, 96) of the processor, (3, 224, 224) of the target" in str(found)


# Errors


@pytest.mark.parametrize(
    ("images", "kind", "text"),
    [
        ([], ValueError, r"images: got none, expected at least one PIL image or path: fastnorm.verify\("),
        ([IMAGES[0], np.array(IMAGES[0])], TypeError, r"images\[1\]: got ndarray, expected a PIL image or a path"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), TypeError, r"images\[0\]: got Tensor, expected a PIL image"),
        (["nowhere.jpg"], FileNotFoundError, "nowhere.jpg"),
        ([IMAGES[0], "nowhere.jpg"], FileNotFoundError, "nowhere.jpg"),
    ],
)
def test_images_that_are_none(images, kind, text):
    def never(_):
        raise AssertionError("called before the images were looked at")

    with pytest.raises(kind, match=text):
        fastnorm.verify(never, images, CLIP_224)


@pytest.mark.parametrize("processor", [None, 3, CLIPImageProcessorPil, "openai/clip-vit-large-patch14"])
def test_processors_that_are_none(processor):
    name = getattr(processor, "__name__", type(processor).__name__)
    with pytest.raises(TypeError, match=f"processor: got {name}, expected an image processor, or a callable"):
        fastnorm.verify(processor, IMAGES, CLIP_224)


@pytest.mark.parametrize(
    ("output", "kind", "text"),
    [
        (None, TypeError, "gave NoneType, expected a tensor or an array"),
        (IMAGES[0], TypeError, "gave Image, expected a tensor or an array"),
        ([torch.zeros(3, 4, 4)] * 2, TypeError, "gave a list of 2, expected"),
        ({"labels": 1}, TypeError, "gave a dict without 'pixel_values'"),
        (torch.zeros(4, 4), ValueError, r"gave shape \(4, 4\), expected \(3, height, width\)"),
        (torch.zeros(1, 4, 4), ValueError, r"gave shape \(1, 4, 4\).*image.convert\('RGB'\)"),
        (torch.zeros(2, 3, 4, 4), ValueError, r"gave shape \(2, 3, 4, 4\).*; several images, patches or tiles: put"),
        (torch.zeros(256, 1176), ValueError, r"gave shape \(256, 1176\).*; several images, patches or tiles: put"),
        (np.zeros((4, 4, 3)), ValueError, r"gave shape \(4, 4, 3\).*transpose\(2, 0, 1\)"),
    ],
)
def test_outputs_of_another_kind(output, kind, text):
    def transform(_):
        return output

    with pytest.raises(kind, match=rf"images\[0\] \(mode RGB\): transform {text}"):
        fastnorm.verify(transform, IMAGES, CLIP_224)


def test_images_that_the_target_refuses():
    with pytest.raises(ValueError, match=r"images\[1\]: the target refuses this image: .*transparent pixels"):
        fastnorm.verify(CLIPImageProcessorPil(), [IMAGES[0], glass()], CLIP_224)


@pytest.mark.parametrize("target", [Normalization(0.5, 0.5), "CLIP_224"])
def test_targets_that_are_none(target):
    with pytest.raises(TypeError, match=r"target: got .*, expected a .*Target"):
        fastnorm.verify(CLIPImageProcessorPil(), IMAGES, target)
