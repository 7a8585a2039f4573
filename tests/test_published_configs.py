"""`Target.from_config` of torchvision, timm, open_clip and diffusers: the same bits as the real thing, or refused.

`tests/conformance` goes through all that these packages have; here is how their settings are understood.
"""

import dataclasses
import importlib
import json

import numpy as np
import pytest
import timm
import timm.data
import torch
import torchvision
from diffusers import VaeImageProcessor
from diffusers.image_processor import (
    InpaintProcessor,
    IPAdapterMaskProcessor,
    PixArtImageProcessor,
    VaeImageProcessorLDM3D,
)
from diffusers.pipelines.flux2.image_processor import Flux2ImageProcessor
from open_clip.transform import PreprocessCfg, _convert_to_rgb, image_transform_v2
from PIL import Image
from timm.data.transforms import CenterCropOrPad, MaybeToTensor, ResizeKeepRatio
from timm.models import get_pretrained_cfg
from torchvision import transforms
from torchvision.models import ResNet50_Weights, get_model_weights
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms._presets import SemanticSegmentation

import fastnorm
from conformance.row import compare
from fastnorm import Crop, Normalization, Pad, Sides, Target
from helpers import assert_same_bits, random_pixels

pytestmark = [pytest.mark.compat, pytest.mark.pillow]

TORCHVISION = tuple(map(int, torchvision.__version__.split(".")[:2]))

# Whose rows of the table may say "refused"; the reasons stand there.
MAY_BE_REFUSED = {
    "timm": (),
    "open_clip": (),
    "torchvision": ("VideoClassification",),
    "diffusers": (
        "BriaFibo2ImageProcessor",
        "Flux3ImageProcessor",
        "IPAdapterMaskProcessor",
        "InpaintProcessor",
        "JoyImageEditImageProcessor",
        "LTX2VideoHDRProcessor",
        "MarigoldImageProcessor",
        "VaeImageProcessor(do_binarize=True)",
        "VaeImageProcessor(do_convert_grayscale=True)",
        "VaeImageProcessorLDM3D",
        "VisualClozeProcessor",
        "WanAnimate",
    ),
}


@pytest.mark.parametrize("library", MAY_BE_REFUSED)
def test_every_configuration_that_a_package_has(library, request):
    """A tenth of them, or with --all-configs all. A row cannot be had where bits differ."""
    found = list(importlib.import_module(f"conformance.{library}_rows").rows(not request.config.option.all_configs))
    refused = [row.name for row in found if row.result != "identical"]
    assert [name for name in refused if not name.startswith(MAY_BE_REFUSED[library])] == []
    assert len(refused) < len(found)


SIZES = [(61, 90), (150, 47), (23, 31), (37, 37), (12, 200)]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BICUBIC = InterpolationMode.BICUBIC
OLD, NEW = transforms.Normalize(MEAN, STD), v2.Normalize(MEAN, STD)
TO_FLOAT = v2.ToDtype(torch.float32, scale=True)


def images():
    return [Image.fromarray(random_pixels(*size, 3, seed=seed).numpy()) for seed, size in enumerate(SIZES)]


