"""The images of a preprocess call: a batch, a list of any sizes and kinds, or a container of its own kind."""

from __future__ import annotations

import abc
import collections
import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
import torch

from fastnorm.images.layout import address_of, as_planes, check_layout, file_hint, is_pil_image
from fastnorm.runtime import threads
from fastnorm.spec.errors import PictureError
from fastnorm.spec.geometry import Size
from fastnorm.spec.options import check_alpha, check_exif

if TYPE_CHECKING:
    from PIL import Image

# Positions within one image are 32-bit numbers.
MAX_SOURCE_PIXELS = 2**31 - 1


class Place(NamedTuple):
    """Where a image lies in its device's memory; strides in bytes.

    The fields of `fastnorm_kernels.Source`, which is not imported before something is launched.
    """

    address: int
    height: int
    width: int
    row_stride: int
    pixel_stride: int
    channel_stride: int


@dataclass(frozen=True)
class Images(abc.ABC):
    """The images of a call, checked; their memory is not copied. How they lie in memory is the subclasses' business."""

    device: torch.device
    sizes: tuple[Size, ...]
    leading: tuple[int, ...]  # axes of the outputs before the channels: () for one image, (N,) for a list or batch
    memory: tuple[torch.Tensor, ...]  # all tensors that hold pixels

    def __len__(self) -> int:
        return len(self.sizes)

    def name(self, index: int) -> str:
        """What messages call an image."""
        return image_name(self.number(index))

    def number(self, index: int) -> int | None:
        """Which of the call's images it is; None where it was given by itself."""
        return index if self.leading else None

    def same_pixels(self, other: Images) -> bool:
        """Whether `other`, read from the same images with another `alpha`, shows the same pixels, by its objects."""
        del other
        return True  # tensors have no alpha

    @abc.abstractmethod
    def views(self) -> Sequence[Image.Image | torch.Tensor]:
        """Each image as a PIL image of mode RGB, or as a uint8 view (H, W, 3)."""

    def as_tensors(self) -> list[torch.Tensor]:
        """Each image as a uint8 view (H, W, 3); PIL images are copied."""
        return [v if isinstance(v, torch.Tensor) else torch.from_numpy(np.array(v)) for v in self.views()]

    def subset(self, indices: Sequence[int]) -> Images:
        """Some of the images, as a list."""
        views = self.views()
        return ImageList.of([views[index] for index in indices], self.device)

    @abc.abstractmethod
    def places(self) -> list[Place]:
        """Where each image lies; of tensors only."""


@dataclass(frozen=True)
class Batch(Images):
    """Images of one size in one tensor."""

    planes: torch.Tensor  # (N, 3, H, W)

    def views(self) -> Sequence[torch.Tensor]:
        return self.planes.movedim(1, -1).unbind()

    def places(self) -> list[Place]:
        step, channel, row, pixel = self.planes.stride()
        first, (_, _, height, width) = self.planes.data_ptr(), self.planes.shape
        return [Place(first + i * step, height, width, row, pixel, channel) for i in range(len(self))]


@dataclass(frozen=True)
class ImageList(Images):
    """Images of any sizes, each an object of its own: PIL images of mode RGB, and uint8 views (H, W, 3)."""

    items: tuple[Image.Image | torch.Tensor, ...]

    @classmethod
    def of(cls, items: Sequence[Image.Image | torch.Tensor], device: torch.device) -> ImageList:
        """Images that are checked already and lie on `device`."""
        memory = tuple(item for item in items if isinstance(item, torch.Tensor))
        return cls(device, tuple(map(_size_of, items)), (len(items),), memory, tuple(items))

    def same_pixels(self, other: Images) -> bool:
        if not isinstance(other, ImageList):
            return False
        pairs = zip(self.items, other.items, strict=True)
        return all(mine is its or isinstance(mine, torch.Tensor) for mine, its in pairs)

    def views(self) -> Sequence[Image.Image | torch.Tensor]:
        return self.items

    def places(self) -> list[Place]:
        tensors = [item for item in self.items if isinstance(item, torch.Tensor)]
        return [Place(tensor.data_ptr(), *tensor.shape[:2], *tensor.stride()) for tensor in tensors]


class SupportsImages(Protocol):
    """A container that knows how its images lie in memory, such as `PackedImages`."""

    def __fastnorm_images__(self) -> Images: ...


def read_images(images: object, layout: str, alpha: str, exif: str) -> Images:
    """Check the images' kinds and bring PIL images to mode RGB; every message names the image it is about."""
    check_layout(layout)
    check_alpha(alpha)
    check_exif(exif)
    found: Images
    if hasattr(images, "__fastnorm_images__"):  # isinstance of a protocol takes 14 microseconds in Python 3.11
        found = cast("SupportsImages", images).__fastnorm_images__()
    elif isinstance(images, (torch.Tensor, np.ndarray)):
        try:
            found = _of_batch(as_planes(images, layout, "images"))
        except ValueError as error:
            raise (PictureError(str(error)) if images.ndim <= 3 else error) from None
    elif is_pil_image(images):
        found = _of_list([images], layout, alpha, exif, leading=())
    elif isinstance(images, (list, tuple)):
        found = _of_list(images, layout, alpha, exif, leading=(len(images),))
    else:
        raise TypeError(
            f"images: got {type(images).__name__}, expected a list of images (PIL images, uint8 tensors or arrays), a "
            f"batch (N, H, W, 3) or (N, 3, H, W), or a fastnorm.PackedImages{file_hint(images, 'images')}"
        )
    for tensor in found.memory:
        if tensor.numel() > 0 and tensor.device.type != "meta" and address_of(tensor) == 0:
            raise TypeError(
                f"images: got a {type(tensor).__name__} without memory of its own (traced or fake), expected pixels; "
                f"call it outside of torch.func transforms and FakeTensorMode"
            )
    for index, size in enumerate(found.sizes):
        _check_size(size, found.number(index))
    return found


