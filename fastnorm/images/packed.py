"""Images of any sizes in one buffer: one allocation, one pinning, one copy to the device."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

import torch

from fastnorm.images.batch import Batch, Images, Place, read_images
from fastnorm.runtime.torch_internals import empty_to_send
from fastnorm.spec.geometry import Size
from fastnorm.spec.normalization import CHANNELS
from fastnorm.spec.options import Alpha, Exif, Layout


@dataclass(eq=False, init=False, repr=False)
class PackedImages:
    """uint8 RGB images, one after the other in a flat buffer; what a data loader hands over for ragged batches.

    Where the images lie cannot be changed afterwards: kernels read the buffer where offsets and sizes say.

    Example:
        >>> packed = PackedImages.pack([torch.zeros(40, 30, 3, dtype=torch.uint8), torch.zeros(8, 9, 3).byte()])
        >>> len(packed), packed.sizes[1], packed[1].shape
        (2, Size(height=8, width=9), torch.Size([8, 9, 3]))
        >>> packed.buffer.shape, packed[1:]
        (torch.Size([3816]), PackedImages(1 images, 3816 bytes on cpu))
        >>> PackedImages.cat([packed, packed[:1]]).batch_size
        3

    A `DataLoader(pin_memory=True)` pins the buffer; `packed.to("cuda", non_blocking=True)` is then one copy.

    Args:
        buffer: uint8, one contiguous axis.
        offsets: Where each image's first byte lies. Images are (H, W, 3), without gaps within a image.
        sizes: Each image's (height, width).

    Raises:
        TypeError, ValueError: A buffer of another kind, or a image that does not lie within it.
    """

    # The one field: what asks a container for its batch size, as Lightning does, takes the length of its first tensor.
    _numbers: torch.Tensor

    def __init__(self, buffer: torch.Tensor, offsets: Sequence[int], sizes: Sequence[Sequence[int]]) -> None:
        if not isinstance(buffer, torch.Tensor) or buffer.dtype is not torch.uint8:
            came = buffer.dtype if isinstance(buffer, torch.Tensor) else type(buffer).__name__
            raise TypeError(f"buffer: got {came}, expected a uint8 torch.Tensor")
        if buffer.dim() != 1 or not buffer.is_contiguous():
            raise ValueError(
                f"buffer: got shape {tuple(buffer.shape)} with strides {buffer.stride()}, expected one contiguous "
                f"axis: buffer.contiguous().view(-1)"
            )
        self._buffer = buffer
        self._offsets = tuple(_whole("offsets", offset) for offset in offsets)
        self._sizes = tuple(_size(f"sizes[{index}]", size) for index, size in enumerate(sizes))
        self._numbers = torch.arange(len(self._offsets), device="cpu")
        if len(self.offsets) != len(self.sizes):
            raise ValueError(
                f"got {len(self.offsets)} offsets and {len(self.sizes)} sizes, expected one each per image"
            )
        for index, (offset, size) in enumerate(zip(self.offsets, self.sizes, strict=True)):
            end = offset + CHANNELS * size.height * size.width
            if min(offset, *size) < 0 or end > buffer.numel():
                raise ValueError(
                    f"images[{index}]: {size.height} x {size.width} pixels at byte {offset} end at byte {end} of a "
                    f"buffer of {buffer.numel()}"
                )

    @classmethod
    def pack(
        cls,
        images: Sequence[object],
        *,
        layout: Layout = "auto",
        alpha: Alpha = "error",
        exif: Exif = "ignore",
    ) -> PackedImages:
        """Copy images into one new buffer on the CPU; arguments and errors as for `fused_preprocess`."""
        return _pack(read_images(images, layout, alpha, exif).as_tensors())

    @classmethod
    def cat(cls, batches: Sequence[PackedImages]) -> PackedImages:
        """The images of several batches, copied into one new buffer, as `torch.cat` does."""
        if isinstance(batches, PackedImages) or not all(isinstance(one, PackedImages) for one in batches):
            raise TypeError(f"batches: got {type(batches).__name__}, expected a list of PackedImages")
        starts = itertools.accumulate((one.buffer.numel() for one in batches), initial=0)
        offsets = [start + offset for start, one in zip(starts, batches, strict=False) for offset in one.offsets]
        sizes = [size for one in batches for size in one.sizes]
        buffers = [one.buffer for one in batches] or [torch.empty(0, dtype=torch.uint8, device="cpu")]
        return cls(torch.cat(buffers), offsets, sizes)

    @property
    def buffer(self) -> torch.Tensor:
        """uint8, one contiguous axis."""
        return self._buffer

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where each image's first byte lies."""
        return self._offsets

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Each image's (height, width)."""
        return self._sizes

    @property
    def batch_size(self) -> int:
        """How many images it holds."""
        return len(self)

    def __fastnorm_images__(self) -> Images:
        return _Packed(self.device, self.sizes, (len(self),), (self.buffer,), self)

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, index: int) -> torch.Tensor: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int]) -> PackedImages: ...
    def __getitem__(self, index: int | slice | Sequence[int]) -> torch.Tensor | PackedImages:
        """Image `index` as a view (H, W, 3) of the buffer; of a slice or several, those images in the same buffer."""
        if isinstance(index, slice):
            return PackedImages(self.buffer, self.offsets[index], self.sizes[index])
        if isinstance(index, Sequence):
            return PackedImages(self.buffer, [self.offsets[i] for i in index], [self.sizes[i] for i in index])
        offset, (height, width) = self.offsets[index], self.sizes[index]
        return self.buffer[offset : offset + CHANNELS * height * width].view(height, width, CHANNELS)

    def __repr__(self) -> str:
        return f"PackedImages({len(self)} images, {self.buffer.numel()} bytes on {self.buffer.device})"

    @property
    def device(self) -> torch.device:
        """Where the buffer lies."""
        return self.buffer.device

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PackedImages:
        """The same images on `device`, in one copy; themselves if they are there."""
        return PackedImages(self.buffer.to(device, non_blocking=non_blocking), self.offsets, self.sizes)

    def pin_memory(self, device: torch.device | str | None = None) -> PackedImages:
        """The same images in pinned memory, as a `DataLoader(pin_memory=True)` asks for."""
        del device  # the loader of older torch releases names one
        return PackedImages(self.buffer.pin_memory(), self.offsets, self.sizes)


