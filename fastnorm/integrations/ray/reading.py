"""What the reading tasks do: a table of places to batches of files' bytes, or of their pixels.

| the encoder is on | travels | decoded by |
|---|---|---|
| the CPU | the file's bytes | the worker that encodes: there is one for each core, and pixels are ten times the bytes |
| a GPU | pixels, uint8 | the reading tasks, on all the cores that would wait for the GPU |

On its way a batch is one row of a table, so that no block's end can tear it apart.
"""

from __future__ import annotations

import io
import itertools
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from fastnorm.data.decode import ImageError, decode_rgb
from fastnorm.integrations.ray.identity import hash_bytes
from fastnorm.integrations.ray.sources import Kind, read
from fastnorm.spec.options import Alpha, Exif


class Loaded(NamedTuple):
    """An image as the encoder's worker gets it."""

    key: str
    sha256: str
    data: Any  # the file's bytes, or pixels (height, width, 3) where a height is given; None with an error
    height: int
    width: int
    error: str  # why there is no image; "" where there is one

    def image(self, alpha: Alpha, exif: Exif) -> Any:
        """For `fused_preprocess`.

        Raises:
            ImageError: A file that cannot be used.
        """
        if self.height:
            return np.frombuffer(self.data, np.uint8).reshape(self.height, self.width, 3)
        return decode_rgb(self.data.to_pybytes(), Path(self.key), alpha, exif).image


@dataclass(frozen=True)
class Reading:
    """How a source is read."""

    kind: Kind
    column: str | None
    batch_size: int
    alpha: Alpha
    exif: Exif
    decoded_pixels: int  # images of up to so many pixels are decoded here

    def __call__(self, places: Any) -> Iterator[Any]:
        """For each batch a table of one row."""
        rows = places.to_pylist()
        found = read(self.kind, self.column, ((os.fsdecode(row["file"]), row["place"], row["row"]) for row in rows))
        loaded = (self._load(row["key"], row["sha256"], data) for row, data in zip(rows, found, strict=True))
        while batch := list(itertools.islice(loaded, self.batch_size)):
            yield pack(batch)

    def _load(self, key: str, sha256: str, data: bytes | str) -> Loaded:
        if isinstance(data, str):
            return Loaded(key, sha256, None, 0, 0, data)
        if hash_bytes(data) != sha256:
            return Loaded(key, sha256, None, 0, 0, "has changed since its bytes were hashed")
        if not self.decoded_pixels or _pixels_of(data) > self.decoded_pixels:
            return Loaded(key, sha256, data, 0, 0, "")
        try:
            image = decode_rgb(data, Path(key), self.alpha, self.exif).image
        except ImageError as error:
            return Loaded(key, sha256, None, 0, 0, str(error))
        return Loaded(key, sha256, image.tobytes(), image.height, image.width, "")


def _pixels_of(data: bytes) -> int:
    """As the file's header says; 0 where there is none: decoding tells why."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as image:
                return int(image.width * image.height)
        except Exception:  # whatever Pillow's parsers raise
            return 0


def pack(batch: Sequence[Loaded]) -> Any:
    """A table of one row, each column of which is a list."""
    import pyarrow as pa

    kinds = (pa.string(), pa.string(), pa.large_binary(), pa.int32(), pa.int32(), pa.string())
    ends = pa.array([0, len(batch)], pa.int32())
    columns = zip(Loaded._fields, zip(*batch, strict=True), kinds, strict=True)
    return pa.table({name: pa.ListArray.from_arrays(ends, pa.array(values, kind)) for name, values, kind in columns})


def unpack(table: Any) -> list[Loaded]:
    """The same again; `data` stays where it is, without a copy."""
    lists = {name: table[name].combine_chunks().flatten() for name in Loaded._fields}
    plain = [lists[name].to_pylist() for name in Loaded._fields if name != "data"]
    buffers = [value.as_buffer() for value in lists["data"]]
    return [
        Loaded(key, sha256, data, height, width, error)
        for data, (key, sha256, height, width, error) in zip(buffers, zip(*plain, strict=True), strict=True)
    ]
