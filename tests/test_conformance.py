"""`Target.from_config` beside the published processors: identical bits, or refused. docs/conformance.md has the table.

The gate takes a tenth, `--all-configs` everything.
"""

import numpy as np
import pytest
from transformers import (
    BitImageProcessor,
    BitImageProcessorPil,
    CLIPImageProcessor,
    CLIPImageProcessorPil,
    SiglipImageProcessor,
    SiglipImageProcessorPil,
    ViTImageProcessor,
    ViTImageProcessorPil,
)

import fastnorm
from conformance import toggled, transformers_rows
from conformance.images import noise, photographs
from fastnorm import DINOV2, Target
from helpers import assert_same_bits, preprocess_by_kernel

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own, about settings that it will drop


@pytest.fixture
def everything(request):
    return request.config.option.all_configs


def test_every_class_of_transformers_is_identical_or_refused(everything):
    """`compare` raises where bits differ, so that a row with another result is not to be had."""
    found = list(transformers_rows.rows(sample=not everything))
    results = {row.result.partition(":")[0] for row in found}
    assert results == {"identical", "refused"}
    identical = {row.name.partition(":")[0] for row in found if row.result == "identical"}
    assert len(identical) >= (100 if everything else 10)


def test_one_setting_changed(everything):
    """What a reader does not ask for, and the class honours, would show as other bits."""
    cases = [
        (kind, {**transformers_rows.in_the_way(kind), **settings})
        for _, kind in transformers_rows.classes()
        for settings in toggled.variations(kind)
    ]
    results = [toggled.check(kind, settings) for kind, settings in cases[:: 1 if everything else 101]]
    assert results.count("identical") > len(results) / 4


DINOV2_BASE = {
    "size": {"shortest_edge": 256},
    "image_mean": list(DINOV2.mean),
    "image_std": list(DINOV2.std),
}
FAMILIES = {
    "CLIP": (CLIPImageProcessorPil, CLIPImageProcessor, {}),
    "SigLIP": (SiglipImageProcessorPil, SiglipImageProcessor, {}),
    "DINOv2": (BitImageProcessorPil, BitImageProcessor, DINOV2_BASE),
    "ViT": (ViTImageProcessorPil, ViTImageProcessor, {}),
}


def built(settings):
    """Both backends of each family."""
    return [kind(**given, **settings) for *kinds, given in FAMILIES.values() for kind in kinds]


def random_images(count, largest, longest=900, seed=0):
    generator = np.random.default_rng(seed)
    short = generator.integers(1, largest, count)
    long = np.minimum(short * generator.uniform(1, 12, count), longest).astype(int).clip(1)
    sizes = np.where(generator.random((count, 1)) < 0.5, np.stack([short, long], 1), np.stack([long, short], 1))
    return [noise(*size, seed) for seed, size in enumerate(sizes.tolist())]


@pytest.mark.compat
def test_the_four_families_at_random_sizes(everything):
    """All eight processors from one call for each image, on the CPU."""
    processors = built({})
    targets = [Target.from_config(processor) for processor in processors]
    for image in [*photographs(), *random_images(300 if everything else 30, 700)]:
        outputs = fastnorm.fused_preprocess([image], targets)
        for output, processor in zip(outputs, processors, strict=True):
            assert_same_bits(output, processor([image], return_tensors="pt").pixel_values)


@pytest.mark.compat
@pytest.mark.parametrize("path", [fastnorm.reference.preprocess, preprocess_by_kernel], ids=["reference", "kernels"])
def test_the_four_families_through_the_kernels(path, everything):
    """At a size that Triton's interpreter gets through: see --device."""
    cropped, stretched = {"size": {"shortest_edge": 20}, "crop_size": {"height": 17, "width": 17}}, {"size": [21, 24]}
    small = {"CLIP": cropped, "DINOv2": cropped, "SigLIP": stretched, "ViT": stretched}
    processors = [kind(**{**FAMILIES[name][2], **small[name]}) for name in FAMILIES for kind in FAMILIES[name][:2]]
    images = [*photographs(), *random_images(300, 48, 48)] if everything else random_images(12, 60)
    outputs = path(images, [Target.from_config(processor) for processor in processors])
    for output, processor in zip(outputs, processors, strict=True):
        assert_same_bits(output, processor(images, return_tensors="pt").pixel_values)
