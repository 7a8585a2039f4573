"""Pictures of any sizes in one buffer: one allocation, one pinning, one copy to the device."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from fastnorm._geometry import Size
from fastnorm._normalization import CHANNELS
from fastnorm._options import Alpha, Exif, Layout


class PackedImages:
    """uint8 RGB pictures, one after the other in a flat buffer; what a data loader hands over for ragged batches.

    Example:
        >>> packed = PackedImages.pack([torch.zeros(40, 30, 3, dtype=torch.uint8), torch.zeros(8, 9, 3).byte()])
        >>> len(packed), packed.sizes[1], packed[1].shape
        (2, Size(height=8, width=9), torch.Size([8, 9, 3]))
        >>> packed.buffer.shape
        torch.Size([3816])

    A `DataLoader(pin_memory=True)` pins the buffer; `packed.to("cuda", non_blocking=True)` is then one copy.

    Args:
        buffer: uint8, one contiguous axis.
        offsets: Where each picture's first byte lies. Pictures are (H, W, 3), without gaps within a picture.
        sizes: Each picture's (height, width).

    Raises:
        TypeError, ValueError: A buffer of another kind, or a picture that does not lie within it.
    """

    def __init__(self, buffer: torch.Tensor, offsets: Sequence[int], sizes: Sequence[Sequence[int]]) -> None:
        if not isinstance(buffer, torch.Tensor) or buffer.dtype is not torch.uint8:
            came = buffer.dtype if isinstance(buffer, torch.Tensor) else type(buffer).__name__
            raise TypeError(f"buffer: got {came}, wanted a uint8 torch.Tensor")
        if buffer.dim() != 1 or not buffer.is_contiguous():
            raise ValueError(
                f"buffer: got shape {tuple(buffer.shape)} with strides {buffer.stride()}, wanted one contiguous axis: "
                f"buffer.contiguous().view(-1)"
            )
        self.buffer = buffer
        self.offsets = tuple(map(int, offsets))
        self.sizes = tuple(Size(*map(int, size)) for size in sizes)
        if len(self.offsets) != len(self.sizes):
            raise ValueError(
                f"got {len(self.offsets)} offsets and {len(self.sizes)} sizes, wanted one each per picture"
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
        """Copy pictures into one new buffer on the CPU; arguments and errors as for `fused_preprocess`."""
        from fastnorm._images import read_images  # which reads packed images too

        views = read_images(images, layout, alpha, exif).as_tensors()
        sizes = [Size(*view.shape[:2]) for view in views]
        ends = list(itertools.accumulate((CHANNELS * size.height * size.width for size in sizes), initial=0))
        packed = cls(torch.empty(ends[-1], dtype=torch.uint8), ends[:-1], sizes)
        for index, view in enumerate(views):
            packed[index].copy_(view)
        return packed

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, index: int) -> torch.Tensor:
        """Picture `index` as a view (H, W, 3) of the buffer."""
        offset, (height, width) = self.offsets[index], self.sizes[index]
        return self.buffer[offset : offset + CHANNELS * height * width].view(height, width, CHANNELS)

    def __repr__(self) -> str:
        return f"PackedImages({len(self)} images, {self.buffer.numel()} bytes on {self.buffer.device})"

    @property
    def device(self) -> torch.device:
        return self.buffer.device

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PackedImages:
        return PackedImages(self.buffer.to(device, non_blocking=non_blocking), self.offsets, self.sizes)

    def pin_memory(self, device: torch.device | str | None = None) -> PackedImages:
        del device  # the loader of older torch releases names one
        return PackedImages(self.buffer.pin_memory(), self.offsets, self.sizes)
