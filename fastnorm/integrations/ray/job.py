"""The job: what is missing, encoded on Ray Data, and made part of the output shard by shard."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fastnorm._version import __version__
from fastnorm.data.text import one_line
from fastnorm.integrations.ray import items, samples
from fastnorm.integrations.ray.batches import EncodeBatch, Probe, Recipe, probe
from fastnorm.integrations.ray.encoders import Encoder
from fastnorm.integrations.ray.engine import (
    ACTOR_RESTARTS,
    ACTOR_RETRIES,
    TASK_RETRIES,
    Engine,
    StartError,
    blocks,
    bounded_retries,
    engine,
)
from fastnorm.integrations.ray.identity import described, fingerprint, item_id
from fastnorm.integrations.ray.output import ITEMS, SAMPLES, SHARDS, Output, read_quarantine
from fastnorm.integrations.ray.reading import Reading
from fastnorm.integrations.ray.report import write_report
from fastnorm.integrations.ray.shards import Shard, write_shard
from fastnorm.integrations.ray.sources import Item, Source, open_source
from fastnorm.spec.arguments import resolve_dtypes
from fastnorm.spec.geometry import PassOrder
from fastnorm.spec.options import Alpha, Exif, check_alpha, check_exif
from fastnorm.spec.target import Target, check_target

Progress = Callable[[str, int, int, int], None]  # what is being done, how much is done, of how much, bad items
BATCH_PIXELS = 1 << 28  # 0.8 GB of uint8; 16 photographs of 16 megapixels
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class EncodeError(RuntimeError):
    """A run that ended before its end; what it has committed stays, and the same call goes on from there."""


@dataclass(frozen=True)
class Summary:
    """What a run found and did."""

    source: str
    output: str
    fingerprint: str
    items: int  # images in the source
    unique: int  # with different bytes
    before: int  # that needed no work
    encoded: int
    bad: int  # items of this source and these settings in the quarantine
    shards: int  # written by this run
    bytes: int  # of those
    seconds: float
    dependent: tuple[str, ...]  # columns whose bits depend on a row's place in a batch


def encode(
    source: str | Path,
    output: str | Path,
    targets: Mapping[str, tuple[Target, str | Path]],
    *,
    add: bool = False,
    alpha: Alpha = "error",
    exif: Exif = "ignore",
    dtype: torch.dtype = torch.float32,
    device: str | None = None,
    batch_size: int = 16,
    batch_pixels: int = BATCH_PIXELS,
    shard_rows: int = 1024,
    workers: int | None = None,
    cpus: int | None = None,
    address: str | None = None,
    column: str | None = None,
    rehash: bool = False,
    on_shard: Callable[[Shard], None] | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Encode every image of a source once by several models, into a folder of Parquet shards.

    Example:
        >>> targets = {"vae": (fastnorm.VAE_512, "sd/vae"), "clip": (fastnorm.CLIP_224, "clip-vit-large-patch14")}
        >>> encode("photos/", "encoded/", targets).encoded  # rows with vae_mean (4, 64, 64), vae_std and clip (768,)
        1200

    A row is known by the SHA-256 of the file's bytes and the fingerprint of everything done with them: a second call
    encodes what is missing, and files with the same bytes are encoded once. Images that cannot be used are named in
    `quarantine.jsonl` with the reason. Killed at any moment, the same call goes on.

    Args:
        source: A folder of images, tars of WebDataset (not compressed), Parquet files with the images' bytes, or a
            folder of `datasets`' `save_to_disk`; of one kind.
        output: A folder: new, empty, or of an earlier call.
        targets: By name, which begins the columns' names: a target whose outputs have one size, and what encodes them:
            the folder of a transformers vision model or of a diffusers VAE, or "module:function", which gets tensors
            (batch_size, 3, height, width).
        add: Whether rows of other settings may be in the output too.
        alpha, exif: As for `fused_preprocess`.
        dtype: Of the models and what they get: float32, float16 or bfloat16.
        device: Of the models, one for each worker; None: CUDA where there is one, else the CPU.
        batch_size: Images that a model gets at once: always as many, padded with zeros.
        batch_pixels: Pixels of decoded images that a worker holds at once, whatever the batch's size; the image that
            exceeds it is the last of them.
        shard_rows: Rows of a shard, at most; what a killed run loses is less than a shard for each worker.
        workers: Processes that encode; None: one for each GPU, or for each CPU but one.
        cpus: CPUs of this machine that Ray may use, at least 2; None: all.
        address: Of a Ray cluster, which has to see source, output and models under the same paths; None: this machine.
        column: Of tables: which holds the images; None: image, jpg, png, webp or bytes.
        rehash: Whether to read files again whose size and time of change are as they were.
        on_shard: Called with each shard that has become part of the output.
        progress: Called with (what is being done, done, total, bad items).

    Returns:
        Counts, and which columns are not the same bit for bit whatever a row's place in its batch.

    Raises:
        TypeError, ValueError, FileNotFoundError, PermissionError: Before any work.
        EncodeError: A full disk, or a worker that ends each time; what is done is kept.
    """
    started = time.monotonic()
    recipe, settings = recipe_of(targets, dtype, device, batch_size, alpha, exif, batch_pixels)
    for name, value in (("shard_rows", shard_rows), ("workers", workers), ("cpus", cpus)):
        _check_count(name, value)
    opened = open_source(Path(source), column)
    folder = Output(Path(output), recipe.fingerprint, settings, add)
    show = progress or (lambda *_: None)
    try:
        with engine(address, cpus) as ray_engine:
            total = len(opened.files)
            found = items.gather(
                opened, folder.path / ITEMS, ray_engine.start, rehash, lambda done: show("hashing", done, total, 0)
            )
            folder.quarantine(_bad(item) for item in found if item.error is not None)
            unique = {item.sha256: item for item in reversed(found) if item.sha256 is not None}
            done = folder.done()
            todo = [item for item in found if item.sha256 and unique[item.sha256] is item]
            todo = [item for item in todo if item_id(str(item.sha256), recipe.fingerprint) not in done]
            shards: list[Shard] = []
            probed = Probe({}, ())
            if todo:
                probed = probe(recipe)
                ray_engine.start()
                run = _run(todo, opened, recipe, folder, probed, ray_engine, shard_rows, workers)
                bad = 0
                finished = 0
                for line, quarantined, rows in run:
                    folder.quarantine(quarantined)
                    if line:
                        shards.append(folder.commit(line))
                        if on_shard is not None:
                            on_shard(shards[-1])
                    finished, bad = finished + rows, bad + len(quarantined)
                    show("encoding", finished, len(todo), bad)
            if shards:
                show("samples", 0, 1, 0)
                first = folder.path / SHARDS / shards[0].file
                samples.save(folder.path / SAMPLES, samples.samples(recipe, opened, unique, first))
            bad_ones = _bad_of(folder, found)
            summary = Summary(
                source=str(source),
                output=str(output),
                fingerprint=recipe.fingerprint,
                items=len(found),
                unique=len(unique),
                before=len(unique) - len(todo),
                encoded=sum(shard.rows for shard in shards),
                bad=len(bad_ones),
                shards=len(shards),
                bytes=sum(shard.bytes for shard in shards),
                seconds=time.monotonic() - started,
                dependent=probed.dependent,
            )
            write_report(folder.path, summary, settings, bad_ones, samples.load(folder.path / SAMPLES))
    except Exception as error:
        told = _explained(error, folder.path)
        if told is None:
            raise
        raise told from error
    finally:
        folder.close()
    return summary