def tensor_of(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


# --- torchvision

OF_PIL = {
    "resize, crop": [transforms.Resize(40, BICUBIC), transforms.CenterCrop(32), transforms.ToTensor(), OLD],
    "both sides": [transforms.Resize((40, 29)), transforms.ToTensor(), OLD],
    "a list of one": [transforms.Resize([40]), transforms.CenterCrop([32]), transforms.ToTensor(), OLD],
    "a longest side too": [transforms.Resize(40, max_size=70), transforms.ToTensor(), OLD],
    "a longest side alone": [v2.Resize(None, max_size=40), v2.ToImage(), TO_FLOAT, NEW],
    "ToDtype": [v2.Resize(40), v2.CenterCrop(32), v2.ToImage(), TO_FLOAT, NEW],
    "PILToTensor": [transforms.Resize(40), transforms.PILToTensor(), transforms.ConvertImageDtype(torch.float32), OLD],
    "v2's ConvertImageDtype": [v2.Resize(40), v2.PILToTensor(), v2.ConvertImageDtype(torch.float32), NEW],
    "old and new": [transforms.Resize(40), v2.ToImage(), v2.ToDtype(torch.float32, scale=True), OLD],
    "ToTensor, then v2": [v2.Resize(40), transforms.ToTensor(), v2.ToImage(), NEW, v2.ToPureTensor()],
    "ToDtype of a PIL image": [v2.Resize(40), TO_FLOAT, transforms.ToTensor(), NEW],
    "not normalised": [transforms.Resize(40), transforms.CenterCrop(32), transforms.ToTensor()],
    "not resized": [transforms.CenterCrop((32, 20)), transforms.ToTensor(), OLD],
    "nothing but a tensor": [transforms.ToTensor()],
    "smaller than the crop": [transforms.Resize(20), transforms.CenterCrop(32), transforms.ToTensor(), OLD],
    "cropped as floats": [transforms.Resize(20), transforms.ToTensor(), transforms.CenterCrop(32), OLD],
    "cropped when normalised": [transforms.Resize(20), transforms.ToTensor(), OLD, transforms.CenterCrop(32)],
    "cropped first": [transforms.CenterCrop(30), transforms.Resize(40), transforms.ToTensor(), OLD],
    "cropped twice": [transforms.Resize(40), transforms.CenterCrop(36), v2.CenterCrop((30, 33)), transforms.ToTensor()],
    "resized twice": [transforms.Resize(60, BICUBIC), transforms.Resize((30, 40)), transforms.ToTensor(), OLD],
    "resized, cropped, resized": [
        transforms.Resize(60),
        transforms.CenterCrop(50),
        transforms.Resize(30),
        transforms.CenterCrop(28),
        transforms.ToTensor(),
    ],
    "padded first": [transforms.Pad(5, fill=(9, 200, 3)), transforms.Resize(40), transforms.ToTensor(), OLD],
    "padded last": [transforms.Resize(40), transforms.Pad((3, 8), fill=7), transforms.ToTensor(), OLD],
    "reflected": [
        transforms.Resize(40),
        transforms.Pad((1, 2, 3, 4), padding_mode="reflect"),
        transforms.CenterCrop(40),
        transforms.ToTensor(),
        OLD,
    ],
    "padded as floats": [transforms.Resize(40), transforms.ToTensor(), transforms.Pad((1, 2, 3, 4)), OLD],
    "reflected as floats": [
        transforms.Resize(40),
        transforms.ToTensor(),
        transforms.Pad(2, padding_mode="reflect"),
        OLD,
    ],
    "a fill that is a float": [transforms.Resize(40), transforms.ToTensor(), transforms.Pad(2, fill=0.0), OLD],
    "float32 once more": [v2.Resize(40), v2.ToImage(), TO_FLOAT, v2.ToDtype(torch.float32), NEW],
    "open_clip's function": [transforms.Resize(40), _convert_to_rgb, transforms.ToTensor(), OLD],
    "cut off": [transforms.Pad(-3), transforms.Resize(40), transforms.ToTensor(), OLD],
    "nearest": [transforms.Resize(40, InterpolationMode.NEAREST), transforms.ToTensor(), OLD],
    "nearest, exact": [v2.Resize(40, InterpolationMode.NEAREST_EXACT), v2.ToImage(), TO_FLOAT, NEW],
    "a number": [v2.Resize(40, Image.Resampling.LANCZOS), v2.ToImage(), TO_FLOAT, NEW],
    "not antialiased, which PIL ignores": [v2.Resize(40, antialias=None), v2.ToImage(), TO_FLOAT, NEW],
    "a Compose in it": [transforms.Compose([v2.RGB(), transforms.Resize(40)]), transforms.ToTensor(), OLD],
    "steps that do nothing": [torch.nn.Identity(), v2.Identity(), v2.Resize(40), v2.ToImage(), TO_FLOAT, NEW],
    "timm's": [ResizeKeepRatio((40, 30), longest=1), CenterCropOrPad((40, 30), padding_mode="edge"), MaybeToTensor()],
}
if TORCHVISION >= (0, 26):  # before, torchvision did not know filters by their names
    OF_PIL["a word"] = [v2.Resize(40, "bicubic"), v2.ToImage(), TO_FLOAT, NEW]
OF_PIXELS = {
    "ToImage first": [v2.ToImage(), v2.Resize((40, 40), antialias=True), TO_FLOAT, NEW],
    "as torchvision recommends": [
        v2.ToImage(),
        v2.ToDtype(torch.uint8, scale=True),
        v2.Resize(40, BICUBIC),
        v2.CenterCrop(33),
        TO_FLOAT,
        NEW,
    ],
    "cropped first": [v2.ToImage(), v2.CenterCrop(30), v2.Resize(40), TO_FLOAT, NEW],
    "PILToTensor first": [transforms.PILToTensor(), v2.Resize(40), transforms.ConvertImageDtype(torch.float32), OLD],
}
OF_TENSORS = {
    "v2": [v2.Resize(40), v2.CenterCrop(32), TO_FLOAT, NEW],
    "not resized": [transforms.CenterCrop(20), transforms.ConvertImageDtype(torch.float32), OLD],
}


@pytest.mark.parametrize("name", OF_PIL)
def test_a_compose_of_pil_images(name):
    published = transforms.Compose(OF_PIL[name])
    target = Target.from_config(published)
    assert target.arithmetic == "pillow"
    compare(target, published, images())


@pytest.mark.parametrize("name", OF_PIXELS)
def test_a_compose_that_resizes_tensors(name):
    published = v2.Compose(OF_PIXELS[name])
    target = Target.from_config(published)
    assert target.arithmetic == "torch"
    compare(target, published, images())


@pytest.mark.parametrize("name", OF_TENSORS)
def test_a_compose_that_takes_tensors_alone(name):
    published = v2.Compose(OF_TENSORS[name])
    compare(Target.from_config(published), lambda image: published(tensor_of(image)), images())
    assert Target.from_config(published, "torchvision") == Target.from_config(published)
    with pytest.raises(ValueError, match="takes tensors alone"):
        Target.from_config(published, "pil")


def test_backend_says_what_a_compose_is_given():
    """The same steps, of PIL images and of tensors."""
    published = v2.Compose([v2.Resize(40), v2.ToImage(), TO_FLOAT, NEW])
    pillow, torchs = (Target.from_config(published, backend) for backend in ("pil", "torchvision"))
    assert (pillow.arithmetic, torchs.arithmetic) == ("pillow", "torch")
    compare(pillow, published, images())
    compare(torchs, lambda image: published(tensor_of(image)), images())


def test_a_last_conversion_is_the_dtype():
    published = v2.Compose([v2.Resize(40), v2.ToImage(), TO_FLOAT, NEW, v2.ToDtype(torch.bfloat16)])
    target = Target.from_config(published)
    assert target.dtype is torch.bfloat16
    compare(target, published, images())
    assert Target.from_config(v2.Compose([*published.transforms[:-1], v2.ToDtype(torch.float32)])).dtype is None


def test_presets_of_this_library_are_read():
    assert Target.from_config(ResNet50_Weights.IMAGENET1K_V1.transforms()) == fastnorm.IMAGENET_224
    script = [
        transforms.Resize(512, InterpolationMode.LANCZOS),
        transforms.CenterCrop(512),
        transforms.ToTensor(),
        transforms.Normalize([0.5], [0.5]),
    ]
    lanczos = dataclasses.replace(fastnorm.VAE_512_LANCZOS, crop=Crop(512))
    assert Target.from_config(transforms.Compose(script)) == lanczos
    assert Target.from_config(transforms.Compose(script), dtype=torch.float16).dtype is torch.float16


@pytest.mark.parametrize("resize_size", [None, 40])
def test_a_preset_that_may_not_resize(resize_size):
    published = SemanticSegmentation(resize_size=resize_size)
    compare(Target.from_config(published), published, images())
    if resize_size is None:  # a resize would be of floats
        compare(Target.from_config(published, "torchvision"), lambda image: published(tensor_of(image)), images())


def weights_transform(model):
    return next(iter(get_model_weights(model))).transforms()


class MyResize(transforms.Resize):
    pass


class MyCompose(transforms.Compose):
    pass


def double(image):
    return image


RESIZE, CROP, TENSOR = transforms.Resize(40), transforms.CenterCrop(32), transforms.ToTensor()
TENSORS = v2.Resize(40)
REFUSED = {
    "floats are resized": ([TENSOR, RESIZE, OLD], "resizes floats"),
    "v2, floats are resized": ([v2.ToImage(), TO_FLOAT, v2.Resize(40), NEW], "resizes floats"),
    "v1 resizes tensors": ([v2.ToImage(), RESIZE, TO_FLOAT, NEW], "computes in floats for tensors"),
    "timm resizes tensors": ([v2.ToImage(), ResizeKeepRatio(40), TO_FLOAT, NEW], "computes in floats for tensors"),
    "perhaps not antialiased": ([v2.ToImage(), v2.Resize(40, antialias=None), TO_FLOAT, NEW], "antialias=None"),
    "not antialiased": ([v2.ToImage(), v2.Resize(40, antialias=False), TO_FLOAT, NEW], "antialias=False"),
    "a second resize of tensors": ([v2.ToImage(), TENSORS, v2.Resize(20), TO_FLOAT, NEW], "a second Resize"),
    "a PIL image and a tensor": ([v2.Resize(60), v2.ToImage(), v2.Resize(20), TO_FLOAT, NEW], "a second Resize"),
    "padded after tensors": ([v2.ToImage(), TENSORS, v2.Pad(3), TO_FLOAT, NEW], "several steps after a resize"),
    "Lambda": ([RESIZE, transforms.Lambda(double), TENSOR, OLD], "Lambda, which is not known"),
    "a function": ([RESIZE, double, TENSOR, OLD], "the function double, which is not known"),
    "mirrors": ([RESIZE, transforms.RandomHorizontalFlip(), TENSOR], "draws at random"),
    "random crops": ([transforms.RandomResizedCrop(32), TENSOR], "draws at random"),
    "v2's random": ([v2.RandomCrop(32), v2.ToImage(), TO_FLOAT], "draws at random"),
    "ColorJitter": ([RESIZE, transforms.ColorJitter(0.1), TENSOR], "ColorJitter, which is not known"),
    "RandomApply": ([transforms.RandomApply([RESIZE]), TENSOR], "draws at random"),
    "a subclass of a user's": ([MyResize(40), TENSOR, OLD], "MyResize, which is not known"),
    "normalised twice": ([RESIZE, TENSOR, OLD, OLD], "Normalize of a normalised tensor"),
    "pixels normalised": ([v2.ToImage(), NEW], "Normalize of a uint8 tensor"),
    "not scaled": ([v2.ToImage(), v2.ToDtype(torch.float32), NEW], "without scale=True"),
    "half": ([v2.ToImage(), v2.ToDtype(torch.float16, scale=True), NEW], "every step in that type"),
    "halves normalised": ([TENSOR, v2.ToDtype(torch.float16), NEW], "Normalize of .* in torch.float16"),
    "rounded twice": ([TENSOR, v2.ToDtype(torch.bfloat16), v2.ToDtype(torch.float32)], "rounds twice"),
    "back to pixels": ([TENSOR, v2.ToDtype(torch.uint8, scale=True)], "of floats"),
    "a dictionary": ([v2.ToImage(), v2.ToDtype({torch.Tensor: torch.float32}, scale=True)], "of a dictionary"),
    "no floats": ([RESIZE, CROP], "end with a PIL image"),
    "bytes": ([RESIZE, transforms.PILToTensor()], "end with a uint8 tensor"),
    "two colours at the sides": (
        [transforms.Pad(3, fill=9), transforms.Resize((40, 20)), CROP, TENSOR],
        "borders of 2 kinds",
    ),
    "two colours": ([transforms.Pad(3, fill=9), CROP, TENSOR], "borders of 2 kinds"),
    "a colour of floats": ([TENSOR, transforms.Pad(3, fill=1)], "another unit"),
    "padded when normalised": ([TENSOR, OLD, transforms.Pad(3)], "Pad of a normalised tensor"),
    "a fill by type": ([v2.Pad(3, fill={Image.Image: 3}), v2.ToImage(), TO_FLOAT], "expected pixel values"),
    "two tensors": ([TENSOR, transforms.ToTensor()], "ToTensor of a tensor"),
    "a random size": ([ResizeKeepRatio(40, random_scale_prob=0.5), TENSOR], "random sizes"),
    "a random filter": ([ResizeKeepRatio(40, interpolation="random"), TENSOR], "random sizes or filters"),
    "between the edges": ([ResizeKeepRatio(40, longest=0.5), TENSOR], "longest=0.5"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_reproduced_is_refused(name):
    steps, why = REFUSED[name]
    with pytest.raises(ValueError, match=why):
        Target.from_config(transforms.Compose(steps))


@pytest.mark.parametrize(
    "steps",
    [
        [transforms.Pad(3, fill=9), RESIZE, CROP],
        [transforms.Pad(3, fill=9), RESIZE, transforms.CenterCrop(36), CROP],
        [RESIZE, transforms.Pad(5, fill=9), transforms.CenterCrop(48)],
        [transforms.Pad(3, fill=9), ResizeKeepRatio((40, 33)), CROP],
    ],
)
def test_borders_of_two_kinds_are_taken_where_one_never_shows(steps):
    published = transforms.Compose([*steps, TENSOR])
    target = Target.from_config(published)
    assert target.pad == Pad(fill=9)
    compare(target, published, images())


def test_the_fill_of_lines_that_are_cut_off_is_of_no_account():
    published = transforms.Compose([transforms.Pad(-3, fill=9), transforms.CenterCrop(50), TENSOR])
    target = Target.from_config(published)
    assert target.pad is True
    compare(target, published, images())


def test_other_objects_of_torchvision_are_refused():
    with pytest.raises(TypeError, match=r"MyCompose, expected a transform of torchvision"):
        Target.from_config(MyCompose([TENSOR]))
    with pytest.raises(TypeError, match=r"weights\.transforms\(\)"):
        Target.from_config(ResNet50_Weights.IMAGENET1K_V1)
    with pytest.raises(ValueError, match="without antialiasing"):
        Target.from_config(weights_transform("r3d_18"))
    with pytest.raises(ValueError, match="computes in floats"):
        Target.from_config(weights_transform("resnet50"), "torchvision")
    with pytest.raises(ValueError, match="got 'pillow', expected 'pil'"):
        Target.from_config(weights_transform("resnet50"), "pillow")


# --- timm


def test_all_forms_of_a_timm_configuration_are_one_target(tmp_path):
    config = get_pretrained_cfg("resnet50.a1_in1k")
    resolved = timm.data.resolve_data_config(pretrained_cfg=config.to_dict())
    wanted = Target(Normalization(MEAN, STD), size=235, resample="bicubic", crop=224)  # floor(224 / 0.95)
    # As timm saves it for the Hub.
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "resnet50", "num_classes": 1000, "pretrained_cfg": config.to_dict()}), "utf-8"
    )
    transform = timm.data.create_transform(**resolved)
    for source in (config, config.to_dict(), resolved, transform, tmp_path, tmp_path / "config.json"):
        assert Target.from_config(source) == wanted, source
    compare(wanted, transform, images())
    assert Target.from_config(config).normalization.name == "resnet50"


