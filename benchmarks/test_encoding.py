"""What encoding a data set once costs: `fastnorm encode` with one worker beside a bare loop over the same files: see
README.md. Run it on an idle machine, best with three cores, of which one encodes, one reads, and one is Ray's.
"""

import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

import fastnorm
from benchmarks.cells import photographs
from benchmarks.rows import OURS, Cell, Sample
from benchmarks.timing import Candidate

SIZE = (384, 512)  # of the photographs: a web page's


class EncodeCell(NamedTuple):
    name: str
    images: int
    batch_size: int
    target: fastnorm.Target
    save: Callable[[Path], str]  # into a folder; returns what `fastnorm encode` calls the encoder
    device: str = "cpu"
    quick: bool = False


def _saved(make: Callable[[], torch.nn.Module], folder: Path) -> str:
    torch.manual_seed(0)
    make().save_pretrained(folder)
    return str(folder)


def _clip() -> torch.nn.Module:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(CLIPVisionConfig())  # whose defaults are ViT-B/32


def _vae() -> torch.nn.Module:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip


CELLS = (
    # An encoder that does almost nothing: what is left is everything else.
    EncodeCell("tiny", 100_000, 16, fastnorm.CLIP_224, lambda _: "tests.encoders_for_tests:means"),
    EncodeCell("CLIP ViT-B/32", 2_000, 16, fastnorm.CLIP_224, partial(_saved, _clip)),
    EncodeCell("SD VAE, 256 pixels", 64, 4, fastnorm.VAE_256_ADM, partial(_saved, _vae)),
)


def make_images(folder: Path, count: int) -> int:
    """JPEG files of photographs, no two with the same pixels: Parquet packs equal rows. Returns the bytes of one."""
    folder.mkdir()
    pixels = [np.asarray(image) for image in photographs([SIZE] * 5)]  # more would be the same five again
    for index in range(count):
        down, right = divmod(index // len(pixels), SIZE[1])
        moved = np.roll(pixels[index % len(pixels)], (down, right), (0, 1))
        Image.fromarray(moved).save(folder / f"{index:07}.jpg", quality=90)
    return sum(file.stat().st_size for file in folder.iterdir()) // count


def now() -> Sample:
    """The clock, and the time of all cores that were not idle since the machine's start."""
    user, nice, system, _idle, _iowait, irq, soft, _stolen = map(int, Path("/proc/stat").read_text().split()[1:9])
    return Sample(time.perf_counter(), (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK"))


def of_one(start: Sample, end: Sample, images: int) -> list[Sample]:
    """The one sample of a run over so many images."""
    return [Sample(*((after - before) / images for before, after in zip(start, end, strict=True)))]


def bare_loop(source: Path, targets, batch_size: int) -> tuple[int, Sample, Sample]:
    """How many images it encoded, and when it began and ended."""
    import pyarrow as pa

    from fastnorm.integrations.ray.batches import EncodeBatch
    from fastnorm.integrations.ray.job import recipe_of
    from fastnorm.integrations.ray.reading import Reading
    from fastnorm.integrations.ray.sources import open_source, scan

    opened, threads = open_source(source), torch.get_num_threads()
    items = [item._asdict() for file in opened.files for item in scan(opened, file) if item.sha256]
    places = pa.Table.from_pylist([item | {"file": os.fsencode(item["file"])} for item in items])
    recipe, _ = recipe_of(targets, torch.float32, "cpu", batch_size, "error", "ignore")
    encoder = EncodeBatch(recipe)  # which sets the threads
    reading = Reading(opened.kind, opened.column, batch_size, recipe.alpha, recipe.exif, recipe.decoded_pixels)
    start = now()
    for first in range(0, len(places), 16 * batch_size):  # as many as a task reads
        for batch in reading(places.slice(first, 16 * batch_size)):
            encoder(batch)
    end = now()
    torch.set_num_threads(threads)
    return len(items), start, end


@pytest.fixture
def folder(tmp_path):
    """Ends with its gigabytes of images: pytest would keep the folders of three sessions."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture
def started_engine():
    """As `fastnorm encode` starts it, which is not timed."""
    from fastnorm.integrations.ray.engine import engine

    with engine(None, cpus=2) as one:
        one.start()
        yield


@pytest.mark.usefixtures("started_engine")
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"cpu: encode: {cell.name}")
def test_encode(suite, cell, folder):
    from fastnorm.integrations.ray import encode

    count = 40 if suite.verify_only else cell.images
    source, targets, shards = folder / "images", {"one": (cell.target, cell.save(folder / "model"))}, []
    size, start = make_images(source, count), now()
    summary = encode(
        source, folder / "output", targets, device="cpu", batch_size=cell.batch_size, workers=1,
        shard_rows=max(cell.batch_size, min(1024, count // 8)),
        on_shard=lambda shard: shards.append((now(), shard.rows)),
    )  # fmt: skip
    (first, rows_of_first), *_, (last, _) = shards
    sampled = {
        OURS + " encode": of_one(start, now(), count),
        OURS + " encode, under way": of_one(first, last, count - rows_of_first),
    }
    looped, *loop = bare_loop(source, targets, cell.batch_size)
    assert summary.encoded == looped == count, "not verified, not timed"
    note = f"{count:,} images of {size:,} bytes; {summary.bytes // count:,} bytes a row"
    entries = [Candidate(name, fastnorm.__version__, None, note=note, samples=one) for name, one in sampled.items()]
    entries.append(Candidate("bare loop", torch.__version__, None, note=note, samples=of_one(*loop, looped)))
    shape = f"{count} of {SIZE[0]}x{SIZE[1]}x3"
    suite.publish(Cell("encode", f"encode: {cell.name}", shape, "JPEG", 1, "fp32", images=1), entries)
