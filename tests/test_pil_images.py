"""PIL images of every mode: what both published pipelines make of them."""

import dataclasses
import inspect
import io

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from torchvision import transforms
from transformers.image_transforms import convert_to_rgb
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import fastnorm
from fastnorm import CLIP, VAE, Target
from fastnorm.backends import select
from fastnorm.images.pil import ConversionError, to_rgb
from helpers import assert_same_bits, random_pixels

pytestmark = [pytest.mark.compat, pytest.mark.pillow]

VAE_24 = Target(VAE, size=24, crop=24)
CLIP_24 = Target(CLIP, size=24, resample="bicubic", crop=fastnorm.Crop(24, "transformers"))
torchvision_pipeline = transforms.Compose(
    [transforms.Resize(24), transforms.CenterCrop(24), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]
)
clip_processor = CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24})


def rgba(seed=0):
    """Every combination of colour and alpha, as good as: 60 x 70 random pixels, some of them opaque or invisible."""
    pixels = random_pixels(60, 70, 4, seed=seed).numpy()
    pixels[:20, :, 3], pixels[20:30, :, 3] = 255, 0
    return Image.fromarray(pixels)


def palette_with_transparency():
    image = rgba().convert("RGB").quantize(16)
    image.info["transparency"] = bytes(range(0, 160, 10))
    return image


def palette_with_alpha():
    image = rgba().convert("RGB").convert("P").convert("PA")
    image.putalpha(rgba().getchannel("A"))
    return image


def rgb_with_a_transparent_colour():
    image = rgba().convert("RGB")
    image.info["transparency"] = image.getpixel((5, 5))
    return image


# Releases up to 5.20 dropped alpha, as torchvision pipelines do.
TRANSFORMERS_ALPHA = "white" if "return_numpy" in inspect.signature(convert_to_rgb).parameters else "drop"

OPAQUE_MODES = ("RGB", "L", "1", "P", "CMYK", "YCbCr", "HSV", "LAB", "RGBX")
TRANSPARENT = {
    "RGBA": rgba,
    "LA": lambda: rgba().convert("LA"),
    "PA": palette_with_alpha,
    "RGBa": lambda: rgba().convert("RGBa"),
    "P with a transparent palette": palette_with_transparency,
    "RGB with a transparent colour": rgb_with_a_transparent_colour,
}


@pytest.mark.parametrize("mode", OPAQUE_MODES)
def test_opaque_modes_go_through_pillow_s_own_conversion(mode):
    image = rgba().convert("RGB").convert(mode)
    vae, clip = fastnorm.fused_preprocess([image], [VAE_24, CLIP_24])
    assert_same_bits(vae[0], torchvision_pipeline(image.convert("RGB")))
    assert_same_bits(clip, clip_processor(image.convert("RGB"), return_tensors="pt").pixel_values)


@pytest.mark.parametrize("make", TRANSPARENT.values(), ids=TRANSPARENT)
# Pillow would rather convert such palettes to RGBA; the published pipelines do not ask it.
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_transparent_pixels_are_dropped_or_put_on_white_as_the_two_pipelines_do(make):
    image = make()
    (vae,) = fastnorm.fused_preprocess([image], [VAE_24], alpha="drop")
    assert_same_bits(vae[0], torchvision_pipeline(image.convert("RGB")))
    (clip,) = fastnorm.fused_preprocess([image], [CLIP_24], alpha=TRANSFORMERS_ALPHA)
    assert_same_bits(clip, clip_processor(image, return_tensors="pt").pixel_values)
    with pytest.raises(ValueError, match=r"the image: got transparent pixels \(mode .*alpha='drop'.*alpha='white'"):
        fastnorm.fused_preprocess(image, [VAE_24])


CLIP_ON_WHITE, VAE_WITHOUT_ALPHA = (
    dataclasses.replace(CLIP_24, alpha="white"),
    dataclasses.replace(VAE_24, alpha="drop"),
)


@pytest.mark.parametrize("options", [{}, {"alpha": "error"}, {"alpha": "white"}, {"alpha": "drop"}], ids=str)
def test_each_target_chooses_what_becomes_of_transparent_pixels(options):
    """IP-Adapter's datasets: the image itself for CLIP's processor, convert("RGB") for the VAE."""
    images = [rgba(0), rgba(1).convert("RGB"), rgba(2)]
    vae, clip = fastnorm.fused_dual_preprocess(images, vae=VAE_WITHOUT_ALPHA, clip=CLIP_ON_WHITE, **options)
    assert_same_bits(vae, torch.stack([torchvision_pipeline(image.convert("RGB")) for image in images]))
    white = Image.new("RGBA", images[0].size, "white")
    on_white = [Image.alpha_composite(white, image.convert("RGBA")).convert("RGB") for image in images]
    if TRANSFORMERS_ALPHA == "white":
        for image, ours in zip(images, on_white, strict=True):
            assert np.array_equal(convert_to_rgb(image, return_numpy=True), ours)
    assert_same_bits(clip, torch.cat([clip_processor(image, return_tensors="pt").pixel_values for image in on_white]))
    reference = fastnorm.reference.preprocess(images, [VAE_WITHOUT_ALPHA, CLIP_ON_WHITE], **options)
    assert_same_bits(reference[0], vae)
    assert_same_bits(reference[1], clip)