def _run(
    todo: list[Item],
    source: Source,
    recipe: Recipe,
    folder: Output,
    probed: Probe,
    ray_engine: Engine,
    shard_rows: int,
    workers: int | None,
) -> Iterator[tuple[str, list[dict[str, Any]], int]]:
    """The shards' lines as they come, each with the bad rows beside it, and the number of both."""
    import ray

    gpu = recipe.on_gpu
    pool = workers or (max(1, int(ray.cluster_resources().get("GPU", 1))) if gpu else max(1, ray_engine.cpus - 1))
    rows = [
        {"file": os.fsencode(item.file), "place": item.place, "row": item.row, "key": item.key, "sha256": item.sha256}
        for item in todo
    ]
    per_block = recipe.batch_size * max(1, min(16, shard_rows // recipe.batch_size))
    reading = Reading(source.kind, source.column, recipe.batch_size, recipe.alpha, recipe.exif, recipe.decoded_pixels)
    with bounded_retries():
        written = (
            ray.data.from_items(rows, override_num_blocks=blocks(len(rows), per_block))
            .map_batches(
                reading,
                batch_size=per_block,
                batch_format="pyarrow",
                max_retries=TASK_RETRIES,
            )
            .map_batches(
                EncodeBatch,
                fn_constructor_args=(recipe,),
                batch_size=1,  # a row is a batch
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=pool),
                num_gpus=1 if gpu else None,
                max_restarts=ACTOR_RESTARTS,
                max_task_retries=ACTOR_RETRIES,
            )
            .map_batches(
                partial(write_shard, folder.unfinished.absolute(), recipe.fingerprint, dict(probed.shapes)),
                batch_size=shard_rows,
                batch_format="pyarrow",
                # Of no CPU: else it waits while there is something to read, and a killed run loses what is encoded.
                num_cpus=0,
                compute=ray.data.TaskPoolStrategy(size=1 + pool // 8),
                max_retries=TASK_RETRIES,
            )
        )
    for batch in written.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for row in batch.to_pylist():
            yield row["line"], json.loads(row["quarantined"]), row["rows"]


def recipe_of(
    targets: Mapping[str, tuple[Target, str | Path]],
    dtype: torch.dtype,
    device: str | None,
    batch_size: int,
    alpha: Alpha,
    exif: Exif,
    batch_pixels: int = BATCH_PIXELS,
) -> tuple[Recipe, dict[str, Any]]:
    if not isinstance(targets, Mapping) or not targets:
        raise TypeError(
            f"targets: got {targets!r}, expected at least one by name: "
            f"{{'clip': (fastnorm.CLIP_224, 'folder of the model')}}"
        )
    check_alpha(alpha)
    check_exif(exif)
    resolve_dtypes(dtype, 1)
    _check_count("batch_size", batch_size)
    _check_count("batch_pixels", batch_pixels)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    encoders = {}
    for name, pair in targets.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(
                f"targets: got the name {name!r}, expected letters, digits and underscores, as of a column"
            )
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(f"targets[{name!r}]: got {pair!r}, expected a target and its encoder: (CLIP_224, 'folder')")
        _check_target(pair[0], name, dtype)
        encoders[name] = Encoder.of(pair[1], f"targets[{name!r}]")
    settings = {
        "contract": __version__,
        "pillow_order": PassOrder.of_pillow().value,
        "targets": {
            name: {"target": described(target), "encoder": encoders[name].described()}
            for name, (target, _) in targets.items()
        },
        "dtype": str(dtype),
        "batch_size": batch_size,  # another shape is another algorithm of the libraries
        "alpha": alpha,
        "exif": exif,
    }
    wanted = {name: target for name, (target, _) in targets.items()}
    known_by = fingerprint(settings)
    return Recipe(wanted, encoders, dtype, batch_size, alpha, exif, known_by, device, batch_pixels), settings


def _check_target(target: Target, name: str, dtype: torch.dtype) -> None:
    what = f"targets[{name!r}]"
    check_target(target, what)
    if target.fixed_size is None or not target.batch:
        raise ValueError(f"{what}: got a target whose outputs' size depends on the image, expected one size: crop=512")
    if target.crop is not None and target.crop.position == "random":
        raise ValueError(f"{what}: got a random crop, expected one that is the same each time: Crop(position=...)")
    if target.dtype not in (None, dtype):
        raise ValueError(f"{what}: got dtype={target.dtype} for a model of {dtype}, expected one: encode(dtype=...)")
    if target.alpha is not None or target.exif is not None:
        raise ValueError(
            f"{what}: got alpha= or exif= of its own, expected those of the call: encode(alpha=..., exif=...)"
        )


def _check_count(name: str, value: int | None) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: got {value!r}, expected a whole number, at least 1")
    if value < 1:
        raise ValueError(f"{name}: got {value}, expected at least 1")


def _bad(item: Item) -> dict[str, Any]:
    return {"key": item.key, "sha256": item.sha256, "error": item.error}


def _bad_of(folder: Output, found: list[Item]) -> list[dict[str, Any]]:
    """The items of this source that cannot be encoded, with the reason, every key of the same bytes."""
    quarantined = [line for line in read_quarantine(folder.path) if line["fingerprint"] == folder.fingerprint]
    reasons = {line["sha256"]: line["error"] for line in quarantined if line["sha256"] is not None}
    return [
        {**_bad(item), "error": item.error or reasons[item.sha256]}
        for item in found
        if item.error is not None or item.sha256 in reasons
    ]


def _explained(error: Exception, output: Path) -> EncodeError | None:
    """An error of the engine or the disk as one line that says what to do; None for any other."""
    causes = _causes(error)
    again = "what is done is kept: run the same command again to go on"
    if any(isinstance(one, OSError) and one.errno in _NO_ROOM for one in causes) or "Errno 28" in str(error):
        told = EncodeError(f"{output}: no space left on the device; make room; {again}")
    elif isinstance(error, StartError):
        told = EncodeError(f"{error}; {again}")
    elif isinstance(error, OSError) or any(type(one).__module__.startswith("ray.") for one in causes):
        first = causes[-1]
        told = EncodeError(f"the run has ended early ({type(first).__name__}: {_short(first)}); {again}")
    else:
        return None
    for one in _causes(error, with_context=True):
        one.__traceback__ = None  # its frames keep workers alive: in a notebook the next call would wait for them
    return told


def _causes(error: BaseException | None, with_context: bool = False) -> list[BaseException]:
    found: list[BaseException] = []
    pending = [error]
    while pending:
        one = pending.pop(0)
        if one is not None and one not in found:
            found.append(one)
            inner = getattr(one, "cause", None)
            pending += [inner if isinstance(inner, BaseException) else None, one.__cause__]
            pending += [one.__context__] if with_context else []
    return found


def _short(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return one_line(lines[-1] if lines else "")[:300]
