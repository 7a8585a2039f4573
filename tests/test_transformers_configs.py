"""Where transformers' configurations come from, and what is refused; what they compute is in test_conformance.py."""

import json

import huggingface_hub
import pytest
import torch
from PIL import Image
from transformers import (
    BeitImageProcessor,
    BitImageProcessor,
    ChameleonImageProcessor,
    CLIPImageProcessor,
    CLIPImageProcessorPil,
    ConvNextImageProcessorPil,
    DetrImageProcessor,
    DINOv3ViTImageProcessor,
    LayoutLMv2ImageProcessorPil,
    Qwen2VLImageProcessor,
    TvpImageProcessor,
)
from transformers.models.auto import image_processing_auto
from transformers.models.timm_wrapper.image_processing_timm_wrapper import TimmWrapperImageProcessor

import fastnorm
from conformance import transformers_rows
from fastnorm import CLIP, Area, Crop, Normalization, Pad, Target
from helpers import assert_same_bits, random_pixels, transformers_alpha

pytestmark = pytest.mark.compat

CLIP_CONFIG = {  # openai/clip-vit-large-patch14, as it was published
    "crop_size": 224,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": list(CLIP.mean),
    "image_std": list(CLIP.std),
    "resample": 3,
    "size": 224,
}
PILLOWS = Target(CLIP, 224, "bicubic", Crop(224, "transformers"), alpha=transformers_alpha())


def write(folder, values, name="preprocessor_config.json"):
    (folder / name).write_text(json.dumps(values), encoding="utf-8")
    return folder / name


def test_a_file_is_read_with_the_class_defaults_of_what_it_leaves_out(tmp_path):
    path = write(tmp_path, CLIP_CONFIG)
    for source in (path, str(path), tmp_path, CLIP_CONFIG, CLIPImageProcessorPil(), CLIPImageProcessorPil().to_dict()):
        assert Target.from_config(source, backend="pil") == PILLOWS
    shortest = {"image_processor_type": "CLIPImageProcessor"}
    assert Target.from_config(shortest, "pil") == PILLOWS


def test_the_backend_is_the_object_s_own_and_a_file_s_is_transformers_default():
    torchs = Target.from_config(CLIPImageProcessor())
    assert (torchs.arithmetic, torchs.normalization.order) == ("torch", "fused")
    assert Target.from_config(CLIP_CONFIG) == torchs
    assert Target.from_config(CLIPImageProcessorPil(), backend="torchvision") == torchs
    assert Target.from_config(CLIPImageProcessor(), backend="pil") == PILLOWS


def test_classes_that_transformers_takes_in_pillow(monkeypatch):
    """Those that resize with lanczos, where torchvision is too old for it."""
    monkeypatch.setattr(
        image_processing_auto, "DEFAULT_TO_PIL_BACKEND_IMAGE_PROCESSORS", ["CLIPImageProcessor"], raising=False
    )
    assert Target.from_config(CLIP_CONFIG) == PILLOWS
    assert Target.from_config(CLIP_CONFIG, "torchvision").arithmetic == "torch"


@pytest.mark.parametrize("name", ["CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil"])
def test_suffixes_of_the_type_say_nothing_of_the_backend(name):
    assert Target.from_config({"image_processor_type": name}, backend="pil") == PILLOWS


