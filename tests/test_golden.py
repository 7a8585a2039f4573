"""Golden vectors: what is in the file, and that a reader with numpy and Pillow alone finds it consistent."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from transformers import CLIPImageProcessor, CLIPImageProcessorPil, SiglipImageProcessorPil, TvpImageProcessorPil

import fastnorm
from fastnorm import CLIP, CLIP_224, SIGLIP_224, Crop, Pad, Target
from fastnorm.spec.describe import fields
from fastnorm.spec.normalization import PRESETS
from fastnorm.verification.golden import FORMAT, save_golden
from helpers import random_pixels, transformers_alpha

FUSED = dataclasses.replace(CLIP, order="fused")


def random_image(height, width, seed=0):
    return Image.fromarray(random_pixels(height, width, 3, seed=seed).numpy())


def turned():
    image = random_image(250, 300, 3)
    image.getexif()[0x0112] = 6
    return image


def glass():
    image = random_image(240, 230, 4)
    image.putalpha(Image.fromarray(random_pixels(240, 230, seed=5).numpy()))
    return image


IMAGES = [random_image(227, 224), random_image(301, 450, 1), random_image(900, 100, 2)]

CASES = {
    "CLIP": (CLIPImageProcessorPil(), CLIP_224, IMAGES),
    "SigLIP": (SiglipImageProcessorPil(), SIGLIP_224, IMAGES),
    "torch": (CLIPImageProcessor(), dataclasses.replace(CLIP_224, normalization=FUSED, arithmetic="torch"), IMAGES),
    "alpha": (CLIPImageProcessorPil(), dataclasses.replace(CLIP_224, alpha=transformers_alpha()), [*IMAGES, glass()]),
    "padded": (
        CLIPImageProcessorPil(do_resize=False),
        Target(CLIP, crop=Crop(224, "transformers")),
        [random_image(100, 301)],
    ),
    "blue first": (
        TvpImageProcessorPil(image_mean=list(CLIP.mean), image_std=list(CLIP.std)),
        Target.from_config(TvpImageProcessorPil(image_mean=list(CLIP.mean), image_std=list(CLIP.std))),
        IMAGES,
    ),
}


def saved(tmp_path, case):
    processor, target, images = CASES[case]
    file = tmp_path / "golden.npz"
    save_golden(file, fastnorm.verify(processor, images, target), images)
    return file


# What a port reads, with nothing of this library.


def recompute_normalization(codes, target):
    """float32 outputs of uint8 pixels (3, h, w), one rounding per step."""
    if target["channel_order"] == "BGR":
        return recompute_normalization(codes, {**target, "channel_order": "RGB"})[::-1]
    x = codes.astype(np.float32)
    mean, std = (np.array(target[name], np.float32).reshape(3, 1, 1) for name in ("mean", "std"))
    if target["order"] == "fused":
        full = np.float32(255)
        return (x - mean * full) / (std * full)
    assert target["order"] == "to_tensor"
    return (x / np.float32(255) - mean) / std


def recompute_resize(pixels, entry, target):
    """Pillow's uint8 pixels (3, h, w) of (H, W, 3)."""
    image = Image.fromarray(pixels)
    if target["size"] is not None:
        height, width = entry["resized"]
        image = image.resize((width, height), Image.Resampling[target["resample"].upper()])
    assert [image.height, image.width] == entry["resized"]
    if target["crop"] is not None:
        (top, left), (height, width) = entry["offset"], target["crop"]["size"]
        image = image.crop((left, top, left + width, top + height))
    return np.asarray(image).transpose(2, 0, 1)


@pytest.mark.parametrize("case", CASES)
def test_the_file_alone_is_consistent(case, tmp_path):
    with np.load(saved(tmp_path, case)) as file:
        arrays = dict(file)
    description = json.loads(arrays.pop("description").tobytes())
    target = description["target"]
    assert len(arrays) == 3 * len(description["images"]) == 3 * len(CASES[case][2])
    for index, entry in enumerate(description["images"]):
        pixels, resized, output = (arrays[f"{name}_{index}"] for name in ("input", "resized", "output"))
        assert (pixels.dtype, resized.dtype, output.dtype) == (np.uint8, np.uint8, np.float32)
        assert resized.shape == output.shape
        assert np.array_equal(recompute_normalization(resized, target).view(np.uint32), output.view(np.uint32))
        if target["arithmetic"] == "pillow":
            assert np.array_equal(recompute_resize(pixels, entry, target), resized)


@pytest.mark.parametrize("case", CASES)
def test_the_outputs_are_the_processors(case, tmp_path):
    processor, _, images = CASES[case]
    with np.load(saved(tmp_path, case)) as file:
        for index, image in enumerate(images):
            theirs = processor(image, return_tensors="np").pixel_values
            assert np.array_equal(file[f"output_{index}"], theirs.reshape(theirs.shape[-3:]))
            assert file[f"input_{index}"].shape == (image.height, image.width, 3)


def test_the_description(tmp_path):
    with np.load(saved(tmp_path, "CLIP")) as file:
        description = json.loads(file["description"].tobytes())
    assert description["format"] == FORMAT
    assert description["processor"] == "CLIPImageProcessorPil"
    assert description["target"] == json.loads(json.dumps(fields(CLIP_224)))
    assert description["versions"]["fastnorm"] == fastnorm.__version__
    assert description["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert len(description["geometry"]) == 2
    first, second, third = description["images"]
    assert first == {"name": "images[0]", "resized": [227, 224], "offset": [1, 0], "vertical_first": False}
    assert second["resized"] == [224, 334]
    assert third["offset"] == [896, 0]
    assert third["resized"] == [2016, 224]


def test_an_orientation_is_applied_to_the_input(tmp_path):
    image = turned()
    target = dataclasses.replace(CLIP_224, exif="apply")

    def upright(image):
        return CLIPImageProcessorPil()(ImageOps.exif_transpose(image), return_tensors="pt")

    save_golden(tmp_path / "a.npz", fastnorm.verify(upright, image, target), image)
    with np.load(tmp_path / "a.npz") as file:
        assert np.array_equal(file["input_0"], np.asarray(ImageOps.exif_transpose(image)))


def test_what_differs_is_not_golden(tmp_path):
    found = fastnorm.verify(CLIPImageProcessor(), IMAGES, CLIP_224)
    with pytest.raises(ValueError, match=r"got a verification that found different pixels: .*; expected an identical"):
        save_golden(tmp_path / "a.npz", found, IMAGES)
    assert not (tmp_path / "a.npz").exists()


def test_half_outputs_are_not_golden(tmp_path):
    def half(image):
        return CLIPImageProcessorPil()(image, return_tensors="pt").pixel_values.half()

    with pytest.raises(ValueError, match="got outputs that are not float32"):
        save_golden(tmp_path / "a.npz", fastnorm.verify(half, IMAGES, CLIP_224), IMAGES)


@pytest.mark.parametrize(
    "target",
    [
        *fastnorm.spec.presets.TARGET_PRESETS.values(),
        Target(PRESETS["vae"], fastnorm.Sides(longest=64), crop=fastnorm.Square("longest"), pad=Pad(value=0.5)),
        Target(CLIP, crop=Crop((3, 4), (1, 2)), pad=False),
        Target(CLIP),
    ],
)
def test_fields_are_json(target):
    found = fields(target)
    assert json.loads(json.dumps(found)) == found
    assert found["mean"] == list(target.normalization.mean)
    assert (found["crop"] is None) is (target.crop is None)
    assert (found["pad"] is None) is (target.pad is False)