def test_timms_sizes_of_the_test_are_taken_when_timm_is_asked_for_them():
    config = get_pretrained_cfg("resnet50.a1_in1k").to_dict()
    resolved = timm.data.resolve_data_config(pretrained_cfg=config, use_test_size=True)
    assert Target.from_config(resolved) == Target(Normalization(MEAN, STD), 288, "bicubic", 288)


TIMM = {"input_size": (3, 40, 40), "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "center"}


@pytest.mark.parametrize("input_size", [40, (40, 40), (3, 40, 32), [3, 31, 40]])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border", None])
@pytest.mark.parametrize("crop_pct", [1.0, 0.9, 1.15, None])
def test_timms_crop_modes(input_size, crop_mode, crop_pct):
    config = TIMM | {"input_size": input_size, "crop_mode": crop_mode, "crop_pct": crop_pct}
    transform = timm.data.create_transform(**config)
    for source in (config, transform):
        compare(Target.from_config(source), transform, images())


def test_timms_border_pixels():
    config = TIMM | {"crop_border_pixels": 4}
    transform = timm.data.create_transform(**config)
    for source in (config, transform):
        compare(Target.from_config(source), transform, images())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"interpolation": "random"}, "draws a filter for each image"),
        ({"interpolation": None}, "different defaults"),
        ({"interpolation": "spline"}, "got 'spline'"),
        ({"crop_mode": "tiles"}, "crop_mode is 'tiles'"),
        ({"crop_pct": "0.9"}, "crop_pct is '0.9'"),
        ({"crop_pct": -1}, "crop_pct is -1"),
        ({"input_size": (1, 40, 40)}, "expected 3 channels"),
        ({"is_training": True, "naflex": True}, "unknown keys 'is_training', 'naflex'"),
    ],
)
def test_timm_configurations_that_are_refused(changes, why):
    with pytest.raises(ValueError, match=why):
        Target.from_config(TIMM | changes)