IMAGENET_CONFIG = {"image_mean": list(fastnorm.IMAGENET.mean), "image_std": list(fastnorm.IMAGENET.std)}
AS_PUBLISHED = {  # with the names that older versions wrote
    "facebook/detr-resnet-50": (
        {
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "DetrFeatureExtractor",
            "format": "coco_detection",
            "max_size": 1333,
            "size": 800,
            **IMAGENET_CONFIG,
        },
        Target(
            fastnorm.IMAGENET,
            {"shortest_edge": 800, "longest_edge": 1333},
            crop=Crop("batch", (0, 0)),
            pad=Pad(value=0.0),
        ),
    ),
    "Qwen/Qwen2-VL-7B-Instruct": (
        {
            "min_pixels": 3136,
            "max_pixels": 12845056,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": list(CLIP.mean),
            "image_std": list(CLIP.std),
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2VLProcessor",
        },
        Target(
            CLIP, Area(28, min_pixels=3136, max_pixels=12845056), "bicubic", alpha=transformers_alpha(), batch=False
        ),
    ),
    "nvidia/segformer-b0-finetuned-ade-512-512": (
        {
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "SegformerFeatureExtractor",
            "reduce_labels": True,
            "resample": 2,
            "size": 512,
            **IMAGENET_CONFIG,
        },
        Target(fastnorm.IMAGENET, (512, 512), "bilinear"),
    ),
    "google/siglip-base-patch16-224": (
        {
            "do_convert_rgb": None,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_processor_type": "SiglipImageProcessor",
            "image_std": [0.5, 0.5, 0.5],
            "processor_class": "SiglipProcessor",
            "resample": 3,
            "rescale_factor": 0.00392156862745098,
            "size": {"height": 224, "width": 224},
        },
        fastnorm.SIGLIP_224,  # null stays null here: nothing is converted to RGB
    ),
}


@pytest.mark.parametrize(("config", "target"), AS_PUBLISHED.values(), ids=AS_PUBLISHED)
def test_configurations_as_they_were_published(config, target):
    assert Target.from_config(config, backend="pil") == target


def test_changes():
    target = Target.from_config(CLIP_CONFIG, "pil", dtype=torch.bfloat16, alpha=None, crop=None)
    assert target == Target(CLIP, 224, "bicubic", dtype=torch.bfloat16)


def test_a_processor_config_holds_the_image_processor_and_comes_first(tmp_path):
    write(tmp_path, {**CLIP_CONFIG, "size": 336, "crop_size": 336})
    assert Target.from_config(tmp_path, "pil").size == 336
    write(tmp_path, {"processor_class": "CLIPProcessor", "image_processor": CLIP_CONFIG}, "processor_config.json")
    assert Target.from_config(tmp_path, "pil") == PILLOWS
    assert Target.from_config({"image_processor": CLIP_CONFIG}, "pil") == PILLOWS


def test_a_processor_of_text_and_images():
    class Holder:
        """As CLIPProcessor: its module is transformers'."""

        image_processor = CLIPImageProcessorPil()

    Holder.__module__ = "transformers.models.clip.processing_clip"
    assert Target.from_config(Holder()) == PILLOWS


def test_a_name_on_the_hub_is_looked_up_in_the_cache_and_never_downloaded(tmp_path, monkeypatch):
    asked = []

    def cached(name, file):
        asked.append(file)
        path = tmp_path / file
        return str(path) if name == "openai/clip" and path.exists() else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    write(tmp_path, CLIP_CONFIG)
    assert Target.from_config("openai/clip", "pil") == PILLOWS
    assert Normalization.from_config("openai/clip") == CLIP
    with pytest.raises(FileNotFoundError, match=r"hf_hub_download\('openai/other', 'preprocessor_config.json'\)"):
        Target.from_config("openai/other")
    asked.clear()
    with pytest.raises(FileNotFoundError, match="no such file; expected a preprocessor_config"):
        Target.from_config("a/b/c")
    assert not asked, "which is no name on the Hub"


class Own(CLIPImageProcessorPil):
    """Somebody's class, which does something else to tall images."""

    def __call__(self, images, **options):
        turned = images.rotate(180) if images.height > images.width else images
        return super().__call__(turned, **options)


class Same(CLIPImageProcessor):
    """Somebody's class, which adds nothing that pixels show."""

    def describe(self):
        return f"resizes to {self.size}"


def test_a_class_of_ones_own_that_does_as_its_ancestor():
    settings = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}
    processor = Same(**settings)
    assert Target.from_config(processor) == Target.from_config(CLIPImageProcessor(**settings))
    assert type(processor) is Same


