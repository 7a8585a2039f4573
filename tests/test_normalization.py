"""`Normalization`: a frozen value of plain floats, read from numbers or from a model's own configuration."""

import copy
import dataclasses
import importlib
import inspect
import json
import math
import pathlib
import pickle

import numpy as np
import pytest
import torch
import transformers
from transformers.image_processing_backends import PilBackend
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil
from transformers.models.mobilevit.image_processing_pil_mobilevit import MobileViTImageProcessorPil
from transformers.models.tvp.image_processing_pil_tvp import TvpImageProcessorPil

import fastnorm
from fastnorm import CLIP, DINOV2, IMAGENET, SIGLIP, VAE, Normalization
from helpers import PRESETS, assert_same_bits, every_code

pytestmark = pytest.mark.compat


def test_presets():
    assert CLIP.mean == (0.48145466, 0.4578275, 0.40821073)
    assert CLIP.std == (0.26862954, 0.26130258, 0.27577711)
    assert (IMAGENET.mean, IMAGENET.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (VAE.mean, VAE.std) == ((0.5,) * 3, (0.5,) * 3)
    assert DINOV2 == IMAGENET
    assert SIGLIP == VAE
    assert [p.name for p in PRESETS] == ["vae", "clip", "imagenet", "dinov2", "siglip"]


@pytest.mark.parametrize(
    "spelling",
    [0.5, [0.5], (0.5, 0.5, 0.5), np.full(3, 0.5), np.float32(0.5), torch.full((3,), 0.5), [np.float64(0.5)] * 3],
    ids=lambda s: type(s).__name__,
)
def test_spellings_become_three_plain_floats(spelling):
    made = Normalization(spelling, spelling)
    assert made == VAE
    assert all(type(value) is float for value in (*made.mean, *made.std))


def test_whole_numbers_are_numbers():
    assert Normalization(0, 1) == Normalization(0.0, 1.0)


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CLIP.mean = (0.0, 0.0, 0.0)


def test_equal_values_are_equal_and_hash_alike_whatever_the_name():
    other = Normalization(CLIP.mean, CLIP.std, name="mine")
    assert other == CLIP
    assert hash(other) == hash(CLIP)
    assert CLIP != IMAGENET
    assert len({VAE, SIGLIP, CLIP}) == 2
    assert hash(pickle.loads(pickle.dumps(CLIP))) == hash(CLIP)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles(protocol):
    copy = pickle.loads(pickle.dumps(CLIP, protocol))
    assert copy == CLIP
    assert copy.name == "clip"


def test_repr_is_code():
    assert eval(repr(IMAGENET)) == IMAGENET


def write(folder, values, name="preprocessor_config.json"):
    path = folder / name
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


CONFIGS = {
    "transformers": {"image_mean": list(CLIP.mean), "image_std": list(CLIP.std), "rescale_factor": 1 / 255},
    "null factor": {"image_mean": list(CLIP.mean), "image_std": list(CLIP.std), "rescale_factor": None},
    "17 digits": {"image_mean": list(CLIP.mean), "image_std": list(CLIP.std), "rescale_factor": 0.00392156862745098},
    "timm": {"architecture": "vit", "pretrained_cfg": {"mean": list(CLIP.mean), "std": list(CLIP.std)}},
    "open_clip": {"model_cfg": {}, "preprocess_cfg": {"mean": list(CLIP.mean), "std": list(CLIP.std)}},
    "processor": {"image_processor": {"image_mean": list(CLIP.mean), "image_std": list(CLIP.std)}},
}


@pytest.mark.parametrize("values", CONFIGS.values(), ids=CONFIGS)
def test_from_config(values, tmp_path):
    path = write(tmp_path, values)
    for source in (values, path, str(path), tmp_path):
        assert Normalization.from_config(source) == CLIP


def test_from_config_without_normalising_is_the_identity():
    config = {"do_normalize": False, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    assert Normalization.from_config(config) == Normalization(0.0, 1.0)


def test_from_config_takes_the_processor_s_name():
    named = {"image_processor_type": "CLIPImageProcessor", **CONFIGS["transformers"]}
    assert Normalization.from_config(named).name == "CLIPImageProcessor"


def test_from_config_refuses(tmp_path):
    mean_std = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    with pytest.raises(ValueError, match=r"rescale_factor is 0.0078.*expected 1/255"):
        Normalization.from_config({**mean_std, "rescale_factor": 1 / 127.5})
    with pytest.raises(ValueError, match=r"rescale_factor is '1/255', expected a number, 1/255"):
        Normalization.from_config({**mean_std, "rescale_factor": "1/255"})
    with pytest.raises(ValueError, match="do_rescale is false"):
        Normalization.from_config({**mean_std, "do_rescale": False})
    with pytest.raises(ValueError, match=r"no image_mean and image_std.*fastnorm.VAE"):
        Normalization.from_config({"vae_scale_factor": 8})
    with pytest.raises(ValueError, match="not JSON"):
        Normalization.from_config(write(tmp_path, "{"))
    with pytest.raises(ValueError, match="holds a list"):
        Normalization.from_config(write(tmp_path, "[1]"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        Normalization.from_config(tmp_path / "absent.json")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match=r"preprocessor_config\.json.*found none"):
        Normalization.from_config(empty)
    with pytest.raises(TypeError, match="got int"):
        Normalization.from_config(7)


# What published processors compute, for every code of every channel

CODES = every_code("NCHW")[0]  # (3, 16, 32): each channel holds all 256 codes
UNEVEN = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
AS_IT_IS = {"do_resize": False, "do_center_crop": False, "do_pad": False, "return_tensors": "pt"}


def pil_processors():
    """Every image processor of the installed transformers that computes with Pillow and numpy."""
    root = pathlib.Path(transformers.__file__).parent
    for path in sorted(root.glob("models/*/image_processing_pil_*.py")):
        name = f"transformers.models.{path.parent.name}.{path.stem}"
        for value in vars(importlib.import_module(name)).values():
            if inspect.isclass(value) and issubclass(value, PilBackend) and value.__module__ == name:
                yield value


def published(processor):
    """What the processor makes of every code, or None where a call with one small image is not enough for it."""
    try:
        values = processor(CODES.numpy(), **AS_IT_IS)["pixel_values"]
    except (AttributeError, ImportError, IndexError, KeyError, NotImplementedError, TypeError, ValueError):
        return None
    values = values if isinstance(values, torch.Tensor) else torch.as_tensor(np.asarray(values))
    return values.view(CODES.shape) if values.numel() == CODES.numel() and values.is_floating_point() else None


def ours(normalization):
    (values,) = fastnorm.reference.normalize(CODES, [normalization], layout="CHW")
    return values


def outcome(source):
    """The normalisation, or the reason for refusing it."""
    try:
        return Normalization.from_config(source)
    except ValueError as error:
        return str(error).partition(": ")[2].partition(" among its keys")[0]


@pytest.mark.parametrize("kind", list(pil_processors()), ids=lambda kind: kind.__name__)
def test_a_transformers_processor_is_read_as_it_computes_or_refused(kind):
    name = kind.__name__.removesuffix("Pil")
    for options in ({}, UNEVEN, {**UNEVEN, "do_normalize": True}, {**UNEVEN, "do_normalize": False}):
        try:
            processor = kind(**options)
        except (ImportError, TypeError, ValueError):
            continue
        from_object, from_file = outcome(processor), outcome({"image_processor_type": name, **options})
        if options.get("image_mean"):
            assert from_object == from_file, "a processor, and a file that holds no more than was given to it"
        values = published(processor)
        if isinstance(from_object, Normalization) and values is not None:
            assert_same_bits(values, ours(from_object))


READ_BY = {
    "clip": CLIPImageProcessorPil(),
    "tvp without its flip": TvpImageProcessorPil(do_flip_channel_order=False, **UNEVEN),
    "mobilevit without its flip": MobileViTImageProcessorPil(do_flip_channel_order=False, **UNEVEN),
    "mobilevit, which never normalises": MobileViTImageProcessorPil(do_flip_channel_order=False, do_normalize=True),
    "efficientnet without its top": EfficientNetImageProcessorPil(include_top=False, **UNEVEN),
}


@pytest.mark.parametrize("processor", READ_BY.values(), ids=READ_BY)
def test_processors_that_can_be_read(processor):
    assert_same_bits(published(processor), ours(Normalization.from_config(processor)))


OTHER_STEPS = {
    "tvp": (TvpImageProcessorPil, "do_flip_channel_order is true: its tensors hold B, G, R", "output.flip(-3)"),
    "mobilevit": (MobileViTImageProcessorPil, "do_flip_channel_order is true", "output.flip(-3)"),
    "efficientnet": (EfficientNetImageProcessorPil, "include_top is true: it divides", "by image_std"),
}


@pytest.mark.parametrize(("kind", "reason", "fix"), OTHER_STEPS.values(), ids=OTHER_STEPS)
def test_processors_that_do_something_else_are_refused(kind, reason, fix):
    name = kind.__name__.removesuffix("Pil")
    for source in (kind(**UNEVEN), {"image_processor_type": name, **UNEVEN}, {"image_processor_type": name}):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            Normalization.from_config(source)
        assert reason in str(caught.value)
        assert fix in str(caught.value)


def test_the_fixes_of_those_refusals_give_their_bits():
    tvp, top = TvpImageProcessorPil(**UNEVEN), EfficientNetImageProcessorPil(**UNEVEN)
    plain = Normalization(UNEVEN["image_mean"], UNEVEN["image_std"])
    assert_same_bits(published(tvp), ours(plain).flip(-3))
    assert_same_bits(published(top), ours(plain) / torch.tensor(UNEVEN["image_std"]).view(3, 1, 1))


@pytest.mark.parametrize(
    ("factor", "different"),
    [(0.00392156862745, 0), (0.0039215686275, 0), (0.0039215686, 1), (0.003921569, 1), (0.00392, 1), (1 / 256, 1)],
)
def test_a_rounded_rescale_factor_is_taken_only_where_the_bits_are_the_same(factor, different):
    config = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3, "rescale_factor": factor}
    values = published(CLIPImageProcessorPil(**config))
    unequal = {int(code) for code in CODES[values != ours(Normalization(0.0, 1.0))]}
    assert bool(unequal) == bool(different)
    if not unequal:
        assert Normalization.from_config(config) == Normalization(0.0, 1.0)
        return
    with pytest.raises(ValueError, match=rf"rescale_factor is {factor}, expected 1/255 = 0\.0039215686274") as caught:
        Normalization.from_config(config)
    if abs(factor * 255 - 1) < 1e-3:
        assert f"{len(unequal)} of the 256 pixel values" in str(caught.value)
        assert "{**config, 'rescale_factor': 1 / 255}" in str(caught.value)
    assert Normalization.from_config({**config, "rescale_factor": 1 / 255}) == Normalization(0.0, 1.0)


def test_constants_of_another_rescale_factor_are_named():
    """Chameleon's: mean 1 and std 1 after a factor of 0.0078."""
    with pytest.raises(ValueError, match=r"divided by rescale_factor \* 255 = 1\.98"):
        Normalization.from_config({"image_mean": [1.0] * 3, "image_std": [1.0] * 3, "rescale_factor": 0.0078})


def deep(levels):
    config = {}
    for _ in range(levels):
        config = {"image_processor": config}
    return config


def self_referring():
    config = {}
    config["image_processor"] = config
    return config


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({**UNEVEN, "do_rescale": 0}, "do_rescale is 0, expected true or false"),
        ({**UNEVEN, "do_normalize": "false"}, "do_normalize is 'false', expected true or false"),
        ({**UNEVEN, "do_flip_channel_order": 1}, "do_flip_channel_order is 1, expected true or false"),
        ({**UNEVEN, "do_grayscale": True}, "do_grayscale is true: its tensors are gray"),
        ({**UNEVEN, "rescale_offset": True}, "rescale_offset is true: it subtracts 1"),
        ({**UNEVEN, "rescale_factor": 10**400}, "rescale_factor is 1000"),
        ({**UNEVEN, "rescale_factor": math.inf}, "rescale_factor is inf"),
        ({**UNEVEN, "rescale_factor": True}, "rescale_factor is True"),
        ({**UNEVEN, "image_mean": 10**400}, "mean: got inf, expected finite"),
        (deep(10**5), "no image_mean and image_std"),
        ({"architecture": deep(10**5), "do_rescale": deep(10**5)}, "do_rescale is {'image_processor':"),
        (self_referring(), "no image_mean and image_std"),
        ("[" * 10**5, "got a path of 100000 characters"),
        ("a" * 5000, "got a path of 5000 characters"),
        (pathlib.Path("b" * 300), "got a path of 300 characters"),
    ],
    ids=lambda value: "" if isinstance(value, str) else None,
)
def test_from_config_refuses_with_its_own_words(config, expected):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        Normalization.from_config(config)
    assert expected in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 10**5, '{"image_processor":' * 10**5])
