"""The published pipelines themselves, from their own packages, give the same bits."""

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torchvision import transforms
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import fastnorm
from fastnorm.data.files import shipped_photographs
from helpers import assert_same_bits, cpu_path, random_pixels

pytestmark = pytest.mark.compat

SIZE = 224


@pytest.fixture(autouse=True, params=["auto", "torch"])
def cpu(request):
    """With the native code where there is one, and without."""
    with cpu_path(request.param):
        yield


def noise_images():
    return [Image.fromarray(random_pixels(SIZE, SIZE, 3, seed=s).numpy()) for s in range(2)]


def photograph_crops():
    """224 x 224 crops of the photographs in the package."""
    crops = []
    for path in shipped_photographs():
        image = Image.open(path).convert("RGB")
        left, top = (image.width - SIZE) // 2, (image.height - SIZE) // 2
        crops.append(image.crop((left, top, left + SIZE, top + SIZE)))
    return crops


def every_code_image():
    pixels = np.tile(np.arange(256, dtype=np.uint8)[:SIZE, None, None], (1, SIZE, 3))
    pixels[:, : SIZE // 2] = np.arange(256, dtype=np.uint8)[256 - SIZE :, None, None]
    return [Image.fromarray(pixels)]


SOURCES = {"noise": noise_images, "photographs": photograph_crops, "codes": every_code_image}


@pytest.fixture(params=SOURCES)
def images(request):
    return SOURCES[request.param]()


@pytest.fixture
def batch(images):
    return np.stack([np.asarray(image) for image in images])


@pytest.mark.parametrize("target", [fastnorm.VAE, fastnorm.CLIP, fastnorm.IMAGENET], ids=lambda t: t.name)
def test_torchvision_totensor_and_normalize(target, images, batch):
    published = transforms.Compose([transforms.ToTensor(), transforms.Normalize(target.mean, target.std)])
    (got,) = fastnorm.fused_normalize(batch, [target])
    assert_same_bits(got, torch.stack([published(image) for image in images]))


def test_the_ip_adapter_pair(images, batch):
    """Normalize([0.5], [0.5]) for the VAE beside transformers' CLIP processor, as the tutorial's dataset has them."""
    vae_pipeline = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])
    clip_processor = CLIPImageProcessorPil()
    vae, clip = fastnorm.fused_dual_normalize(batch)
    assert_same_bits(vae, torch.stack([vae_pipeline(image) for image in images]))
    published = clip_processor(images, return_tensors="pt")["pixel_values"]
    assert published.shape == clip.shape  # at its own size the processor's resize and crop change nothing
    assert_same_bits(clip, published)


@pytest.mark.parametrize("target", [fastnorm.DINOV2, fastnorm.SIGLIP], ids=lambda t: t.name)
def test_transformers_with_another_target(target, images, batch):
    processor = CLIPImageProcessorPil(
        do_resize=False, do_center_crop=False, image_mean=list(target.mean), image_std=list(target.std)
    )
    (got,) = fastnorm.fused_normalize(batch, [target])
    assert_same_bits(got, processor(images, return_tensors="pt")["pixel_values"])


def test_from_config_reads_the_processor_itself():
    assert fastnorm.Normalization.from_config(CLIPImageProcessorPil()) == fastnorm.CLIP
    assert fastnorm.Normalization.from_config(CLIPImageProcessorPil().to_dict()) == fastnorm.CLIP


def test_the_presets_are_the_packages_constants():
    constants = transformers.image_utils
    assert (*fastnorm.CLIP.mean, *fastnorm.CLIP.std) == (*constants.OPENAI_CLIP_MEAN, *constants.OPENAI_CLIP_STD)
    assert list(fastnorm.IMAGENET.mean) == list(constants.IMAGENET_DEFAULT_MEAN)
    assert list(fastnorm.IMAGENET.std) == list(constants.IMAGENET_DEFAULT_STD)
    assert list(fastnorm.SIGLIP.mean) == list(constants.IMAGENET_STANDARD_MEAN)
    assert list(fastnorm.SIGLIP.std) == list(constants.IMAGENET_STANDARD_STD)
