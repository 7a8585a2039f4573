"""For the report: a few images as the VAE has seen them, beside what its decoder makes of the latents in the shards."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from fastnorm.data.decode import decode_rgb
from fastnorm.data.text import one_line
from fastnorm.integrations.ray.batches import Recipe
from fastnorm.integrations.ray.sources import Item, Source, read
from fastnorm.ops.denormalize import denormalize
from fastnorm.ops.preprocess import fused_preprocess
from fastnorm.spec.target import Target

_COUNT = 4  # decoding one takes a VAE of Stable Diffusion's size seconds on a CPU
_SIDE = 256  # pixels of the longer side, as shown


class Sample(NamedTuple):
    """An image of one target; `image` and `decoded` are data URIs."""

    key: str
    target: str
    image: str
    decoded: str
    problem: str  # why it could not be decoded; "" where it was


def samples(recipe: Recipe, source: Source, items: Mapping[str, Item], shard: Path) -> list[Sample]:
    """Of the first rows of a shard, each decoded by every VAE; a decoder that fails is no reason to fail."""
    found = []
    for name, encoder in recipe.encoders.items():
        if encoder.kind == "diffusers":
            rows = _rows(shard, name)
            try:
                decode = encoder.decoder(torch.device(recipe.device), recipe.dtype)
                found += [_sample(name, recipe, source, items[row["sha256"]], row, decode) for row in rows]
            except Exception as error:  # of a model's own code, whatever it is
                problem = f"{type(error).__name__}: {one_line(str(error))}"
                found += [Sample(row["key"], name, "", "", problem) for row in rows]
    return found


def _rows(shard: Path, name: str) -> list[dict[str, Any]]:
    """The first rows, with the posterior's mean in its own shape; rows are in the order of their hashes."""
    import pyarrow.parquet as pq

    column = f"{name}_mean"
    with pq.ParquetFile(shard) as file:
        shape = json.loads(file.schema_arrow.field(column).metadata[b"shape"])
        batch = next(file.iter_batches(_COUNT, columns=["key", "sha256", column]))
    return [row | {"mean": np.array(row.pop(column)).reshape(shape)} for row in batch.to_pylist()]


def _sample(name: str, recipe: Recipe, source: Source, item: Item, row: Mapping[str, Any], decode: Any) -> Sample:
    target = recipe.targets[name]
    (data,) = read(source.kind, source.column, [(item.file, item.place, item.row)])
    if isinstance(data, str):
        raise OSError(data)
    image = decode_rgb(data, Path(item.key), recipe.alpha, recipe.exif).image
    (seen,) = fused_preprocess(image, [target])
    mean = torch.from_numpy(row["mean"]).to(recipe.device, recipe.dtype)
    with torch.inference_mode():
        decoded = decode(mean.unsqueeze(0))[0].float().cpu()
    return Sample(row["key"], name, _data_uri(seen, target), _data_uri(decoded, target), "")


def _data_uri(values: torch.Tensor, target: Target) -> str:
    pixels = denormalize(values, target.normalization)
    image = Image.fromarray(pixels.movedim(0, -1).contiguous().numpy())
    image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


# ---- kept beside the report, so that a run that had nothing to do shows those of the run before


def save(path: Path, found: Sequence[Sample]) -> None:
    path.write_text(json.dumps([sample._asdict() for sample in found], indent=1), encoding="utf-8")


def load(path: Path) -> list[Sample]:
    return [Sample(**sample) for sample in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []
