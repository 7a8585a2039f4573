"""An image processor of transformers that computes `pixel_values` with this library."""

from __future__ import annotations

import copy
import dataclasses
import functools
import types
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch

from fastnorm.ops.preprocess import fused_preprocess
from fastnorm.spec.steps import BATCH
from fastnorm.spec.target import Target, check_target

if TYPE_CHECKING:
    from PIL import Image

    from fastnorm.verification.verifying import AnyImage

Processor = TypeVar("Processor")

_KEY = "pixel_values"
_CHANNELS = 3
_NOT_COLORS = (1, 4)  # channels that transformers takes for gray and RGBA
_TENSORS = (None, "pt", "np")
# Odd and even sides, margins of 3 modulo 4, small and large, both ways from square.
_SAMPLE_SIZES = ((227, 231), (224, 224), (480, 361), (53, 37), (640, 250), (300, 451))
_ORIENTATION, _TURNED = 0x0112, 6  # EXIF's tag, and a value of it


class _Plan(NamedTuple):
    """What an object computes with, and the settings that this holds for."""

    target: Target
    settings: Mapping[str, object]


def image_processor(
    processor: Processor, images: Sequence[AnyImage] | AnyImage | None = None, target: Target | None = None
) -> Processor:
    """The same image processor, computing with this library, where that gives the same bits.

    Example:
        >>> from transformers import CLIPImageProcessor
        >>> ours = image_processor(CLIPImageProcessor())
        >>> isinstance(ours, CLIPImageProcessor)
        True
        >>> ours(images=PIL.Image.new("RGB", (640, 480)), return_tensors="pt").pixel_values.shape
        torch.Size([1, 3, 224, 224])

    It is an object of a subclass of the given one's class, so that processors such as `CLIPProcessor`, pipelines and
    `Trainer` take it, and it is picklable. `save_pretrained` writes the original class's name and settings: what is
    saved loads without this library. It is called as the original is: one image, a list or nested lists;
    `return_tensors`; `device`, where the original takes it.

    This library computes RGB images of 8 bits: PIL images of mode "RGB", uint8 arrays and tensors with 3 channels.
    Everything else is left to the original's own code: images of other modes, settings given in the call
    (`do_resize=False`, `size=...`) or changed after the object was made, and what it returns besides `pixel_values`.

    On CUDA, the default image processors resize in floating point and give other bits than on a CPU; this one gives the
    CPU's bits on every device.

    Args:
        processor: An image processor of transformers.
        images: PIL images or paths to verify it with; by default a few that are made for this.
        target: What it computes; by default `Target.from_config(processor)`.

    Returns:
        The new object; the given one is left as it is.

    Raises:
        TypeError: Something else than an image processor.
        ValueError: A class or setting that is not reproduced, or a difference: the message is the report of
            `fastnorm.verify`.
    """
    from fastnorm.verification.verifying import verify

    _check_kind(processor)
    if isinstance(processor, _Computed) and processor._plan is not None and images is None and target is None:
        return copy.deepcopy(processor)
    if target is None:
        target = Target.from_config(processor)
    check_target(target, "target")
    chosen = _samples() if images is None else images
    found = verify(processor, chosen, target)
    if not found.identical:
        raise ValueError(f"{type(processor).__name__} gives other values than the target:\n{found}")
    settings = copy.deepcopy(vars(processor))
    settings.pop("_plan", None)
    ours = _rebuild(_original_class(type(processor)), {**settings, "_plan": _Plan(target, copy.deepcopy(settings))})
    _check_batches(processor, ours)
    return ours  # type: ignore[no-any-return]


