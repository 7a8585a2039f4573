"""Samples per second and data time of the IP-Adapter tutorial's dataset, as published and with fastnorm.

    python benchmarks/end_to_end.py [--rows FILE] [--quick]

The dataset is that of tencent-ailab/IP-Adapter's tutorial_train.py without its text tokens: open a JPEG file with PIL,
`convert("RGB")`, torchvision's Resize(512), CenterCrop, ToTensor and Normalize([0.5], [0.5]) for the VAE, transformers'
CLIP image processor for the image encoder, and a collate function that stacks. JPEG files lie on disk; a torch
DataLoader reads them with 1 and with 2 workers. The ways:

    before        the published chains, with transformers' Pillow backend, and with its torchvision backend, which plain
                  CLIPImageProcessor means since transformers 5
    in workers    the dataset calls fastnorm.fused_dual_preprocess on its one image
    in main       the dataset returns decoded pixels, the collate function packs them, and the training process calls
                  fastnorm.fused_dual_preprocess on the batch: on the GPU where there is one
    decode        the dataset opens and decodes, and that is all: what no preprocessing can be faster than

Epochs of all ways take turns. Before any is timed, every way's tensors are compared with the Pillow backend's. A row's
time is the data time of one sample: an epoch's wall time, from the first batch asked for (workers started and at rest)
to the last one on its device, over its samples.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "kernels")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

import fastnorm  # noqa: E402
from benchmarks.measure import OURS  # noqa: E402
from benchmarks.peers import mismatches  # noqa: E402
from benchmarks.peers.preprocess import published_chain  # noqa: E402
from benchmarks.pixels import pictures  # noqa: E402
from benchmarks.rows import Cell, append, row, run_id, version_of  # noqa: E402
from fastnorm import PackedImages  # noqa: E402

BATCH = 8
FILES = 64
EPOCHS = 7
# (height, width): about 1536 x 1024, upright and lying, as photographs come.
SIZES = ((1024, 1536), (1536, 1024), (1000, 1500), (1152, 1536), (1440, 1080), (960, 1706), (1280, 1280), (1600, 1066))

Pair = tuple[torch.Tensor, torch.Tensor]


class Files(Dataset):
    """JPEG files; what becomes of a decoded image is the way's."""

    def __init__(self, paths: list[Path], make: Callable[[], Callable[[Image.Image], Any]]) -> None:
        self.paths, self.make = paths, make
        self.prepare: Callable[[Image.Image], Any] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        if self.prepare is None:
            self.prepare = self.make()  # in the worker
        return self.prepare(Image.open(self.paths[index]).convert("RGB"))


@dataclass(frozen=True)
class Way:
    name: str
    version: str
    make: Callable[[], Callable[[Image.Image], Any]]
    collate: Callable[[list[Any]], Any]
    finish: Callable[[Any], Any]  # in the training process
    compared: bool = True


def _before(backend: str) -> Callable[[], Callable[[Image.Image], Pair]]:
    return lambda: published_chain(backend)


def _in_worker(image: Image.Image) -> Pair:
    return fastnorm.fused_dual_preprocess(image)


def _decoded(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image))


def _stack(samples: list[Pair]) -> Pair:
    vae, clip = (torch.stack(branch) for branch in zip(*samples, strict=True))
    return vae, clip


def _count(image: Image.Image) -> int:
    return image.width * image.height


def ways(device: torch.device) -> list[Way]:
    def to_device(pair: Pair) -> list[torch.Tensor]:
        return [tensor.to(device, non_blocking=True) for tensor in pair]

    def preprocess(packed: PackedImages) -> Pair:
        return fastnorm.fused_dual_preprocess(packed.to(device, non_blocking=True))

    transformers = version_of("transformers")
    return [
        Way("before (Pillow backend)", transformers, _before("Pillow"), _stack, to_device),
        Way("before (torchvision backend)", transformers, _before("torchvision"), _stack, to_device),
        Way(f"{OURS}, in workers", fastnorm.__version__, lambda: _in_worker, _stack, to_device),
        Way(f"{OURS}, in main", fastnorm.__version__, lambda: _decoded, PackedImages.pack, preprocess),
        Way("decode alone", version_of("pillow"), lambda: _count, list, lambda counts: counts, compared=False),
    ]


