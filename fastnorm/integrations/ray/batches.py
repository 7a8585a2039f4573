"""A batch of images to rows of a table: preprocessed for every target, encoded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fastnorm.data.decode import ImageError
from fastnorm.integrations.ray.encoders import Encoder, Run
from fastnorm.integrations.ray.identity import item_id
from fastnorm.integrations.ray.reading import Loaded, unpack
from fastnorm.ops.preprocess import fused_preprocess
from fastnorm.spec.errors import PictureError
from fastnorm.spec.options import Alpha, Exif
from fastnorm.spec.target import Target

PLAIN = ("id", "key", "sha256", "height", "width", "error")  # of every row, whatever the targets


@dataclass(frozen=True)
class Recipe:
    """Everything about a run that its rows depend on, and what the machine allows: the device, and pixels at once."""

    targets: Mapping[str, Target]
    encoders: Mapping[str, Encoder]
    dtype: torch.dtype
    batch_size: int
    alpha: Alpha
    exif: Exif
    fingerprint: str
    device: str
    batch_pixels: int

    @property
    def on_gpu(self) -> bool:
        return torch.device(self.device).type == "cuda"

    @property
    def decoded_pixels(self) -> int:
        """Of an image that is decoded by the task that reads it: a batch of such images has at most `batch_pixels`."""
        return self.batch_pixels // self.batch_size if self.on_gpu else 0


class EncodeBatch:
    """The actor: it owns the models and their device."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.device = torch.device(recipe.device)
        if self.device.type == "cpu":
            torch.set_num_threads(1)  # a worker for each core; and the same roundings whatever the machine's cores
        self.runs: dict[str, Run] = {
            name: encoder.load(self.device, recipe.dtype) for name, encoder in recipe.encoders.items()
        }

    def __call__(self, batch: Any) -> Any:
        """A batch of a reading task to a table with the targets' columns; failed rows have the reason in `error`."""
        import pyarrow as pa

        loaded = unpack(batch)
        errors = [one.error for one in loaded]
        inputs = self.inputs()
        kept: list[tuple[int, int, int]] = []  # number in the batch, height, width
        offsets: dict[str, list[Any]] = {name: [] for name in inputs}
        for group in self._groups(loaded, errors):
            places = self._preprocess(group, inputs, len(kept), errors)
            kept += [(index, *_size_of(image)) for index, image in group]
            for name, of_group in places.items():
                offsets[name] += of_group.tolist()
        columns = self.encode(inputs, len(kept)) if kept else {}
        for name, values in columns.items():
            finite = np.isfinite(values.reshape(len(kept), -1)).all(axis=1) if values.dtype.kind == "f" else None
            for at, (index, *_) in enumerate(kept):
                if finite is not None and not finite[at]:
                    errors[index] = errors[index] or f"{name}: got NaN or infinity from the encoder, expected numbers"
        where = [index for index, *_ in kept]
        sizes = _spread(np.array([size for _, *size in kept], np.int32).reshape(-1, 2), where, len(loaded))
        found = {
            "id": pa.array([item_id(one.sha256, self.recipe.fingerprint) for one in loaded]),
            "key": pa.array([one.key for one in loaded]),
            "sha256": pa.array([one.sha256 for one in loaded]),
            "height": pa.array(sizes[:, 0]),
            "width": pa.array(sizes[:, 1]),
            "error": pa.array(errors, pa.string()),
        }
        if not kept:  # nothing to learn the columns' types from: the writer sees the errors alone
            return pa.table(found)
        for name, values in columns.items():
            found[name] = _fixed_lists(_spread(values, where, len(loaded)))
        for name, crops in offsets.items():
            spread = _spread(np.array(crops, np.int32), where, len(loaded))
            for axis, what in enumerate(("top", "left")):
                found[f"{name}_{what}"] = pa.array(spread[:, axis])
        return pa.table(found)

    def inputs(self) -> dict[str, torch.Tensor]:
        """What the encoders get: always the same shapes, zeros where there is no image."""
        found = {}
        for name, target in self.recipe.targets.items():
            assert target.fixed_size is not None
            found[name] = torch.zeros(
                (self.recipe.batch_size, 3, *target.fixed_size), dtype=self.recipe.dtype, device=self.device
            ).contiguous(memory_format=target.memory_format or torch.contiguous_format)
        return found

    def encode(self, inputs: Mapping[str, torch.Tensor], count: int) -> dict[str, np.ndarray[Any, Any]]:
        """The encoders' outputs of the first `count` images, by column."""
        columns = {}
        for name, tensor in inputs.items():
            with torch.inference_mode():
                outputs = self.runs[name](tensor)
            for suffix, values in outputs.items():
                column = f"{name}_{suffix}" if suffix else name
                columns[column] = _as_numpy(values[:count])
        return columns

    def _groups(self, loaded: Sequence[Loaded], errors: list[str]) -> Iterator[list[tuple[int, Any]]]:
        """Images with their numbers in the batch; a group ends with the one that reaches the limit of pixels."""
        group: list[tuple[int, Any]] = []
        pixels = 0
        for index, one in enumerate(loaded):
            if errors[index]:
                continue
            try:
                image = one.image(self.recipe.alpha, self.recipe.exif)
            except ImageError as error:
                errors[index] = str(error)
                continue
            group.append((index, image))
            height, width = _size_of(image)
            pixels += height * width
            if pixels >= self.recipe.batch_pixels:
                yield group
                group, pixels = [], 0
        if group:
            yield group

    def _preprocess(
        self, group: list[tuple[int, Any]], inputs: Mapping[str, torch.Tensor], first: int, errors: list[str]
    ) -> dict[str, torch.Tensor]:
        """Write the group into the inputs from `first` on, and take out of it what cannot be; the crops' places."""
        targets = list(self.recipe.targets.values())
        while group:
            out = [tensor[first : first + len(group)] for tensor in inputs.values()]
            images = [image for _, image in group]
            try:
                _, places = fused_preprocess(
                    images, targets, out=out, device=self.device, layout="HWC", return_offsets=True
                )
            except PictureError as error:
                if error.index is None:
                    raise
                index, image = group.pop(error.index)
                errors[index] = self._reason(image, error)
            else:
                return dict(zip(inputs, places, strict=True))
        return {}

    def _reason(self, image: Any, error: PictureError) -> str:
        """As of this image alone: its number in the batch says nothing, and would be another with other neighbours."""
        try:
            fused_preprocess(image, list(self.recipe.targets.values()), device=self.device, layout="HWC")
        except PictureError as alone:
            return str(alone)
        return str(error)


