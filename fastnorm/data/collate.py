"""Collate functions for `DataLoader`s: decoded images of any sizes become one buffer, the rest is the caller's."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch.utils.data import default_collate

from fastnorm.data.preprocess import Preprocess
from fastnorm.data.samples import opened, without
from fastnorm.images.layout import check_layout
from fastnorm.images.packed import PackedImages
from fastnorm.spec.errors import PictureError
from fastnorm.spec.options import Alpha, Exif, Layout, check_alpha, check_exif

Collate = Callable[[Any], Any]


@dataclass(frozen=True)
class CollateImages:
    """What `collate_images` returns."""

    key: str
    rest: Collate
    options: Mapping[str, Any]  # for `PackedImages.pack`
    preprocess: Collate | None

    def __call__(self, samples: Sequence[Mapping[str, Any]]) -> Any:  # noqa: ANN401  # whatever `preprocess` returns
        for index, sample in enumerate(samples):
            if not isinstance(sample, Mapping) or self.key not in sample:
                came = list(sample) if isinstance(sample, Mapping) else type(sample).__name__
                raise TypeError(f"samples[{index}]: got {came}, expected a dictionary with the key {self.key!r}")
        images: Any = [sample[self.key] for sample in samples]
        if not self._reads_as_packed(self.preprocess):
            images = self._packed(images)
        others = [without(sample, self.key) for sample in samples]
        batch = self.rest(others) if any(others) else {}
        if not isinstance(batch, Mapping):
            raise TypeError(f"rest: returned {type(batch).__name__}, expected a dictionary, to which the images go")
        batch = {**batch, self.key: images}
        return batch if self.preprocess is None else self.preprocess(batch)

    def _reads_as_packed(self, preprocess: object) -> bool:
        """Whether it makes of the images themselves what it makes of packed ones: then no copy is made of them."""
        return (
            isinstance(preprocess, Preprocess)
            and preprocess.on_error == "raise"  # packing refuses what cannot be used, and skips nothing
            and all(preprocess.options[name] == value for name, value in self.options.items())
        )

    def _packed(self, images: Sequence[Any]) -> PackedImages:
        try:
            return PackedImages.pack([opened(image, index) for index, image in enumerate(images)], **self.options)
        except PictureError as error:
            raise PictureError(f"{self.key}: {error}", error.index, self.key) from error


def collate_images(
    key: str,
    rest: Collate = default_collate,
    *,
    layout: Layout = "auto",
    alpha: Alpha = "error",
    exif: Exif = "ignore",
    preprocess: Callable[[Any], Any] | None = None,
) -> Collate:
    """A `collate_fn` that packs the images of a batch and leaves the other keys to another one.

    Example:
        >>> collate = fastnorm.collate_images("image")
        >>> samples = [{"image": torch.zeros(8, 9, 3).byte(), "id": 3}, {"image": torch.zeros(4, 5, 3).byte(), "id": 7}]
        >>> collate(samples)
        {'id': tensor([3, 7]), 'image': PackedImages(2 images, 276 bytes on cpu)}

    With `DataLoader(dataset, collate_fn=collate, pin_memory=True)` a batch crosses from its worker, into pinned memory
    and to the device as one uint8 tensor.

    Args:
        key: Which key holds a sample's image: of any kind that `Preprocess` takes, encoded files included.
        rest: What makes a batch of the other keys: a `collate_fn` that returns a dictionary.
        layout, alpha, exif: As for `fused_preprocess`.
        preprocess: A `Preprocess` that the worker calls with the batch, where there is no GPU that could do it later;
            None: the images stay as they are. A `Prefetcher` on the CPU sees to this by itself.

    Returns:
        A function from a list of samples to a dictionary, which can be pickled if `rest` can.

    Raises:
        PictureError: When called: an image that cannot be used, with its index and key.
        TypeError, ValueError: Arguments that are none of these; when called, samples that are no dictionaries with
            that key.
    """
    if not isinstance(key, str):
        raise TypeError(f"key: got {type(key).__name__}, expected the key that holds the images, such as 'image'")
    if not callable(rest):
        raise TypeError(f"rest: got {type(rest).__name__}, expected a collate_fn for the other keys")
    if preprocess is not None and not callable(preprocess):
        raise TypeError(f"preprocess: got {type(preprocess).__name__}, expected a fastnorm.Preprocess, or None")
    check_layout(layout)
    check_alpha(alpha)
    check_exif(exif)
    return CollateImages(key, rest, {"layout": layout, "alpha": alpha, "exif": exif}, preprocess)


def then_preprocess(collate: Collate, preprocess: Collate) -> Collate:
    """A collate function whose batches are preprocessed."""
    if isinstance(collate, CollateImages) and collate.preprocess is None:
        return replace(collate, preprocess=preprocess)
    return functools.partial(_collate_and_preprocess, collate, preprocess)


def _collate_and_preprocess(collate: Collate, preprocess: Collate, samples: list[Any]) -> Any:  # noqa: ANN401
    return preprocess(collate(samples))


def collate_image_fn(
    batch: Sequence[Any],
    *,
    collate_fn_map: Mapping[Any, Any] | None = None,
) -> PackedImages:
    """Pack a batch of images, in the form that torch's collate functions by type have.

    Example:
        >>> from PIL import Image
        >>> from torch.utils.data._utils.collate import collate, default_collate_fn_map
        >>> by_type = {Image.Image: fastnorm.collate_image_fn, **default_collate_fn_map}
        >>> collate([(Image.new("RGB", (9, 8)), 3), (Image.new("RGB", (5, 4)), 7)], collate_fn_map=by_type)
        [PackedImages(2 images, 276 bytes on cpu), tensor([3, 7])]

    Raises:
        PictureError: An image that cannot be used.
    """
    del collate_fn_map  # which is for what lies within; images hold nothing
    return PackedImages.pack(batch)