def test_a_target_without_a_choice_takes_the_call_s():
    images = [rgba()]
    vae, clip = fastnorm.fused_dual_preprocess(images, vae=VAE_24, clip=CLIP_ON_WHITE, alpha="drop")
    assert_same_bits(vae, fastnorm.fused_preprocess(images, [VAE_WITHOUT_ALPHA])[0])
    assert_same_bits(clip, fastnorm.fused_preprocess(images, [CLIP_24], alpha="white")[0])
    with pytest.raises(ValueError, match="got transparent pixels"):
        fastnorm.fused_dual_preprocess(images, vae=VAE_24, clip=CLIP_ON_WHITE)


def test_each_file_is_decoded_once_for_all_targets(monkeypatch):
    files = [io.BytesIO(), io.BytesIO()]
    for index, file in enumerate(files):
        rgba(index).save(file, "PNG")
    decoded, load = [], PngImagePlugin.PngImageFile.load_prepare
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_prepare", lambda image: (decoded.append(image), load(image)))
    targets = [VAE_WITHOUT_ALPHA, CLIP_ON_WHITE, VAE_WITHOUT_ALPHA]
    fastnorm.fused_preprocess([Image.open(file) for file in files], targets)
    assert len(decoded) == 2


def test_targets_that_see_the_same_pixels_share_a_resize(monkeypatch):
    """Opaque images, tensors and packed buffers have no alpha to choose for."""
    written = []
    monkeypatch.setattr(select, "preprocess", lambda _, jobs: written.append(len(jobs)))
    opaque, targets = rgba().convert("RGB"), [VAE_WITHOUT_ALPHA, CLIP_ON_WHITE]
    pixels = torch.from_numpy(np.array(opaque))
    for images in ([opaque], [opaque, pixels], [pixels], pixels[None], fastnorm.PackedImages.pack([opaque])):
        fastnorm.fused_preprocess(images, targets)
    fastnorm.fused_preprocess([rgba()], [*targets, VAE_WITHOUT_ALPHA])
    assert written == [2, 2, 2, 2, 2, 2, 1]


def test_white_shows_through_in_proportion():
    image = rgba()
    *colours, alpha = np.moveaxis(np.asarray(image).astype(float), -1, 0)
    exact = np.stack([(colour * alpha + 255 * (255 - alpha)) / 255 for colour in colours], -1)
    # Pillow rounds the alpha's product and the sum each by half a code at most.
    assert np.abs(np.asarray(to_rgb(image, "white")) - exact).max() <= 1


def test_an_opaque_alpha_channel_is_dropped():
    image = rgba().convert("RGB")
    opaque = image.copy()
    opaque.putalpha(255)
    for alpha in ("error", "drop", "white"):
        assert np.array_equal(to_rgb(opaque, alpha), image)


def test_an_rgb_image_is_not_copied():
    image = rgba().convert("RGB")
    assert to_rgb(image) is image


@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_deep_modes_are_refused(mode):
    with pytest.raises(ConversionError, match=r"astype\('uint8'\)"):
        to_rgb(Image.new(mode, (4, 4)))


def turned(orientation):
    image = rgba().convert("RGB")
    exif = image.getexif()
    exif[0x0112] = orientation
    image.info["exif"] = exif.tobytes()
    return image


def test_an_exif_orientation_is_ignored_unless_asked_for():
    for orientation in range(1, 9):
        image = turned(orientation)
        assert to_rgb(image) is image
        upright = to_rgb(image, exif="apply")
        assert upright.size == (image.size if orientation < 5 else image.size[::-1])
    (got,) = fastnorm.fused_preprocess([turned(6)], [VAE_24], exif="apply")
    assert_same_bits(got[0], torchvision_pipeline(turned(6).transpose(Image.Transpose.ROTATE_270)))
    to_rgb(turned(1), exif="error")
    with pytest.raises(ValueError, match=r"images\[1\]: got an EXIF orientation of 6; .*exif='apply'"):
        fastnorm.fused_preprocess([turned(1), turned(6)], [VAE_24], exif="error")
