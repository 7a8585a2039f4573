"""Collate functions for `DataLoader`s: decoded images of any sizes become one buffer, the rest is the caller's."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.utils.data import default_collate

from fastnorm.data.samples import opened, without
from fastnorm.images.layout import check_layout
from fastnorm.images.packed import PackedImages
from fastnorm.spec.errors import PictureError
from fastnorm.spec.options import Alpha, Exif, Layout, check_alpha, check_exif

Collate = Callable[[list[Any]], Any]


def collate_images(
    key: str,
    rest: Collate = default_collate,
    *,
    layout: Layout = "auto",
    alpha: Alpha = "error",
    exif: Exif = "ignore",
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
    check_layout(layout)
    check_alpha(alpha)
    check_exif(exif)
    return functools.partial(_collate, key=key, rest=rest, options={"layout": layout, "alpha": alpha, "exif": exif})


def _collate(
    samples: Sequence[Mapping[str, Any]], *, key: str, rest: Collate, options: dict[str, Any]
) -> dict[str, Any]:
    for index, sample in enumerate(samples):
        if not isinstance(sample, Mapping) or key not in sample:
            came = list(sample) if isinstance(sample, Mapping) else type(sample).__name__
            raise TypeError(f"samples[{index}]: got {came}, expected a dictionary with the key {key!r}")
    try:
        images = [opened(sample[key], index) for index, sample in enumerate(samples)]
        packed = PackedImages.pack(images, **options)
    except PictureError as error:
        raise PictureError(f"{key}: {error}", error.index, key) from error
    others = [without(sample, key) for sample in samples]
    batch = rest(others) if any(others) else {}
    if not isinstance(batch, Mapping):
        raise TypeError(f"rest: returned {type(batch).__name__}, expected a dictionary, to which the images go")
    return {**batch, key: packed}


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