CONVNEXT = {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}}
REFUSED = {
    "a class of one's own": (Own(), "a class of your own, which gives other values than CLIPImage", "fastnorm.verify"),
    "a class that is not known": (
        {"image_processor_type": "MagicImageProcessor"},
        "is not reproduced",
        "fastnorm.verify",
    ),
    "a class that resizes floats": (DINOv3ViTImageProcessor(), "it resizes floats", "Target(...)"),
    "a class of uint8 outputs": (LayoutLMv2ImageProcessorPil(apply_ocr=False), "its outputs are uint8", "Target(...)"),
    "no class": ({"image_mean": [0.5], "image_processor": {}}, "says no image_processor_type", "CLIPImageProcessor"),
    "code of the model's own": (
        {**CONVNEXT, "auto_map": {"AutoImageProcessor": "x.Y"}},
        "auto_map",
        "leave the key out",
    ),
    "an unknown key": ({**CONVNEXT, "use_magic": 1}, "use_magic", "does not know"),
    "several unknown keys": ({**CONVNEXT, "b": 1, "a": 1}, "a, b: got settings", "leave out"),
    "a known key that the class passes over": (BeitImageProcessor(do_pad=True), "do_pad is True", "fastnorm.verify"),
    "no rescaling at all": (CLIPImageProcessorPil(do_rescale=False, do_normalize=False), "uint8", "set it to true"),
    "a rounded factor": (CLIPImageProcessorPil(rescale_factor=0.0039215686), "rescale_factor is", "1/255"),
    "a factor of nothing": (CLIPImageProcessor(rescale_factor=0), "rescale_factor is 0: it scales", "give 1 / 255"),
    "reversed channels of uint8": ({"image_processor_type": "LayoutLMv2ImageProcessor"}, "B, G, R", "Target(...)"),
    "padding other than zeros": (
        TvpImageProcessor(do_center_crop=False, constant_values=3),
        "pad_mode is 'constant'",
        "only padding with zeros",
    ),
    "tiles": ({"image_processor_type": "Cohere2VisionImageProcessor"}, "crop_to_patches is True", "set it to False"),
    "a size without a rule": (CLIPImageProcessorPil(size={"longest_edge": 9}), "no rule for it", "set it to"),
    "a filter that torch has not": (CLIPImageProcessor(resample=4), "got 'box'", "arithmetic='pillow'"),
    "a switch that is none": (CLIPImageProcessorPil(do_resize="yes"), "do_resize is 'yes'", "true or false"),
}


@pytest.mark.parametrize(("source", "reason", "fix"), REFUSED.values(), ids=REFUSED)
def test_refused(source, reason, fix):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Target.from_config(source)
    assert reason in str(caught.value)
    assert fix in str(caught.value)


def test_backends_that_there_are_not():
    with pytest.raises(ValueError, match="backend: got 'numpy', expected 'pil', 'torchvision' or None"):
        Target.from_config(CLIP_CONFIG, backend="numpy")
    with pytest.raises(ValueError, match="got 'pil', expected 'torchvision', the only one"):
        Target.from_config({"image_processor_type": "PI0ImageProcessor"}, backend="pil")


def test_something_else_is_no_configuration():
    with pytest.raises(TypeError, match="got int, expected a path"):
        Target.from_config(7)


@pytest.mark.parametrize("kind", [CLIPImageProcessor, CLIPImageProcessorPil])
@pytest.mark.parametrize("size", [{"shortest_edge": 21}, {"height": 21, "width": 20}, {"height": 20, "width": 33}])
def test_a_crop_larger_than_the_image(kind, size):
    """In both directions or in one; the margins are odd, and 3 modulo 4."""
    processor = kind(size=size, crop_size={"height": 26, "width": 26})
    images = [Image.fromarray(random_pixels(*shape, 3).numpy()) for shape in ((60, 83), (83, 60), (60, 61))]
    (got,) = fastnorm.fused_preprocess(images, [Target.from_config(processor)])
    assert_same_bits(got, processor(images, return_tensors="pt").pixel_values)


