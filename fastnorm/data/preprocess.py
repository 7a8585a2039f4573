"""`Preprocess`: one callable from dictionaries to dictionaries, for a sample or for a batch, in anybody's loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from fastnorm.data.samples import Found, find_images, select, without
from fastnorm.ops.preprocess import fused_preprocess
from fastnorm.ops.preprocess_arguments import check_generator, resolve_device
from fastnorm.spec.arguments import resolve_dtypes
from fastnorm.spec.errors import PictureError
from fastnorm.spec.options import Alpha, Exif, Layout, check_alpha, check_bool, check_exif
from fastnorm.spec.target import Target, check_target

OnError = Literal["raise", "skip"]
# What a batch gets with on_error="skip": which of its images were kept, and how many this process has skipped so far.
KEPT, SKIPPED = "kept", "skipped"


class Preprocess:
    """A picklable callable from a dictionary with images to the same dictionary with the models' tensors.

    Example:
        >>> preprocess = fastnorm.Preprocess("image", images=fastnorm.VAE_512, clip_images=fastnorm.CLIP_224)
        >>> sample = preprocess({"image": torch.zeros(600, 800, 3, dtype=torch.uint8), "text": "a cat"})
        >>> {key: getattr(value, "shape", value) for key, value in sample.items()}
        {'text': 'a cat', 'images': torch.Size([3, 512, 512]), 'clip_images': torch.Size([3, 224, 224])}
        >>> batch = preprocess({"image": [torch.zeros(8, 8, 3).byte()] * 2, "text": ["a cat", "a dog"]})
        >>> batch["images"].shape
        torch.Size([2, 3, 512, 512])

    It is what `datasets`' `with_transform`, WebDataset's `.map`, Ray's `map_batches`, Lightning's
    `on_after_batch_transfer` and a `Dataset.__getitem__` call. A list, an object array, a tensor or array with a batch
    axis and `PackedImages` are a batch; anything else is one image.

    Images may be PIL images; uint8 tensors and arrays, and whatever has an `__array_interface__`; encoded files, as
    bytes, as a flat uint8 tensor or array, or as the dictionary `{"bytes": ..., "path": ...}` of `datasets`.

    Args:
        key: Which key holds the images; or several, of which a sample has one: `("jpg", "png", "webp")`.
        on_error: What an image that cannot be used does: "raise" a `PictureError`; or "skip": a batch goes on without
            it in every key of as many entries, and gets two keys more, of one entry per image that is left: "kept", its
            index in the batch that came, and "skipped", how many images this process has skipped so far, as the
            attribute `skipped`. One image by itself raises.
        alpha, exif, layout, dtype, device, pillow_version: As for `fused_preprocess`.
        flip, vertical_flip: Whether to mirror: a bool, or "random".
        flip_before_crop: As for `fused_preprocess`.
        batch_axis: Whether the tensors of one image have a batch axis too, (1, 3, height, width), for a `collate_fn`
            that concatenates.
        targets: Targets by name, instead of or beside those by keyword, for names that are arguments here.
        **named_targets: What to make of the images: a target for each new key.

    Raises:
        TypeError, ValueError: Arguments that are none of these, before any image is looked at.
    """

    def __init__(
        self,
        key: str | Sequence[str],
        *,
        on_error: OnError = "raise",
        alpha: Alpha = "error",
        exif: Exif = "ignore",
        layout: Layout = "auto",
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        flip: bool | Literal["random"] = False,
        vertical_flip: bool | Literal["random"] = False,
        flip_before_crop: bool = False,
        pillow_version: str | None = None,
        batch_axis: bool = False,
        targets: Mapping[str, Target] | None = None,
        **named_targets: Target,
    ) -> None:
        self.keys = _checked_keys(key)
        self.targets = {**(targets or {}), **named_targets}
        if not self.targets:
            raise ValueError(
                "Preprocess: got no targets, expected at least one by name: "
                "Preprocess('image', pixel_values=fastnorm.CLIP_224)"
            )
        for name, target in self.targets.items():
            check_target(target, name)
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error: got {on_error!r}, expected 'raise' or 'skip'")
        if on_error == "skip" and not self.targets.keys().isdisjoint((KEPT, SKIPPED)):
            raise ValueError(f"targets: got {KEPT!r} or {SKIPPED!r}, which on_error='skip' sets, expected another name")
        check_alpha(alpha)
        check_exif(exif)
        check_bool("flip_before_crop", flip_before_crop)
        check_bool("batch_axis", batch_axis)
        if dtype is not None:
            resolve_dtypes(dtype, 1)
        for what, value in (("flip", flip), ("vertical_flip", vertical_flip)):
            if not isinstance(value, bool) and value != "random":
                raise TypeError(f"{what}: got {value!r}, expected True, False or 'random'")
        self.on_error, self.batch_axis = on_error, batch_axis
        self.options: dict[str, Any] = {
            "alpha": alpha,
            "exif": exif,
            "layout": layout,
            "dtype": dtype,
            "device": device if device is None else str(resolve_device(device)),
            "flip": flip,
            "vertical_flip": vertical_flip,
            "flip_before_crop": flip_before_crop,
            "pillow_version": pillow_version,
        }
        self.skipped = 0

    def __repr__(self) -> str:
        targets = ", ".join(self.targets)
        return f"Preprocess({' or '.join(map(repr, self.keys))} -> {targets}, on_error={self.on_error!r})"

    def __call__(
        self,
        sample: Mapping[str, Any],
        *,
        positions: Mapping[str, Any] | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Any]:
        """The sample with the models' tensors in place of the images; every other key is untouched.

        Args:
            sample: A dictionary with one of the keys that hold images.
            positions: Where images are cropped, by target: (top, left), or one per image of a batch.
            generator: Where this call's random crops and mirrors come from; None: torch's default generator.

        Raises:
            PictureError: An image that cannot be used, with its index and key.
            KeyError: A sample without images.
            TypeError, ValueError: As for `fused_preprocess`.
        """
        check_generator(generator)
        key = self._key_of(sample)
        found = find_images(sample[key])
        rest = without(sample, key)
        kept = list(range(found.count))
        while True:  # every error about an image comes before any work and any random number
            try:
                outputs = self._run(found, kept, positions, generator)
                break
            except PictureError as error:
                index = None if error.index is None or not found.is_batch else kept[error.index]
                if self.on_error == "raise" or index is None:
                    raise PictureError(f"{key}: {error}", index, key) from error
                kept.remove(index)
                self.skipped += 1
        if self.on_error == "skip" and found.is_batch:
            rest = {name: select(value, kept, found.count) for name, value in rest.items()}
            rest[KEPT] = torch.tensor(kept, dtype=torch.int64, device="cpu")
            rest[SKIPPED] = torch.full((len(kept),), self.skipped, dtype=torch.int64, device="cpu")
        return {**rest, **dict(zip(self.targets, outputs, strict=True))}

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled, and what `datasets` makes a fingerprint of: the count is each process's own."""
        return {**self.__dict__, "skipped": 0}

    def _key_of(self, sample: Mapping[str, Any]) -> str:
        if not isinstance(sample, Mapping):
            raise TypeError(
                f"Preprocess: got {type(sample).__name__}, expected a dictionary with the key {self._keys}; for images "
                f"alone: fastnorm.fused_preprocess(images, targets)"
            )
        found = [key for key in self.keys if key in sample]
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(f"Preprocess: got a sample with {' and '.join(map(repr, found))}, expected one of them")
        raise KeyError(f"Preprocess: got the keys {list(sample)}, expected {self._keys}")

    @property
    def _keys(self) -> str:
        return " or ".join(map(repr, self.keys))

    def _run(
        self,
        found: Found,
        kept: Sequence[int],
        positions: Mapping[str, Any] | None,
        generator: torch.Generator | None,
    ) -> Sequence[Any]:
        outputs = fused_preprocess(
            found.chosen(kept),
            list(self.targets.values()),
            positions=self._positions(positions, found, kept),
            generator=generator,
            **self.options,
        )
        if found.is_batch:
            return outputs
        # A target with batch=False gives a list of one tensor.
        images = [output[0] if isinstance(output, list) else output for output in outputs]
        return [image.unsqueeze(0) for image in images] if self.batch_axis else images

    def _positions(
        self, positions: Mapping[str, Any] | None, found: Found, kept: Sequence[int]
    ) -> list[Sequence[Any] | None] | None:
        if positions is None:
            return None
        unknown = [name for name in positions if name not in self.targets]
        if unknown:
            raise ValueError(f"positions: got {unknown}, expected names of targets: {list(self.targets)}")
        given: list[Sequence[Any] | None] = []
        for name in self.targets:
            its = positions.get(name)
            if its is None:
                given.append(None)
            elif found.is_batch:
                given.append([its[index] for index in kept] if len(its) == found.count else its)
            else:
                given.append([its])
        return given


def _checked_keys(key: object) -> tuple[str, ...]:
    keys = (key,) if isinstance(key, str) else tuple(key) if isinstance(key, Sequence) else ()
    if not keys or not all(isinstance(one, str) for one in keys):
        raise TypeError(f"key: got {key!r}, expected the key that holds the images, or several: ('jpg', 'png')")
    return keys
