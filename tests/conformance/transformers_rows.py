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
REQUIRED = {
    "TimmWrapperImageProcessor": {"pretrained_cfg": {"input_size": (3, 224, 224)}}
}  # arguments without a default
# Classes whose cut tensors are put together again: they pad the patches one by one.
ASSEMBLED = ("InklingImageProcessor", "Inkling2ImageProcessor")
# Classes of which a target is a part of the channels.
PARTS = {
    "VitMatteImageProcessor": ", its first three channels",
    "VitMatteImageProcessorPil": ", its first three channels",
}
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
    name = type(processor).__name__
    cuts = cutter(processor)

    def run(image):
        call = {"trimaps": image.convert("L")} if name in PARTS else CALL.get(name, {})
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
        if name in PARTS:
            found = found[:, :3]
        if name in ASSEMBLED:
            found = assembled(found, image, processor.size.height)
        assert found.numel() == found.shape[-3:].numel(), f"one image became {tuple(found.shape)}"
        return found.reshape(found.shape[-3:])

    return run


def assembled(patches, image, side):
    """The picture (3, height, width) of square patches (N, ..., side, side, 3) in rows."""
    patches = patches.reshape(len(patches), -1, side, side, 3)[:, 0]
    rows = -(-image.height // side)
    grid = patches.reshape(rows, -1, side, side, 3).permute(4, 0, 2, 1, 3)
    return grid.reshape(3, rows * side, -1)[:, : image.height, : image.width]


def note(processor):
    """What of the class's output a target is, where it is not all."""
    cuts = cutter(processor) is not None or type(processor).__name__ in ASSEMBLED
    return BEFORE_CUTTING * cuts + PARTS.get(type(processor).__name__, "")


def row(package, kind, images):
    backend = backend_of(kind)
    name = f"{package}: {kind.__name__}"
    processor = kind(**REQUIRED.get(kind.__name__, {}))
    try:
        target = Target.from_config(processor, backend)
    except ValueError as error:
        _, _, reason = str(error).partition(": ")
        return Row(LIBRARY, name, backend, f"refused: {reason}")
    # Of a single line, Perceiver crops nothing and makes black of that.
    images = [image for image in images if "Perceiver" not in name or min(image.size) > 8]
    compare(target, published(processor), images)
    return Row(LIBRARY, name + note(processor), backend, "identical")


def rows(sample):
    """One row for each class; with `sample`, of every tenth."""
    images = sample_images()
    for package, kind in [*classes()][:: 10 if sample else 1]:
        yield row(package, kind, images)