def test_timm_transforms_that_are_refused():
    for options, why in (
        ({"is_training": True}, "RandomResizedCropAndInterpolation, which draws at random"),
        ({"use_prefetcher": True}, "end with a uint8 tensor"),
        ({"normalize": False}, "end with a uint8 tensor"),
        ({"naflex": True}, "ResizeToSequence, which is not known"),
        ({"patchify": True}, "Patchify, which is not known"),
    ):
        with pytest.raises(ValueError, match=why):
            Target.from_config(timm.data.create_transform(224, **options))


def test_a_timm_model_is_not_a_configuration():
    model = timm.create_model("test_efficientnet", pretrained=False)
    with pytest.raises(TypeError, match=r"model\.pretrained_cfg"):
        Target.from_config(model)
    Target.from_config(model.pretrained_cfg)


def test_no_tensors_for_libraries_of_pil_images():
    for source in (TIMM, PreprocessCfg(), VaeImageProcessor()):
        with pytest.raises(ValueError, match="prepares PIL images"):
            Target.from_config(source, "torchvision")
        assert Target.from_config(source, "pil") == Target.from_config(source)


# --- open_clip


def test_all_forms_of_an_open_clip_configuration_are_one_target(tmp_path):
    config = PreprocessCfg(size=224)
    file = {
        "model_cfg": {"embed_dim": 512, "vision_cfg": {"image_size": 224}},
        "preprocess_cfg": {"mean": list(config.mean), "std": list(config.std)},
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps(file), "utf-8")
    wanted = Target(fastnorm.CLIP, 224, "bicubic", 224)
    for source in (config, dataclasses.asdict(config), tmp_path, file, image_transform_v2(config, is_train=False)):
        assert Target.from_config(source) == wanted, source


