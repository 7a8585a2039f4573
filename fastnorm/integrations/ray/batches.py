"""A batch of files' bytes to rows of a table: decoded, preprocessed for every target, encoded."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastnorm.data.decode import ImageError, decode_rgb
from fastnorm.integrations.ray.encoders import Encoder, Run
from fastnorm.integrations.ray.identity import hash_bytes, item_id
from fastnorm.integrations.ray.sources import Kind, read
from fastnorm.ops.preprocess import fused_preprocess
from fastnorm.spec.errors import PictureError
from fastnorm.spec.options import Alpha, Exif
from fastnorm.spec.target import Target

PLAIN = ("id", "key", "sha256", "height", "width", "error")  # of every row, whatever the targets


@dataclass(frozen=True)
class Recipe:
    """Everything about a run that its rows depend on, and the device."""

    targets: Mapping[str, Target]
    encoders: Mapping[str, Encoder]
    dtype: torch.dtype
    batch_size: int
    alpha: Alpha
    exif: Exif
    fingerprint: str
    device: str


def read_batch(kind: Kind, column: str | None, batch: Any) -> Any:
    """A table of places, with the bytes at each, or why there are none."""
    import pyarrow as pa

    rows = batch.to_pylist()
    data: list[bytes | None] = []
    errors: list[str] = []
    places = [(os.fsdecode(row["file"]), row["place"], row["row"]) for row in rows]
    for row, found in zip(rows, read(kind, column, places), strict=True):
        good = isinstance(found, bytes) and hash_bytes(found) == row["sha256"]
        data.append(found if good else None)  # type: ignore[arg-type]
        errors.append("" if good else found if isinstance(found, str) else "has changed since its bytes were hashed")
    table = batch.append_column("data", pa.array(data, pa.large_binary()))
    return table.append_column("error", pa.array(errors, pa.string()))


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
        """A table with `data` to one with the targets' columns; rows that failed have their reason in `error`."""
        import pyarrow as pa

        rows = batch.to_pylist()
        images, errors = _decode(rows, self.recipe)
        kept, tensors, offsets = self._preprocess(images, errors)
        columns = self.encode(tensors) if kept else {}
        for name, values in columns.items():
            finite = np.isfinite(values.reshape(len(kept), -1)).all(axis=1) if values.dtype.kind == "f" else None
            for at, index in enumerate(kept):
                if finite is not None and not finite[at]:
                    errors[index] = errors[index] or f"{name}: got NaN or infinity from the encoder, expected numbers"
        found = {
            "id": pa.array([item_id(row["sha256"], self.recipe.fingerprint) for row in rows]),
            "key": pa.array([row["key"] for row in rows]),
            "sha256": pa.array([row["sha256"] for row in rows]),
            "height": pa.array([0 if image is None else image.height for image in images], pa.int32()),
            "width": pa.array([0 if image is None else image.width for image in images], pa.int32()),
            "error": pa.array(errors, pa.string()),
        }
        for name, values in columns.items():
            found[name] = _fixed_lists(_spread(values, kept, len(rows)))
        for name, of_target in offsets.items():
            spread = _spread(of_target, kept, len(rows))
            for axis, what in enumerate(("top", "left")):
                found[f"{name}_{what}"] = pa.array(spread[:, axis].astype(np.int32))
        if not kept:  # nothing to learn the columns' types from: the writer sees the errors alone
            found = {name: found[name] for name in PLAIN}
        return pa.table(found)

    def encode(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray[Any, Any]]:
        """The encoders' outputs of up to `batch_size` images, by column."""
        columns = {}
        for name, tensor in tensors.items():
            padded = tensor.new_zeros((self.recipe.batch_size, *tensor.shape[1:]))
            padded[: len(tensor)] = tensor
            with torch.inference_mode():
                outputs = self.runs[name](padded)
            for suffix, values in outputs.items():
                column = f"{name}_{suffix}" if suffix else name
                columns[column] = _as_numpy(values[: len(tensor)])
        return columns

    def _preprocess(
        self, images: list[Any], errors: list[str]
    ) -> tuple[list[int], dict[str, torch.Tensor], dict[str, np.ndarray[Any, Any]]]:
        recipe = self.recipe
        kept = [index for index, image in enumerate(images) if image is not None]
        while kept:
            try:
                tensors, offsets = fused_preprocess(
                    [images[index] for index in kept],
                    list(recipe.targets.values()),
                    dtype=recipe.dtype,
                    device=self.device,
                    return_offsets=True,
                )
            except PictureError as error:  # noqa: PERF203
                if error.index is None:
                    raise
                errors[kept.pop(error.index)] = str(error)
            else:
                places = [np.asarray(torch.as_tensor(one).cpu()) for one in offsets]
                names = list(recipe.targets)
                return kept, dict(zip(names, tensors, strict=True)), dict(zip(names, places, strict=True))
        return [], {}, {}


def _decode(rows: Sequence[Mapping[str, Any]], recipe: Recipe) -> tuple[list[Any], list[str]]:
    images: list[Any] = []
    errors: list[str] = []
    for row in rows:
        image, error = None, row["error"]
        if not error:
            try:
                image = decode_rgb(row["data"], Path(row["key"]), recipe.alpha, recipe.exif).image
            except ImageError as one:
                error = str(one)
        images.append(image)
        errors.append(error)
    return images, errors


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
        inputs = {}
        for name, target in recipe.targets.items():
            assert target.fixed_size is not None
            shape = (count, 3, *target.fixed_size)
            inputs[name] = torch.randn(shape, generator=generator).to(one.device, recipe.dtype)
        forwards = one.encode(inputs)
        backwards = one.encode({name: values.flip(0) for name, values in inputs.items()})
        alone = one.encode({name: values[:1] for name, values in inputs.items()})
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