def test_a_file_that_is_nested_too_deep(text, tmp_path):
    with pytest.raises(ValueError, match="nested too deep"):
        Normalization.from_config(write(tmp_path, text))


# Constants in units of 0..255

PUBLISHED = {  # the extremes among published constants in units of full scale
    "no scaling": (0.0, 1.0),
    "[-1, 1]": (0.5, 0.5),
    "chameleon": (1.0, 1.0),
    "unimer": (0.7931, 0.1738),
    "x / 256": (0.0, 256 / 255),
    "x / 255 + 1": (-1.0, 1.0),
    "codes as they are": (0.0, 1 / 255),
}


@pytest.mark.parametrize(("mean", "std"), PUBLISHED.values(), ids=PUBLISHED)
def test_published_constants_are_taken(mean, std):
    assert Normalization(mean, std) == Normalization(mean, std, allow_unusual=True)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        (127.5, 127.5),
        (0.0, 255.0),
        (0.5, 58.395),
        (123.675, 0.229),
        ((0.485, 116.28, 0.406), 0.225),
        (-1.1, 1.0),
        (2.1, 1.0),
        (0.5, (0.5, 0.5, 2.1)),
    ],
)
def test_constants_in_units_of_codes_are_refused(mean, std, tmp_path):
    config = {"image_mean": mean, "image_std": std}
    for call in (
        lambda: Normalization(mean, std),
        lambda: Normalization.from_config(config),
        lambda: Normalization.from_config(write(tmp_path, config)),
    ):
        with pytest.raises(ValueError, match=r"(mean|std): got .* for channel \d.*divide by 255.*allow_unusual=True"):
            call()