def test_the_models_size_comes_first():
    """As in open_clip, which replaces the configuration's with that of the model."""
    file = {"model_cfg": {"vision_cfg": {"image_size": 336}}, "preprocess_cfg": {"size": 224}}
    assert Target.from_config(file).size == 336


@pytest.mark.parametrize("size", [40, (40, 32), [31, 40]])
@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "random"])
def test_open_clips_ways_to_resize(size, resize_mode, interpolation):
    config = PreprocessCfg(size=size, resize_mode=resize_mode, interpolation=interpolation, fill_color=77)
    transform = image_transform_v2(config, is_train=False)
    for source in (config, transform):
        compare(Target.from_config(source), transform, images())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"size": None}, "got no size"),
        ({"mode": "L"}, "mode is 'L'"),
        ({"interpolation": "lanczos"}, "interpolation is 'lanczos'"),
        ({"resize_mode": "crop"}, "resize_mode is 'crop'"),
        ({"antialias": False}, "unknown key 'antialias'"),
    ],
)
def test_open_clip_configurations_that_are_refused(changes, why):
    with pytest.raises(ValueError, match=why):
        Target.from_config(dataclasses.asdict(PreprocessCfg()) | changes)


def test_an_open_clip_training_is_refused():
    with pytest.raises(ValueError, match="draws at random"):
        Target.from_config(image_transform_v2(PreprocessCfg(), is_train=True))


