"""The preset targets, each against the pipeline whose bits it gives: the installed torchvision and transformers."""

import dataclasses

import numpy as np
import pytest
import torch
from diffusers import VaeImageProcessor
from PIL import Image
from timm.models import get_pretrained_cfg
from torchvision import transforms
from torchvision.models import ResNet50_Weights
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms import functional as torchvision
from transformers import BitImageProcessor, CLIPImageProcessor, SiglipImageProcessor
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

import fastnorm
from fastnorm.spec.presets import TARGET_PRESETS, TARGET_SOURCES
from helpers import assert_same_bits, random_pixels

pytestmark = [pytest.mark.compat, pytest.mark.pillow]

HALF = transforms.Normalize([0.5], [0.5])
IMAGENET = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def by_torchvision(size, crop, interpolation, normalize):
    return transforms.Compose(
        [transforms.Resize(size, interpolation), transforms.CenterCrop(crop), transforms.ToTensor(), normalize]
    )


def ip_adapter_sdxl(image):
    """The dataset of tutorial_train_sdxl.py, which crops the normalised tensor."""
    resize = transforms.Resize(1024, InterpolationMode.BILINEAR)
    tensor = transforms.Compose([resize, transforms.ToTensor(), HALF])(image)
    top, left = ((side - 1024) // 2 for side in tensor.shape[1:])
    return torchvision.crop(tensor, top=top, left=left, height=1024, width=1024)


def adm(image, size=256):
    """center_crop_arr as its description has it, and what DiT's and REPA's scripts make of its pixels."""
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    factor = size / min(image.size)
    image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)
    left, top = ((side - size) // 2 for side in image.size)
    pixels = np.asarray(image)[top : top + size, left : left + size]
    return torch.from_numpy(pixels.copy()).movedim(-1, 0).to(torch.float32) / 127.5 - 1


def dinov3(mean, std, size=256):
    """make_transform of DINOv3's README."""
    return v2.Compose(
        [
            v2.ToImage(),
            v2.Resize((size, size), antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=mean, std=std),
        ]
    )


def siglip(size):
    return by_processor(SiglipImageProcessorPil(size={"height": size, "width": size}))


def by_processor(processor):
    return lambda image: processor(image, return_tensors="pt").pixel_values[0]


# facebook/dinov2-base's preprocessor_config.json, which names BitImageProcessor.
DINOV2_BASE = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 256},
}
# As transformers' convert_siglip_to_hf.py makes it for the models named siglip2.
SIGLIP2 = {"size": {"height": 224, "width": 224}, "resample": 2}
SAT = get_pretrained_cfg("vit_large_patch16_dinov3.sat493m")

PUBLISHED = {
    "VAE_512": by_torchvision(512, 512, InterpolationMode.BILINEAR, HALF),
    "VAE_1024": by_torchvision(1024, 1024, InterpolationMode.BILINEAR, HALF),
    "VAE_512_LANCZOS": by_torchvision(512, 512, InterpolationMode.LANCZOS, HALF),
    "VAE_1024_LANCZOS": by_torchvision(1024, 1024, InterpolationMode.LANCZOS, HALF),
    "VAE_1024_IP_ADAPTER": ip_adapter_sdxl,
    "VAE_256_ADM": adm,
    "VAE_IMAGE_PROCESSOR": lambda image: VaeImageProcessor().preprocess(image)[0],
    "CLIP_224": by_processor(CLIPImageProcessorPil()),
    "CLIP_224_TORCH": by_processor(CLIPImageProcessor()),
    "CLIP_336": by_processor(
        CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    ),
    "SIGLIP_224": siglip(224),
    "SIGLIP_224_TORCH": by_processor(SiglipImageProcessor()),
    "SIGLIP_384": siglip(384),
    "SIGLIP2_224": by_processor(SiglipImageProcessorPil(**SIGLIP2)),
    "SIGLIP2_224_TORCH": by_processor(SiglipImageProcessor(**SIGLIP2)),
    "IMAGENET_224": ResNet50_Weights.IMAGENET1K_V1.transforms(),
    "DINOV2_224": by_torchvision(256, 224, InterpolationMode.BICUBIC, IMAGENET),
    "DINOV2_224_HF": by_processor(BitImageProcessorPil(**DINOV2_BASE)),
    "DINOV2_224_TORCH": by_processor(BitImageProcessor(**DINOV2_BASE)),
    "DINOV3_256": dinov3(IMAGENET.mean, IMAGENET.std),
    "DINOV3_SAT_256": dinov3(SAT.mean, SAT.std),
}


def short_of(target):
    """The short side that a target resizes to; its width where it does not keep proportions."""
    return getattr(target.size, "shortest", None) or (target.size if isinstance(target.size, int) else target.size[1])


def sources(name):
    """Images that shrink and grow, and two whose margin is 3 modulo 4, where the rules of centring differ."""
    target = TARGET_PRESETS[name]
    if target.fixed_size is None:
        return [(61, 90), (203, 131), (64, 64), (9, 300)]
    short, crop = short_of(target), target.fixed_size.width
    odd = next(side for side in range(short + 1, 2 * short) if (int(short * side / short) - crop) % 4 == 3)
    return [(short, odd), (odd, short), (short // 2, short // 2 + 37), (short + 211, 2 * short + 60)]


@pytest.mark.parametrize("name", TARGET_PRESETS)
def test_a_preset_gives_the_bits_of_its_pipeline(name):
    target = getattr(fastnorm, name)
    images = [Image.fromarray(random_pixels(*size, 3, seed=i).numpy()) for i, size in enumerate(sources(name))]
    (got,) = fastnorm.fused_preprocess(images, [dataclasses.replace(target, batch=False)])
    for image, output in zip(images, got, strict=True):
        assert_same_bits(output, PUBLISHED[name](image))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("VAE_512", "VAE_512_LANCZOS"),
        ("VAE_1024", "VAE_1024_IP_ADAPTER"),
        ("DINOV2_224", "DINOV2_224_HF"),
        ("DINOV2_224_HF", "DINOV2_224_TORCH"),
        ("CLIP_224", "CLIP_224_TORCH"),
        ("SIGLIP_224", "SIGLIP_224_TORCH"),
        ("SIGLIP_224", "SIGLIP2_224"),
        ("SIGLIP2_224", "SIGLIP2_224_TORCH"),
        ("DINOV3_256", "DINOV3_SAT_256"),
    ],
)
def test_presets_of_two_pipelines_differ(one, other):
    images = [random_pixels(*size, 3) for size in sources(one)]
    got = fastnorm.fused_preprocess(images, [TARGET_PRESETS[one], TARGET_PRESETS[other]])
    assert not torch.equal(*got)


def test_every_preset_is_public_and_says_whose_bits_it_gives():
    assert TARGET_PRESETS.keys() == TARGET_SOURCES.keys() == PUBLISHED.keys()
    public = {name for name in fastnorm.__all__ if isinstance(getattr(fastnorm, name), fastnorm.Target)}
    assert public == TARGET_PRESETS.keys()
    for name, target in TARGET_PRESETS.items():
        assert getattr(fastnorm, name) is target
        assert target.fixed_size is None or str(target.fixed_size.width) in name