def test_unusual_constants_that_are_meant_stay_usable():
    unusual = Normalization(123.675, 58.395, name="codes", allow_unusual=True)
    assert unusual.mean == (123.675,) * 3
    copies = [pickle.loads(pickle.dumps(unusual, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for same in (*copies, copy.deepcopy(unusual), dataclasses.replace(unusual, name="other"), eval(repr(unusual))):
        assert same == unusual
        assert dataclasses.replace(same, std=60.0).std == (60.0,) * 3
    with pytest.raises(TypeError, match="allow_unusual: got str"):
        Normalization(0.5, 0.5, allow_unusual="yes")
    with pytest.raises(ValueError, match="divide by 255"):
        dataclasses.replace(unusual, allow_unusual=False)


def test_unusual_constants_pass_through_the_operator():
    unusual = Normalization(-3.0, 512.0, allow_unusual=True)
    compiled = torch.compile(lambda x: fastnorm.fused_normalize(x, [unusual]), backend="aot_eager", fullgraph=True)
    assert_same_bits(compiled(CODES[None])[0], fastnorm.fused_normalize(CODES[None], [unusual])[0])


def test_what_is_pickled_is_the_same_in_every_process():
    """A cached hash in it would make equal values unequal keys in a spawned worker, where strings hash otherwise."""
    before = pickle.dumps(Normalization(0.5, 0.25))
    used = Normalization(0.5, 0.25)
    hash(used)
    assert pickle.dumps(used) == before