# --- diffusers


def test_diffusers_normalises_every_value_as_the_vae_preset():
    codes = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    (got,) = fastnorm.fused_normalize(torch.from_numpy(codes)[None], [fastnorm.VAE])
    assert_same_bits(got, VaeImageProcessor(do_resize=False).preprocess(Image.fromarray(codes)))


def test_all_forms_of_a_diffusers_processor_are_one_target(tmp_path):
    processor = VaeImageProcessor()
    processor.save_config(tmp_path)
    file = next(tmp_path.iterdir())
    wanted = Target(fastnorm.VAE, Sides(multiple_of=8, multiple_rounding="floor"), "lanczos")
    for source in (processor, processor.config, dict(processor.config), file, PixArtImageProcessor()):
        assert Target.from_config(source) == wanted, source


def test_a_diffusers_processor_with_height_and_width():
    """They are arguments of its call; here, of the target."""
    processor = VaeImageProcessor()
    target = Target.from_config(processor, size=(40, 64))
    compare(target, lambda image: processor.preprocess(image, height=40, width=64)[0], images())


def test_a_flux_processor_has_its_own_factor():
    processor = Flux2ImageProcessor()
    assert Target.from_config(processor).size == Sides(multiple_of=16, multiple_rounding="floor")
    assert Target.from_config({"_class_name": "Flux2ImageProcessor"}) == Target.from_config(processor)


