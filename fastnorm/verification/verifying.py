"""`fastnorm.verify`: a published processor and this library on the same images, and why they differ."""

from __future__ import annotations

import dataclasses
import os
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from PIL import ExifTags, Image

from fastnorm.spec.target import Target, check_target
from fastnorm.verification.causes import Cause, Sample, find_cause
from fastnorm.verification.changes import Way
from fastnorm.verification.differences import Difference, difference, total
from fastnorm.verification.originals import Original

AnyImage = Image.Image | str | os.PathLike[str]
Progress = Callable[[int, int, str], object]

_SAMPLES = 4  # images that causes are sought with
_UPRIGHT = 1


class NamedImage(NamedTuple):
    """An image to verify with, opened when it is needed."""

    name: str
    source: AnyImage

    def open(self) -> Image.Image:
        if isinstance(self.source, Image.Image):
            return self.source
        image: Image.Image = Image.open(self.source)
        image.load()  # which closes the file
        return image


@dataclass(frozen=True)
class Compared:
    """One image: what came out of the processor, beside what this library gives.

    Attributes:
        name: The file's name, or the place in the list of images.
        shape, dtype: Of the processor's output, (3, height, width).
        our_shape, our_dtype: Of ours.
        difference: How far the values lie apart.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    our_shape: tuple[int, ...]
    our_dtype: torch.dtype
    difference: Difference

    @property
    def identical(self) -> bool:
        return not self.difference.differing and self.dtype == self.our_dtype


@dataclass(frozen=True)
class Verification:
    """What `fastnorm.verify` found; printed, a report.

    Attributes:
        processor: The name of what was run.
        target: What it was compared with.
        images: One `Compared` for each image.
        difference: All of them together: how many values differ, and by how much, in output units and in pixel values.
        cause: Why; None where nothing differs, or nothing that was tried explains it.
    """

    processor: str
    target: Target
    images: tuple[Compared, ...]
    difference: Difference
    cause: Cause | None

    @property
    def identical(self) -> bool:
        """Whether shapes, dtypes and every bit are the same for all images."""
        return all(one.identical for one in self.images)

    @property
    def is_rounding(self) -> bool:
        """Whether values differ, but each by less than 1e-5 or by one in the last place: no pixel is another."""
        return self.difference.is_rounding

    @property
    def verdict(self) -> str:
        """One line: identical, or how much differs."""
        if self.identical:
            return f"identical: {self.difference}"
        if not self.difference.differing:
            return f"the values are the same, the dtypes are not: got {self._dtypes()}"
        what = "rounding" if self.is_rounding else "different pixels"
        if any(one.shape != one.our_shape for one in self.images):
            what = "different shapes"
        return f"{what}: {self.difference}"

    def __str__(self) -> str:
        count = len(self.images)
        outputs = Counter((one.shape, one.dtype) for one in self.images)
        (shape, dtype), most = outputs.most_common(1)[0]
        which = "each" if most == count else f"{most} of them"
        lines = [
            f"{self.processor}: {count} {'image' if count == 1 else 'images'}, {which} {_short(dtype)} {shape}",
            self.verdict,
        ]
        others = [one for one in self.images if one.shape != one.our_shape]
        if others:
            one = others[0]
            lines.append(f"{one.name}: got shape {one.shape} of the processor, {one.our_shape} of the target")
        if not self.identical:
            lines.append(f"cause: {self.cause or 'no change that was tried explains it'}")
            if self.cause is not None and self.cause.target is not None:
                lines.append(f"with fastnorm: {_as_call(self.target, self.cause.target)}")
        return "\n".join(textwrap.fill(line, 120, subsequent_indent="    ", break_on_hyphens=False) for line in lines)

    __repr__ = __str__

    def _dtypes(self) -> str:
        pairs = dict.fromkeys((one.dtype, one.our_dtype) for one in self.images if one.dtype != one.our_dtype)
        return " and ".join(f"{_short(theirs)} of the processor, {_short(ours)} of ours" for theirs, ours in pairs)


def verify(
    processor: object,
    images: Sequence[AnyImage] | AnyImage,
    target: Target | None = None,
    *,
    progress: Progress = lambda _done, _total, _name: None,
) -> Verification:
    """Run a published processor and this library on the same images, and say whether and why they differ.

    Example:
        >>> from torchvision import transforms
        >>> steps = [transforms.Resize(512), transforms.CenterCrop(512), transforms.ToTensor()]
        >>> image = PIL.Image.effect_noise((640, 480), 50).convert("RGB")
        >>> found = fastnorm.verify(transforms.Compose(steps), [image], fastnorm.VAE_512)
        >>> found.identical, found.cause.kinds
        (False, ('normalize',))
        >>> print(found.cause)
        the processor does not subtract the mean and divide by the std; with that, no value differs

    Each image is given to the processor by itself. Where something differs, the cause is sought: one change of the
    target, then up to four together, of arithmetic, order, crop, filter, EXIF, alpha, order of the channels,
    rescaling, normalising, constants and size, until nothing differs.

    Args:
        processor: An image processor of transformers, or a processor that holds one; diffusers' `VaeImageProcessor`; a
            transform of timm, torchvision or open_clip; or any callable that takes a PIL image and returns a tensor or
            an array (3, height, width) or (1, 3, height, width), or a dictionary with "pixel_values".
        images: PIL images or paths of image files, or one. They are passed as they are: with alpha, in their mode, and
            with their EXIF orientation.
        target: What the processor is taken to compute. None: `Target.from_config(processor)`.
        progress: Called with the number of images done, of all images, and the name of the last one.

    Returns:
        The report: `.identical`, `.difference`, `.cause`, and one entry of `.images` for each image.

    Raises:
        TypeError: Images or a processor of another kind, or a callable that returns something else.
        ValueError: No images; an output that is not one image of 3 channels; an image that the target refuses.
        FileNotFoundError: A path where there is no file.
    """
    original = Original(processor)
    named_images = check_images(images)
    if target is None:  # objects of fastnorm.integrations know theirs
        target = getattr(original.processor, "fastnorm_target", None) or Target.from_config(processor)
    check_target(target, "target")
    compared = []
    for index, named in enumerate(named_images):
        compared.append(_compare(original, named, Way(target)))
        progress(index + 1, len(named_images), named.name)
    together = total(one.difference for one in compared)
    cause = _why(original, named_images, compared, target) if together.differing else None
    return Verification(original.name, target, tuple(compared), together, cause)


def check_images(images: object) -> list[NamedImage]:
    """The images by name; every one is looked at before any work."""
    several = images if isinstance(images, Sequence) and not isinstance(images, str) else [images]
    if not several:
        raise ValueError("images: got none, expected at least one PIL image or path: fastnorm.verify(processor, paths)")
    named_images = []
    for index, source in enumerate(several):
        if isinstance(source, (str, os.PathLike)):
            with Image.open(source):  # raises what is wrong with it, and reads no pixels
                named_images.append(NamedImage(os.fspath(source), source))
        elif isinstance(source, Image.Image):
            named_images.append(NamedImage(f"images[{index}]", source))
        else:
            raise TypeError(
                f"images[{index}]: got {type(source).__name__}, expected a PIL image or a path; of an array or tensor "
                f"(H, W, 3): PIL.Image.fromarray(numpy.asarray(it))"
            )
    return named_images


def _compare(original: Original, named: NamedImage, way: Way) -> Compared:
    image = named.open()
    try:
        ours = way(image, torch.float32)
    except ValueError as error:
        raise ValueError(f"{named.name}: the target refuses this image: {error}") from None
    theirs = original(image, named.name)
    if theirs.dtype != ours.dtype:
        ours = way(image, theirs.dtype)
    apart = difference(theirs, ours, way.target.normalization)
    return Compared(named.name, tuple(theirs.shape), theirs.dtype, tuple(ours.shape), ours.dtype, apart)


def _why(
    original: Original, named_images: Sequence[NamedImage], compared: Sequence[Compared], target: Target
) -> Cause | None:
    def confirmed(way: Way) -> Difference | None:
        try:
            return total(_compare(original, named, way).difference for named in named_images)
        except ValueError:
            return None

    chosen = _choose(named_images, compared)
    samples = [Sample(image, original(image, name)) for name, image in chosen]
    return find_cause(target, samples, confirmed)


def _choose(named_images: Sequence[NamedImage], compared: Sequence[Compared]) -> Iterator[tuple[str, Image.Image]]:
    """Of the images that differ, the smallest; first those of which modes or tags may be the reason."""
    sizes = []
    for index, (named, one) in enumerate(zip(named_images, compared, strict=True)):
        if one.difference.differing:
            image = named.open()
            is_plain = image.mode == "RGB" and image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT) == _UPRIGHT
            sizes.append((is_plain, image.width * image.height, index))
    plain = sorted(size for size in sizes if size[0])
    special = sorted(size for size in sizes if not size[0])[: _SAMPLES if not plain else _SAMPLES // 2]
    for *_, index in [*special, *plain][:_SAMPLES]:
        yield named_images[index].name, named_images[index].open()


def _as_call(target: Target, other: Target) -> str:
    """How to write `other`."""
    names = [field.name for field in dataclasses.fields(Target)]
    changed = [name for name in names if getattr(target, name) != getattr(other, name)]
    return f"dataclasses.replace(target, {', '.join(f'{name}={getattr(other, name)!r}' for name in changed)})"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
