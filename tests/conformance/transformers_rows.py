"""Every image processor class of the installed transformers, with its default configuration, in both backends."""

import contextlib
import importlib
import inspect
import pkgutil
from unittest import mock

import torch
import transformers.models
from transformers.image_processing_utils import BaseImageProcessor

from conformance.images import sample_images
from conformance.row import Row, compare
from fastnorm import Target

LIBRARY = "transformers"
BEFORE_CUTTING = ", before it cuts patches"
# Methods and functions of a class's module that cut normalised images into patches.
CUTTERS = ("patchify", "convert_image_to_patches")
OUTPUTS = ("pixel_values", "images", "pixel_values_images")
# What a class needs beside an image, and what leaves its pixels alone.
CALL = {
    "LayoutLMv3ImageProcessor": {"apply_ocr": False},
    "LayoutLMv3ImageProcessorPil": {"apply_ocr": False},
    "OneFormerImageProcessor": {"task_inputs": ["semantic"]},
    "OneFormerImageProcessorPil": {"task_inputs": ["semantic"]},
}


def classes():
    """The image processor classes of each package of transformers.models, by name."""
    for package in sorted(info.name for info in pkgutil.iter_modules(transformers.models.__path__) if info.ispkg):
        path = f"transformers.models.{package}"
        for info in pkgutil.iter_modules(importlib.import_module(path).__path__):
            if info.name.startswith("image_processing_") and package != "auto":
                module = importlib.import_module(f"{path}.{info.name}")
                yield from (
                    (package, kind)
                    for name, kind in sorted(vars(module).items())
                    if inspect.isclass(kind)
                    and issubclass(kind, BaseImageProcessor)
                    and kind.__module__ == module.__name__
                    and not name.startswith("_")
                )


def backend_of(kind):
    return "torchvision" if any(base.__name__ == "TorchvisionBackend" for base in kind.__mro__) else "pil"


def cutter(processor):
    """(owner, name) of what cuts this processor's images into patches; None where nothing does."""
    module = importlib.import_module(type(processor).__module__)
    for name in CUTTERS:
        for owner in (processor, module):
            if hasattr(owner, name):
                return owner, name
    return None


def published(processor):
    """A function from an image to the (3, height, width) that the processor makes of it."""
    call = CALL.get(type(processor).__name__, {})
    cuts = cutter(processor)

    def run(image):
        with mock.patch.object(*cuts, wraps=getattr(*cuts)) if cuts else contextlib.nullcontext() as cutting:
            outputs = processor(image, return_tensors="pt", **call)
        if cuts:
            (arguments, keywords) = cutting.call_args
            found = arguments[0] if arguments else keywords["images"]
        else:
            found = outputs
            if not isinstance(outputs, torch.Tensor):
                found = next(outputs[name] for name in OUTPUTS if name in outputs)
        found = torch.as_tensor(found)
        assert found.numel() == found.shape[-3:].numel(), f"one image became {tuple(found.shape)}"
        return found.reshape(found.shape[-3:])

    return run


def row(package, kind, images):
    backend = backend_of(kind)
    name = f"{package}: {kind.__name__}"
    try:
        target = Target.from_config(kind(), backend)
    except (ValueError, ImportError) as error:
        _, _, reason = str(error).partition(": ")
        return Row(LIBRARY, name, backend, f"refused: {reason}")
    processor = kind()
    compare(target, published(processor), images)
    return Row(LIBRARY, name + BEFORE_CUTTING * (cutter(processor) is not None), backend, "identical")


def rows(sample):
    """One row for each class; with `sample`, of every tenth."""
    images = sample_images()
    for package, kind in [*classes()][:: 10 if sample else 1]:
        yield row(package, kind, images)