def image_name(index: int | None) -> str:
    """What messages call an image; None: it was given by itself."""
    return "the image" if index is None else f"images[{index}]"


def _check_size(size: Size, index: int | None) -> None:
    if size.height >= 1 and size.width >= 1 and size.height * size.width <= MAX_SOURCE_PIXELS:
        return
    came = f"{image_name(index)}: got {size.height} x {size.width} pixels, expected"
    if min(size) < 1:
        raise PictureError(f"{came} at least one on each side; remove it from the list", index)
    raise PictureError(f"{came} at most {MAX_SOURCE_PIXELS:,}", index)


def _of_batch(planes: torch.Tensor) -> Images:
    leading, size = tuple(planes.shape[:-3]), Size(*planes.shape[-2:])
    if planes.dim() == 4:
        return Batch(planes.device, (size,) * len(planes), leading, (planes,), planes)
    if planes.dim() == 3:
        return Batch(planes.device, (size,), leading, (planes,), planes.unsqueeze(0))
    # Leading axes of video, which may not form one axis without a copy.
    views = tuple(planes[index].movedim(0, -1) for index in np.ndindex(*leading))
    return ImageList(planes.device, (size,) * len(views), leading, (planes,), views)


def _of_list(images: Sequence[object], layout: str, alpha: str, exif: str, leading: tuple[int, ...]) -> Images:
    # Files that PIL has not decoded yet are decoded here; an image that comes twice, once.
    numbers: list[int | None] = list(range(len(images))) if leading else [None]
    first = {id(image): index for index, image in reversed(list(enumerate(images))) if is_pil_image(image)}
    decode = {
        key: functools.partial(_of_pil, images[index], numbers[index], alpha, exif) for key, index in first.items()
    }
    private = _with_private_files([images[index] for index in first.values()])
    # The others in order: two decoders that read one file move each other's place in it.
    decoded = {key: job() for key, job in decode.items() if key not in private}
    decoded |= zip(private, threads.run([decode[key] for key in private]), strict=True)
    items = tuple(
        decoded[id(image)] if id(image) in decoded else _of_tensor(image, layout, index)
        for index, image in zip(numbers, images, strict=True)
    )

    device = _device_of(items[0]) if items else torch.device("cpu")
    for index, item in enumerate(items):
        if _device_of(item) != device:
            raise ValueError(
                f"images[{index}]: on {_device_of(item)}, while images[0] is on {device}; expected one device for "
                f"all: fastnorm.PackedImages.pack(images).to(device) takes images there in one copy"
            )
    return replace(ImageList.of(items, device), leading=leading)


def _with_private_files(images: Sequence[Any]) -> list[int]:
    """The ids of those PIL images that no other reader's file handle can disturb while they are decoded.

    They are decoded already, PIL has opened their files itself, or their bytes lie in a buffer of their own.
    """
    handles = [getattr(image, "fp", None) for image in images]
    users = collections.Counter(map(id, handles))
    return [
        id(image)
        for image, handle in zip(images, handles, strict=True)
        if handle is None
        or getattr(image, "_exclusive_fp", False)
        or (type(handle) is io.BytesIO and users[id(handle)] == 1)
    ]


def _of_tensor(image: object, layout: str, index: int | None) -> torch.Tensor:
    name = image_name(index)
    if not isinstance(image, (torch.Tensor, np.ndarray)):
        hint = file_hint(image, name)
        raise TypeError(f"{name}: got {type(image).__name__}, expected a PIL image, or a uint8 tensor or array{hint}")
    try:
        planes = as_planes(image, layout, name)
    except ValueError as error:
        raise PictureError(str(error), index) from None
    if planes.dim() != 3:
        raise PictureError(
            f"{name}: got {planes.dim()} axes, expected one image (H, W, 3) or (3, H, W); a batch goes in by itself, "
            f"without a list around it",
            index,
        )
    return planes.movedim(0, -1)


def _of_pil(image: object, index: int | None, alpha: str, exif: str) -> Image.Image:
    from PIL import Image

    from fastnorm.images import pil

    name = image_name(index)
    if not isinstance(image, Image.Image):
        raise TypeError(f"{name}: got {type(image).__name__}, expected a PIL.Image.Image, a uint8 tensor or an array")
    _check_size(_size_of(image), index)  # before it is decoded
    try:
        return pil.to_rgb(image, alpha, exif)
    except pil.ConversionError as error:
        raise PictureError(f"{name}: got {error}", index) from None
    except Exception as error:
        # Decoders of damaged files raise whatever their parsers do: OSError, SyntaxError, ValueError, struct.error.
        raise PictureError(
            f"{name}: cannot be decoded ({type(error).__name__}: {error}); remove it from the list", index
        ) from error


def _size_of(image: Image.Image | torch.Tensor) -> Size:
    if isinstance(image, torch.Tensor):
        return Size(*image.shape[:2])
    return Size(image.height, image.width)


def _device_of(image: Image.Image | torch.Tensor) -> torch.device:
    return image.device if isinstance(image, torch.Tensor) else torch.device("cpu")
