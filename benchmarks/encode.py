"""What the engine costs: `fastnorm encode` with one worker beside a bare loop over the same files, images per second.

    python -m benchmarks.encode photos/ --target clip=clip-224:FOLDER

The loop reads, decodes, preprocesses and encodes in one thread of one process, and writes nothing. Ray's start is not
counted. Run it on an idle machine with at least three cores: one for the encoder, one for reading, one for Ray itself.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import ray
import torch

from fastnorm.cli.encode import named_targets
from fastnorm.integrations.ray import encode
from fastnorm.integrations.ray.batches import EncodeBatch
from fastnorm.integrations.ray.job import recipe_of
from fastnorm.integrations.ray.reading import Reading
from fastnorm.integrations.ray.sources import open_source, scan


def bare_loop(source, targets, batch_size):
    """Images per second."""
    opened = open_source(source)
    items = [item for file in opened.files for item in scan(opened, file) if item.sha256]
    recipe, _ = recipe_of(targets, torch.float32, "cpu", batch_size, "error", "ignore")
    encoder = EncodeBatch(recipe)
    reading = Reading(opened.kind, opened.column, batch_size, recipe.alpha, recipe.exif, recipe.decoded_pixels)
    rows = [item._asdict() | {"file": os.fsencode(item.file)} for item in items]
    places = pa.Table.from_pylist(rows).select(["file", "place", "row", "key", "sha256"])
    start = time.perf_counter()
    for batch in reading(places):
        encoder(batch)
    return len(items) / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--target", action="append", required=True)
    parser.add_argument("--batch-size", type=int, default=16)
    args = parser.parse_args()
    targets = named_targets(args.target)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        summary = encode(
            args.source, Path(folder) / "out", targets, device="cpu", batch_size=args.batch_size, workers=1
        )
    ray.shutdown()
    loop = bare_loop(args.source, targets, args.batch_size)
    print(f"encode {summary.encoded / summary.seconds:.1f} images/s, bare loop {loop:.1f} images/s")


if __name__ == "__main__":
    main()