class _Computed:
    """What is put before an image processor's class."""

    _plan: _Plan | None = None

    @property
    def fastnorm_target(self) -> Target | None:
        """What is computed; None where the original's code computes everything."""
        return self._plan.target if self._plan is not None and self._is_unchanged() else None

    def preprocess(self, images: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the original's
        """As the original's `preprocess`."""
        original = super().preprocess  # type: ignore[misc]
        return_tensors = kwargs.get("return_tensors", getattr(self, "return_tensors", None))
        if args or self.fastnorm_target is None or return_tensors not in _TENSORS or not self._are_own(kwargs):
            return original(images, *args, **kwargs)
        fetched = self.fetch_images(images)  # type: ignore[attr-defined]
        ready = _as_colors(fetched, is_by_torch := getattr(self, "backend", None) == "torchvision")
        if ready is None:
            return original(fetched, **kwargs)
        device = kwargs.get("device") if is_by_torch else None
        try:
            outputs = _outputs(ready, self.fastnorm_target, device)
        except ValueError:  # such as an image that would have no pixel left: the original says so in its way
            return original(fetched, **kwargs)
        return _feature(outputs, return_tensors, is_by_torch)

    def to_dict(self) -> dict[str, Any]:
        """As the original's: nothing of this library is saved."""
        found: dict[str, Any] = super().to_dict()  # type: ignore[misc]
        found.pop("_plan", None)
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (_original_class(type(self)), vars(self))

    def _is_unchanged(self) -> bool:
        own = {name: value for name, value in vars(self).items() if name != "_plan"}
        return self._plan is not None and _same(own, self._plan.settings)

    def _are_own(self, kwargs: Mapping[str, object]) -> bool:
        """Whether the arguments of a call are the object's own settings, or say nothing of pixels."""
        free = {"return_tensors", "device", "disable_grouping"}
        own = vars(self)
        return all(name in free or (name in own and _same(own[name], value)) for name, value in kwargs.items())


def _same(own: object, value: object) -> bool:
    try:
        return type(own) is type(value) and bool(own == value)
    except ValueError:  # arrays have no one truth
        return False


@functools.cache
def _class_of(original: type) -> type:
    return types.new_class(
        original.__name__,
        (_Computed, original),
        exec_body=lambda names: names.update(__module__=__name__, __doc__=original.__doc__),
    )


def _original_class(cls: type) -> type:
    """The class below `_Computed`, or the class itself."""
    return cls.__bases__[1] if cls.__bases__[0] is _Computed else cls


def _rebuild(original: type, attributes: Mapping[str, object]) -> Any:  # noqa: ANN401 - of a class made just now
    made: Any = object.__new__(_class_of(original))
    vars(made).update(attributes)
    return made


def _check_kind(processor: object) -> None:
    from transformers.image_processing_utils import BaseImageProcessor

    if isinstance(processor, BaseImageProcessor):
        return
    held = getattr(processor, "image_processor", None)
    call = "image_processor(processor.image_processor)" if held is not None else "image_processor(CLIPImageProcessor())"
    raise TypeError(
        f"processor: got {type(processor).__name__}, expected an image processor object of transformers: {call}"
    )


def _as_colors(images: Any, is_by_torch: bool) -> list[Any] | None:  # noqa: ANN401
    """A flat list of what this library takes, tensors and arrays as (H, W, 3); None where it does not take all."""
    from transformers.image_utils import make_flat_list_of_images

    try:
        flat: Any = make_flat_list_of_images(images)
    except ValueError:
        return None
    ready = [_as_color(image, is_by_torch) for image in flat]
    if not ready or any(image is None for image in ready):
        return None
    devices = {image.device for image in ready if isinstance(image, torch.Tensor)}
    if len(devices) > 1 or (devices and devices != {torch.device("cpu")} and len(ready) > _tensors_in(ready)):
        return None
    return ready


def _tensors_in(images: Sequence[object]) -> int:
    return sum(isinstance(image, torch.Tensor) for image in images)


def _as_color(image: Any, is_by_torch: bool) -> Any:  # noqa: ANN401 - PIL image, array or tensor
    from PIL import Image

    if isinstance(image, Image.Image):
        return image if image.mode == "RGB" and "transparency" not in image.info else None
    is_tensor = isinstance(image, torch.Tensor)
    if image.ndim != 3 or image.dtype != (torch.uint8 if is_tensor else np.uint8):
        return None
    if is_tensor and not is_by_torch and image.device.type != "cpu":
        return None
    if image.shape[0] == _CHANNELS:  # which decides where the last axis could be the channels, too
        return image.permute(1, 2, 0) if is_tensor else np.moveaxis(image, 0, -1)
    return image if image.shape[-1] == _CHANNELS and image.shape[0] not in _NOT_COLORS else None


def _outputs(images: list[Any], target: Target, device: Any) -> Any:  # noqa: ANN401 - torch.device or its name
    """One tensor where every output has one size, else a list."""
    is_batch = target.fixed_size is not None or (target.crop is not None and target.crop.size == BATCH)
    (outputs,) = fused_preprocess(images, [dataclasses.replace(target, batch=is_batch)], device=device, layout="HWC")
    return outputs


def _feature(outputs: Any, return_tensors: str | None, is_by_torch: bool) -> Any:  # noqa: ANN401 - a BatchFeature
    from transformers.image_processing_base import BatchFeature

    if return_tensors == "pt":
        return BatchFeature(data={_KEY: outputs}, tensor_type="pt")
    values = list(outputs)
    if return_tensors == "np" or not is_by_torch:
        values = [value.cpu().numpy() for value in values]
    return BatchFeature(data={_KEY: values}, tensor_type=return_tensors)


def _check_batches(processor: Any, ours: Any) -> None:  # noqa: ANN401
    """Several images in one call, and in other forms, come out as the original's, in every form of the result."""
    first, second = (np.array(image) for image in _samples()[:2])
    images = [_samples()[-1], first, torch.from_numpy(second).permute(2, 0, 1)]
    for given, return_tensors in ((images, None), (images[0], "pt"), ([images[:1], images[:1]], "np")):
        theirs = processor(given, return_tensors=return_tensors)
        own = ours(given, return_tensors=return_tensors)
        same_keys = set(theirs) == set(own)
        if not same_keys or not _equal(theirs[_KEY], own[_KEY]):
            what = f"{sorted(theirs)}" if not same_keys else f"other {_KEY} for several images than for each by itself"
            raise ValueError(
                f"{type(processor).__name__}: gives {what}, expected {_KEY} alone, one image by itself; call "
                f"fastnorm.fused_preprocess for what it gives of these"
            )


def _equal(theirs: Any, own: Any) -> bool:  # noqa: ANN401 - lists, arrays or tensors
    if type(theirs) is not type(own) or len(theirs) != len(own):
        return False
    pairs = [(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(theirs, own, strict=True)]
    return all(type(a) is type(b) for a, b in zip(theirs, own, strict=True)) and all(torch.equal(*p) for p in pairs)


@functools.cache
def _samples() -> tuple[Image.Image, ...]:
    """Waves that are sharp enough for every filter to overshoot, with noise on them; the last has an orientation."""
    from PIL import Image

    generator = np.random.default_rng(0)
    found = []
    for height, width in _SAMPLE_SIZES:
        y, x, c = np.ogrid[:height, :width, :_CHANNELS]
        waves = (
            128 + 150 * np.sin((y + 2 * c) / 5) * np.cos((x - c) / 7) + generator.integers(-20, 21, (height, width, 3))
        )
        found.append(Image.fromarray(waves.clip(0, 255).astype(np.uint8)))
    found[-1].getexif()[_ORIENTATION] = _TURNED
    return tuple(found)