def _size_of(image: Any) -> tuple[int, int]:
    height, width = image.shape[:2] if isinstance(image, np.ndarray) else (image.height, image.width)
    return height, width


def _as_numpy(values: torch.Tensor) -> np.ndarray[Any, Any]:
    values = values.detach().cpu().contiguous()
    # Arrow has no bfloat16; float32 holds each of its values.
    return (values.float() if values.dtype is torch.bfloat16 else values).numpy()


def _spread(values: np.ndarray[Any, Any], kept: Sequence[int], count: int) -> np.ndarray[Any, Any]:
    """One entry for each row, zeros for those that have none."""
    spread = np.zeros((count, *values.shape[1:]), values.dtype)
    spread[list(kept)] = values
    return spread


def _fixed_lists(values: np.ndarray[Any, Any]) -> Any:
    import pyarrow as pa

    length = int(np.prod(values.shape[1:], dtype=np.int64))
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), length)


# ---- what can be known before the work


@dataclass(frozen=True)
class Probe:
    """Columns with the shape of a row's values, and those whose rows depend on where in a batch they are."""

    shapes: Mapping[str, Sequence[int]]
    dependent: tuple[str, ...]


def probe(recipe: Recipe) -> Probe:
    """Load every encoder once and encode the same random images in two orders, beside others."""
    with _one_thread():
        one = EncodeBatch(recipe)
        count = recipe.batch_size
        generator = torch.Generator().manual_seed(0)
        inputs, single = one.inputs(), one.inputs()
        for name, values in inputs.items():
            values.copy_(torch.randn(values.shape, generator=generator))
            single[name][:1] = values[:1]
        forwards = one.encode(inputs, count)
        backwards = one.encode({name: values.flip(0) for name, values in inputs.items()}, count)
        alone = one.encode(single, 1)
    dependent = tuple(
        name
        for name, values in forwards.items()
        if values.tobytes() != np.ascontiguousarray(backwards[name][::-1]).tobytes()
        or values[0].tobytes() != alone[name][0].tobytes()
    )
    return Probe({name: values.shape[1:] for name, values in forwards.items()}, dependent)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
