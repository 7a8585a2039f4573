"""diffusers: every image and video processor that it has with its default settings, and VaeImageProcessor with others.

The calls take no height and width, and the default resize_mode.
"""

import importlib
import pathlib
import re

import diffusers
from diffusers.image_processor import VaeImageProcessor

from conformance.checked import a_tenth, checked

_CLASS = re.compile(r"^class (\w*Processor\w*)\((?:VaeImageProcessor|VideoProcessor|ConfigMixin)\):", re.MULTILINE)

SETTINGS = [
    *({"resample": name} for name in ("bilinear", "bicubic", "nearest")),
    {"reducing_gap": 2},
    {"vae_scale_factor": 32},
    {"vae_scale_factor": 1},
    {"do_resize": False},
    {"do_normalize": False},
    {"do_convert_rgb": True},
    {"do_binarize": True},
    {"do_convert_grayscale": True},
]


def classes():
    """As diffusers' sources name them; no list of it has them all."""
    root = pathlib.Path(diffusers.__file__).parent
    for path in sorted(root.rglob("*.py")):
        names = _CLASS.findall(path.read_text(encoding="utf-8"))
        if names:
            module = importlib.import_module(".".join(["diffusers", *path.relative_to(root).with_suffix("").parts]))
            yield from (getattr(module, name) for name in names)


def rows(sample):
    processors = [(kind.__name__, kind()) for kind in classes()]
    processors += [
        (f"VaeImageProcessor({', '.join(f'{name}={value!r}' for name, value in settings.items())})", settings)
        for settings in SETTINGS
    ]
    for name, processor in a_tenth(processors, sample):
        processor = VaeImageProcessor(**processor) if isinstance(processor, dict) else processor
        yield checked("diffusers", name, processor, lambda image, p=processor: p.preprocess(image)[0])