class MyProcessor(VaeImageProcessor):
    pass


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (InpaintProcessor(), "prepares a mask"),
        (VaeImageProcessorLDM3D(), "depth map"),
        (IPAdapterMaskProcessor(), "gray masks"),
        (VaeImageProcessor(do_binarize=True), "do_binarize is true"),
        (VaeImageProcessor(do_convert_grayscale=True), "do_convert_grayscale is true"),
        (MyProcessor(), "MyProcessor, which is not known"),
        ({"vae_scale_factor": 8, "mask_do_normalize": False}, "unknown key 'mask_do_normalize'"),
        ({"vae_scale_factor": 0}, "vae_scale_factor: got 0"),
        ({"vae_scale_factor": 8, "resample": "box"}, "resample is 'box'"),
        ({"vae_scale_factor": 8, "do_resize": None}, "do_resize is None"),
        ({"_class_name": "StableDiffusionPipeline"}, "StableDiffusionPipeline, which is not known"),
    ],
)
def test_diffusers_processors_that_are_refused(source, why):
    with pytest.raises(ValueError, match=why):
        Target.from_config(source)


def test_changes_are_arguments_of_the_target():
    target = Target.from_config(PreprocessCfg(), dtype=torch.bfloat16, crop=Crop(200))
    assert target == Target(fastnorm.CLIP, 224, "bicubic", 200, dtype=torch.bfloat16)