def _pack(views: Sequence[torch.Tensor], pinned: bool = False) -> PackedImages:
    """Copies of uint8 views (H, W, 3) in one new buffer on the CPU."""
    sizes = [Size(*view.shape[:2]) for view in views]
    ends = list(itertools.accumulate((CHANNELS * size.height * size.width for size in sizes), initial=0))
    if pinned:
        buffer = torch.empty(ends[-1], dtype=torch.uint8, device="cpu", pin_memory=True)
    else:
        buffer = empty_to_send(ends[-1])
    packed = PackedImages(buffer, ends[:-1], sizes)
    for index, view in enumerate(views):
        packed[index].copy_(view)
    return packed


def on_device(images: Images, device: torch.device) -> Images:
    """The images on `device`: themselves if they are there, else a copy made in one transfer."""
    if images.device == device:
        return images
    if images.device.type != "cpu":
        raise ValueError(
            f"images: on {images.device} with device={str(device)!r}, expected them there or on the CPU: "
            f"images.to({str(device)!r})"
        )
    if isinstance(images, Batch):
        planes = images.planes.to(device)
        return replace(images, device=device, planes=planes, memory=(planes,))
    packed = _pack(images.as_tensors(), pinned=device.type == "cuda").to(device, non_blocking=True)
    return replace(packed.__fastnorm_images__(), leading=images.leading)


@dataclass(frozen=True)
class _Packed(Images):
    packed: PackedImages

    def views(self) -> list[torch.Tensor]:
        return [self.packed[index] for index in range(len(self))]

    def places(self) -> list[Place]:
        first = self.packed.buffer.data_ptr()
        return [
            Place(first + offset, height, width, CHANNELS * width, CHANNELS, 1)
            for offset, (height, width) in zip(self.packed.offsets, self.sizes, strict=True)
        ]


def _whole(what: str, value: object) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]  # integers of numpy and torch too
    except TypeError:
        raise TypeError(
            f"{what}: got {value!r}, expected whole numbers: of bytes for offsets, of pixels for sizes"
        ) from None


def _size(what: str, size: Sequence[object]) -> Size:
    sides = tuple(_whole(what, side) for side in size)
    if len(sides) != 2:
        raise ValueError(f"{what}: got {len(sides)} numbers, expected two: (height, width)")
    return Size(*sides)
