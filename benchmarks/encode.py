"""What encoding a data set once costs: `fastnorm encode` with one worker beside a bare loop over the same files.

    python -m benchmarks.encode [--only tiny CLIP SD] [--images N] [--output FOLDER]

Rows of the suite `encode` go into FOLDER/encode.csv. Their times are of one image:

| name | what it does |
|---|---|
| fastnorm encode | the whole call: hash, try the encoder, read, decode, preprocess, encode, write; not Ray's start |
| fastnorm encode, under way | the same, from its first shard to its last: without what begins and ends a run |
| bare loop | read, decode, preprocess and encode in one thread of one process; write nothing |

`cpu_ms` is what all cores of the machine did meanwhile: run it on an idle one, with at least three cores, of which one
encodes, one reads, and one is Ray's.
"""

import argparse
import datetime
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

import fastnorm
from benchmarks.cells import photographs
from benchmarks.rows import Cell, Sample, append, row, version_of
from fastnorm.cli._ending import quietly

SIZE = (384, 512)  # of the photographs: a web page's
BARE, OWN, UNDER_WAY = "bare loop", "fastnorm encode", "fastnorm encode, under way"


class Case(NamedTuple):
    """An encoder: how many images it gets, in which batches, and what saves it into a folder."""

    images: int
    batch_size: int
    target: fastnorm.Target
    save: Callable[[Path], str]


def means(batch: torch.Tensor) -> torch.Tensor:
    """The tiny encoder: almost all that is left is everything else."""
    return torch.nn.functional.adaptive_avg_pool2d(batch, 4).flatten(1)


def save_clip(folder: Path) -> str:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    CLIPVisionModelWithProjection(CLIPVisionConfig()).save_pretrained(folder)  # whose defaults are ViT-B/32
    return str(folder)


def save_vae(folder: Path) -> str:
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    ).save_pretrained(folder)  # fmt: skip
    return str(folder)


CASES = {
    "tiny": Case(100_000, 16, fastnorm.CLIP_224, lambda _: "benchmarks.encode:means"),
    "CLIP ViT-B/32": Case(2_000, 16, fastnorm.CLIP_224, save_clip),
    "SD VAE, 256 pixels": Case(64, 4, fastnorm.VAE_256_ADM, save_vae),
}


def make_images(folder: Path, count: int) -> int:
    """JPEG files of photographs, no two with the same pixels: Parquet packs equal rows. Returns the bytes of one."""
    folder.mkdir()
    pixels, size = [np.asarray(image) for image in photographs([SIZE] * 5)], 0  # more would be the same five again
    for index in range(count):
        down, right = divmod(index // len(pixels), SIZE[1])
        moved = np.roll(pixels[index % len(pixels)], (down, right), (0, 1))
        file = folder / f"{index:07}.jpg"
        Image.fromarray(moved).save(file, quality=90)
        size += file.stat().st_size
    return size // count


def bare_loop(source: Path, targets, batch_size: int) -> tuple[int, Sample]:
    """How many images, and seconds of them all."""
    import pyarrow as pa

    from fastnorm.integrations.ray.batches import EncodeBatch
    from fastnorm.integrations.ray.job import recipe_of
    from fastnorm.integrations.ray.reading import Reading
    from fastnorm.integrations.ray.sources import open_source, scan

    opened = open_source(source)
    items = [item._asdict() for file in opened.files for item in scan(opened, file) if item.sha256]
    places = pa.Table.from_pylist([item | {"file": os.fsencode(item["file"])} for item in items])
    recipe, _ = recipe_of(targets, torch.float32, "cpu", batch_size, "error", "ignore")
    threads = torch.get_num_threads()
    encoder = EncodeBatch(recipe)
    reading = Reading(opened.kind, opened.column, batch_size, recipe.alpha, recipe.exif, recipe.decoded_pixels)
    start = time.perf_counter(), time.process_time()
    for first in range(0, len(places), 16 * batch_size):  # as many as a task reads
        for batch in reading(places.slice(first, 16 * batch_size)):
            encoder(batch)
    took = Sample(time.perf_counter() - start[0], time.process_time() - start[1])
    torch.set_num_threads(threads)
    return len(items), took


def engine(source: Path, output: Path, targets, batch_size: int, count: int):
    """What a whole run found, its seconds, and those from its first shard to its last with how many images."""
    from fastnorm.integrations.ray import encode

    shards = []
    start = time.perf_counter(), machine_seconds()
    summary = encode(
        source, output, targets, device="cpu", batch_size=batch_size, workers=1,
        shard_rows=max(batch_size, min(1024, count // 8)),
        on_shard=lambda shard: shards.append((shard.rows, time.perf_counter(), machine_seconds())),
    )  # fmt: skip
    whole = Sample(time.perf_counter() - start[0], machine_seconds() - start[1])
    (_, first, first_cpu), (_, last, last_cpu) = shards[0], shards[-1]
    return summary, whole, sum(rows for rows, *_ in shards[1:]), Sample(last - first, last_cpu - first_cpu)


def machine_seconds() -> float:
    """The time of all cores that were not idle, since the machine's start."""
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    user, nice, system, _idle, _iowait, interrupts, soft, _stolen = map(int, fields)
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def measure(name: str, case: Case, count: int, work: Path, rows: Path) -> None:
    targets = {"one": (case.target, case.save(work / "model"))}
    size = make_images(work / "images", count)
    summary, whole, rest, under_way = engine(work / "images", work / "output", targets, case.batch_size, count)
    looped, loop = bare_loop(work / "images", targets, case.batch_size)
    assert summary.encoded == looped == count, (summary, looped)
    height, width = SIZE
    cell = Cell("encode", f"encode: {name}", f"{count} of {height}x{width}x3", "JPEG", 1, "fp32", images=1)
    note = f"{count:,} images of {size:,} bytes; {summary.bytes // count:,} bytes a row"
    run = f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%dT%H%M%S.%f} cpu encode"
    found = [(OWN, fastnorm.__version__, count, whole), (BARE, version_of("torch"), looped, loop)]
    if rest:
        found.insert(1, (UNDER_WAY, fastnorm.__version__, rest, under_way))
    made = [
        row(cell, one, version, [Sample(*(seconds / images for seconds in took))], note=note, run=run)
        for one, version, images, took in found
    ]
    append(rows / "encode.csv", made)
    for one in made:
        print(f"{name}: {one['name']}: {one['images_per_s']} images/s, {one['cpu_ms']} ms of all cores an image")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[name.split()[0] for name in CASES], help="encoders (all)")
    parser.add_argument("--images", type=int, help="for each encoder (100,000, 2,000 and 64)")
    parser.add_argument("--output", type=Path, default=Path("fastnorm-bench"), metavar="FOLDER", help="where rows go")
    args = parser.parse_args(argv)
    import ray.data

    for name, case in CASES.items():
        if args.only and name.split()[0] not in args.only:
            continue
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        try:
            with tempfile.TemporaryDirectory() as work:
                measure(name, case, args.images or case.images, Path(work), args.output)
        finally:
            ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(quietly("benchmarks.encode", main))
