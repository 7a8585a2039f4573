"""`Normalization`: a frozen value of plain floats, read from numbers or from a model's own configuration."""

import dataclasses
import json
import pickle

import numpy as np
import pytest
import torch

from fastnorm import CLIP, DINOV2, IMAGENET, SIGLIP, VAE, Normalization
from helpers import PRESETS


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
    "rounded factor": {"image_mean": list(CLIP.mean), "image_std": list(CLIP.std), "rescale_factor": 0.00392156862745},
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
    with pytest.raises(ValueError, match=r"rescale_factor is 0.0078.*wanted 1/255"):
        Normalization.from_config({**mean_std, "rescale_factor": 1 / 127.5})
    with pytest.raises(ValueError, match=r"rescale_factor is '1/255', wanted 1/255"):
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
