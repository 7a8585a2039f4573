"""open_clip: every distinct configuration of its pretrained models, and each way to resize at sizes of two kinds."""

import dataclasses
import itertools

import open_clip
from open_clip.pretrained import get_pretrained_cfg
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict

from conformance.checked import a_tenth, checked, named


def configurations():
    """Each configuration, with the models that have it: open_clip takes the size from the model."""
    found = {}
    for model, tag in open_clip.list_pretrained():
        size = open_clip.get_model_config(model)["vision_cfg"]["image_size"]
        merged = merge_preprocess_dict(PreprocessCfg(), get_pretrained_cfg(model, tag))
        config = PreprocessCfg(**{**merged, "size": tuple(size) if isinstance(size, list) else size})
        found.setdefault(dataclasses.astuple(config), (config, []))[1].append(f"{model} {tag}")
    sizes, modes, filters = (224, (160, 200)), ("shortest", "longest", "squash"), ("bicubic", "bilinear", "random")
    for size, mode, word in itertools.product(sizes, modes, filters):
        config = PreprocessCfg(size=size, resize_mode=mode, interpolation=word, fill_color=77)
        found.setdefault(dataclasses.astuple(config), (config, [f"{mode}, {size}, {word}"]))
    return list(found.values())


def rows(sample):
    for config, models in a_tenth(configurations(), sample):
        yield checked("open_clip", named(models), config, image_transform_v2(config, is_train=False))
