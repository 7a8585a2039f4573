"""Every image processor class of the installed transformers, with its default configuration, in both backends."""

import contextlib
import importlib
import inspect
import pkgutil
from unittest import mock

import torch
import transformers.models
from transformers.image_processing_utils import BaseImageProcessor

from conformance.images import converted, sample_images
from conformance.row import Row, compare
from fastnorm import Target

LIBRARY = "transformers"
BEFORE_CUTTING = ", before it cuts patches"
# Methods and functions of a class's module that cut normalised images into patches.
CUTTERS = ("patchify", "convert_image_to_patches", "reshape_by_patch")
REQUIRED = {
    "TimmWrapperImageProcessor": {"pretrained_cfg": {"input_size": (3, 224, 224)}}
}  # arguments without a default
# Settings by default on, which refuse classes that are otherwise understood.
IN_THE_WAY = {
    "Cohere2Vision": {"crop_to_patches": False},
    "EfficientNet": {"include_top": False},
    "GraniteDocling": {"crop_to_patches": False},
    "Idefics3": {"do_image_splitting": False},
    "Lfm2Vl": {"do_image_splitting": False},
    "MiniCPMOcr": {"slice_mode": False},
    "MiniCPMV4_6": {"slice_mode": False},
    "Nougat": {"do_crop_margin": False},
    "PerceptionLM": {"vision_input_type": "vanilla"},
    "SmolVLM": {"do_image_splitting": False},
}
# Classes whose cut tensors are put together again: they pad the patches one by one.
ASSEMBLED = ("InklingImageProcessor", "Inkling2ImageProcessor")
# Classes of which a target is a part of the channels.
PARTS = {
    "VitMatteImageProcessor": ", its first three channels",
    "VitMatteImageProcessorPil": ", its first three channels",
}
# What a message says of every class that is refused.
BY_HAND = "; write what you need of it as a Target(...) and hold it to the processor with fastnorm.verify"
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


def in_the_way(kind):
    return IN_THE_WAY.get(unsuffixed(kind).removesuffix("ImageProcessor"), {})


def unsuffixed(kind):
    return kind.__name__.removesuffix("Pil")


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
    """The image (3, height, width) of square patches (N, ..., side, side, 3) in rows."""
    patches = patches.reshape(len(patches), -1, side, side, 3)[:, 0]
    rows = -(-image.height // side)
    grid = patches.reshape(rows, -1, side, side, 3).permute(4, 0, 2, 1, 3)
    return grid.reshape(3, rows * side, -1)[:, : image.height, : image.width]


def note(processor):
    """What of the class's output a target is, where it is not all."""
    cuts = cutter(processor) is not None or type(processor).__name__ in ASSEMBLED
    return BEFORE_CUTTING * cuts + PARTS.get(type(processor).__name__, "")


def row(package, kind, images, **settings):
    backend = backend_of(kind)
    shown = ", ".join(f"{key}={value!r}" for key, value in settings.items())
    name = f"{package}: {kind.__name__}" + f"({shown})" * bool(settings)
    processor = kind(**REQUIRED.get(kind.__name__, {}), **settings)
    try:
        target = Target.from_config(processor, backend)
    except ValueError as error:
        reason = str(error).partition(": ")[2].removeprefix(f"got {unsuffixed(kind)}, which is not reproduced: ")
        return Row(LIBRARY, name, backend, f"refused: {reason.removesuffix(BY_HAND)}")
    # Of a single line, Perceiver crops nothing and makes black of that.
    images = [image for image in images if "Perceiver" not in name or min(image.size) > 8]
    compare(target, published(processor), [*images, *converted(target)])
    return Row(LIBRARY, name + note(processor), backend, "identical")


def rows(sample):
    """One row for each class, and another where one setting is in the way of it; with `sample`, of every tenth."""
    images = sample_images(sample)
    for package, kind in [*classes()][:: 10 if sample else 1]:
        yield row(package, kind, images)
        settings = in_the_way(kind)
        if settings:
            yield row(package, kind, images, **settings)


def summary(found):
    """How many packages have a class that is identical, in either backend."""
    packages = {row.name.partition(":")[0] for row in found}
    identical = [row.name for row in found if row.result == "identical"]
    by_default = {name.partition(":")[0] for name in identical if "=" not in name}
    at_all = {name.partition(":")[0] for name in identical}
    return (
        f"Of {len(packages)} packages, {len(by_default)} are identical in at least one backend as they are, "
        f"{len(at_all)} with the settings that are named."
    )