def test_crop_pct_of_convnext():
    assert Target.from_config(ConvNextImageProcessorPil(size={"shortest_edge": 224}, crop_pct=0.9)).size == 248
    assert Target.from_config(ConvNextImageProcessorPil(size={"shortest_edge": 384})).size == (384, 384)


def test_constants_of_another_factor_are_fused_where_float32_can_say_it():
    normalization = Target.from_config(ChameleonImageProcessor()).normalization
    assert normalization.order == "fused"
    assert normalization.mean == normalization.std
    assert torch.tensor(normalization.mean[0]) * 255 == torch.tensor(1.0) * (1 / 0.0078)


def test_detection_pads_a_batch_of_normalised_images():
    processor = DetrImageProcessor(size={"shortest_edge": 40, "longest_edge": 60})
    images = [Image.fromarray(random_pixels(*size, 3).numpy()) for size in ((30, 47), (90, 61), (64, 64))]
    (got,) = fastnorm.fused_preprocess(images, [Target.from_config(processor)])
    assert_same_bits(got, processor(images, return_tensors="pt").pixel_values)


def test_patches_are_a_list_of_images_before_they_are_cut():
    target = Target.from_config(Qwen2VLImageProcessor())
    assert target.batch is False
    images = [Image.fromarray(random_pixels(*size, 3).numpy()) for size in ((130, 147), (290, 161))]
    (outputs,) = fastnorm.fused_preprocess(images, [target])
    assert [tuple(output.shape) for output in outputs] == [(3, 140, 140), (3, 280, 168)]


@pytest.mark.parametrize("do_normalize", [True, False])
def test_a_normalization_of_a_torchvision_processor_has_its_order(do_normalize):
    processor = BitImageProcessor(do_normalize=do_normalize, do_resize=False, do_center_crop=False)
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3, 1).view(1, 3, 16, 16)
    normalization = Normalization.from_config(processor)
    assert normalization.order == ("fused" if do_normalize else "to_dtype")
    (got,) = fastnorm.fused_normalize(pixels, [normalization])
    assert_same_bits(got, processor(pixels, return_tensors="pt").pixel_values)


def test_what_a_processor_saves_says_the_same_as_the_processor():
    """`save_pretrained` writes to_dict: no key of a class's own is unknown, and none is lost."""
    compared = 0
    for _, kind in transformers_rows.classes():
        processor = kind(**transformers_rows.REQUIRED.get(kind.__name__, {}), **transformers_rows.in_the_way(kind))
        if kind is TimmWrapperImageProcessor:  # transformers reads timm's own file instead
            continue
        try:
            target = Target.from_config(processor)
        except ValueError:
            continue
        backend = transformers_rows.backend_of(kind)
        saved = json.loads(processor.to_json_string())
        assert Target.from_config(saved, backend) == target, kind.__name__
        compared += 1
    assert compared > 150


def test_a_wrapper_of_timm_is_its_transform():
    configuration = {"input_size": (3, 40, 40), "crop_pct": 0.9, "interpolation": "bicubic"}
    configuration |= {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    processor = TimmWrapperImageProcessor(pretrained_cfg=configuration)
    target = Target.from_config(processor)
    assert (target.size, target.crop_size, target.resample) == (44, (40, 40), "bicubic")
    image = Image.fromarray(random_pixels(60, 90, 3).numpy())
    (got,) = fastnorm.fused_preprocess([image], [target])
    assert_same_bits(got, processor([image]).pixel_values)
    assert target == Target.from_config({"pretrained_cfg": configuration})
    with pytest.raises(ValueError, match="expected the model's timm configuration"):
        Target.from_config(processor.to_dict())