def write_files(folder: Path, count: int) -> list[Path]:
    """Photographs of camera-like sizes as JPEG files, the same on every run."""
    paths = []
    for index, picture in enumerate(pictures([SIZES[index % len(SIZES)] for index in range(min(count, 40))])):
        path = folder / f"{index:03}.jpg"
        picture.save(path, quality=90)
        paths.append(path)
    for index in range(len(paths), count):  # five photographs in eight sizes: from there on, the same again
        path = folder / f"{index:03}.jpg"
        path.write_bytes(paths[index % 40].read_bytes())
        paths.append(path)
    return paths


def loader_of(way: Way, paths: list[Path], workers: int, device: torch.device) -> DataLoader:
    return DataLoader(
        Files(paths, way.make),
        batch_size=BATCH,
        num_workers=workers,
        collate_fn=way.collate,
        persistent_workers=workers > 0,  # epochs are timed, not the starts of processes
        pin_memory=device.type == "cuda",
    )


def epoch(way: Way, loader: Iterable[Any], device: torch.device) -> Iterator[Any]:
    for batch in loader:
        yield way.finish(batch)
    if device.type == "cuda":
        torch.cuda.synchronize()


def verify(chosen: list[Way], paths: list[Path], device: torch.device) -> dict[str, int | None]:
    """How many values each way's tensors differ in from the Pillow backend's; ours may not in one."""
    found: dict[str, int | None] = {}
    expected: list[Any] = []
    for way in chosen:
        batches = list(epoch(way, loader_of(way, paths, 0, device), device))
        if not expected:
            expected = batches
        found[way.name] = None
        if way.compared:
            found[way.name] = sum(mismatches(got, want) for got, want in zip(batches, expected, strict=True))
        if way.name.startswith(OURS) and found[way.name]:
            raise SystemExit(f"not verified, not timed: {way.name} differs in {found[way.name]} values")
    return found


def measure(rows_file: Path | None, workers: int, epochs: int, paths: list[Path], differing: dict[str, int | None]):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = ways(device)
    loaders = {way.name: loader_of(way, paths, workers, device) for way in chosen}
    seconds: dict[str, list[float]] = {way.name: [] for way in chosen}
    for _ in range(1 + epochs):
        for way in chosen:
            start = time.perf_counter()
            for _ in epoch(way, loaders[way.name], device):
                pass
            seconds[way.name].append((time.perf_counter() - start) / len(paths))
    shape = f"{len(paths)} ragged"
    cell = Cell("end to end", f"IP-Adapter dataset {workers} workers", shape, "JPEG", 2, "fp32+fp32", "fresh", images=1)
    run = run_id(f"{device.type} end to end")
    rows = [
        row(
            run,
            cell,
            way.name,
            way.version,
            seconds[way.name][1:],  # the first epoch starts the workers and imports the packages
            device=device,
            mismatches=differing[way.name],
            note=f"data time of one sample; {workers} workers, batches of {BATCH}",
        )
        for way in chosen
    ]
    print(f"\n{cell.name}")
    for line in rows:
        ratio = rows[0].p50_ms / line.p50_ms
        differ = "" if line.mismatches is None else f"differ: {line.mismatches}"
        print(f"  {line.name:30} {line.images_per_s:8.1f} samples/s  {line.p50_ms:8.2f} ms  x{ratio:5.2f}  {differ}")
    if rows_file:
        append(rows_file, rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, help="append the measurements to this CSV file")
    parser.add_argument("--quick", action="store_true", help="16 files and 2 epochs")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        paths = write_files(Path(folder), 16 if options.quick else FILES)
        differing = verify(ways(device), paths, device)
        for workers in (1, 2):
            measure(options.rows, workers, 2 if options.quick else EPOCHS, paths, differing)
    return 0


if __name__ == "__main__":
    sys.exit(main())
