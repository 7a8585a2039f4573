"""Samples per second and data time of the IP-Adapter tutorial's dataset, as published and with fastnorm.

The dataset is that of tencent-ailab/IP-Adapter's tutorial_train.py without its text tokens. JPEG files lie on disk; a
torch DataLoader opens them with PIL and converts them to RGB, with 0, 1 and 2 workers. The pipelines:

    before        the published chains, with transformers' Pillow backend, and with its torchvision backend, which plain
                  CLIPImageProcessor means since transformers 5
    in workers    the dataset calls fastnorm.fused_dual_preprocess on its one image
    in main       the collate function packs decoded pixels, and the training process calls
                  fastnorm.fused_dual_preprocess on the batch: on the GPU where there is one
    decode        the dataset opens and decodes, and that is all: what no preprocessing can be faster than

Before any is timed, every pipeline's tensors are compared with the Pillow backend's. A row's time is an epoch's wall
time, from the first batch asked for (workers started and at rest) to the last one on its device, over its samples.
"""

import functools
import itertools
import operator
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import fastnorm
from benchmarks.peers import mismatches
from benchmarks.peers.preprocess import published_chain, stacked
from benchmarks.pixels import photographs
from benchmarks.rows import OURS, Cell, version_of
from benchmarks.timing import Candidate

BATCH = 8
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# (height, width): about 1536 x 1024, upright and lying, as photographs come.
SIZES = ((1024, 1536), (1536, 1024), (1000, 1500), (1152, 1536), (1440, 1080), (960, 1706), (1280, 1280), (1600, 1066))


class Files(Dataset):
    """JPEG files; what becomes of a decoded image is the pipeline's."""

    def __init__(self, paths: list[Path], make: Callable[[], Callable[[Image.Image], Any]]) -> None:
        self.paths, self.make = paths, make

    prepare = functools.cached_property(lambda self: self.make())  # in the worker

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return self.prepare(Image.open(self.paths[index]).convert("RGB"))


class Pipeline(NamedTuple):
    name: str
    version: str
    make: Callable[[], Callable[[Image.Image], Any]]
    collate: Callable[[list[Any]], Any]
    finish: Callable[[Any], Any]  # in the training process
    compared: bool = True

    def loader(self, paths: list[Path], workers: int) -> DataLoader:
        # With persistent workers epochs are timed, not the starts of processes.
        options = {"persistent_workers": workers > 0, "pin_memory": DEVICE.type == "cuda"}
        return DataLoader(Files(paths, self.make), BATCH, num_workers=workers, collate_fn=self.collate, **options)

    def epoch(self, loader: DataLoader) -> None:
        for batch in loader:
            self.finish(batch)


def _to_device(pair: Any) -> list[torch.Tensor]:
    return [tensor.to(DEVICE, non_blocking=True) for tensor in pair]


def _preprocess(packed: fastnorm.PackedImages) -> Any:
    return fastnorm.fused_dual_preprocess(packed.to(DEVICE, non_blocking=True))


_TRANSFORMERS, _FASTNORM = version_of("transformers"), fastnorm.__version__
_PILLOW, _TORCHVISION = (partial(published_chain, backend) for backend in ("Pillow", "torchvision"))
_PACK = fastnorm.PackedImages.pack
PIPELINES = (
    Pipeline("before (Pillow backend)", _TRANSFORMERS, _PILLOW, stacked, _to_device),
    Pipeline("before (torchvision backend)", _TRANSFORMERS, _TORCHVISION, stacked, _to_device),
    Pipeline(f"{OURS}, in workers", _FASTNORM, lambda: fastnorm.fused_dual_preprocess, stacked, _to_device),
    Pipeline(f"{OURS}, in main", _FASTNORM, lambda: lambda i: torch.from_numpy(np.array(i)), _PACK, _preprocess),
    Pipeline("decode alone", version_of("pillow"), lambda: operator.attrgetter("size"), list, list, compared=False),
)


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory, pytestconfig):
    """Photographs of camera-like sizes as JPEG files, the same on every run."""
    few = pytestconfig.getoption("--quick") or pytestconfig.getoption("--verify-only")
    folder = tmp_path_factory.mktemp("jpegs")
    paths = [folder / f"{index:03}.jpg" for index in range(16 if few else 64)]
    distinct = photographs([SIZES[index % len(SIZES)] for index in range(min(len(paths), 40))])  # five in eight sizes
    for path, image in zip(paths, itertools.cycle(distinct), strict=False):
        image.save(path, quality=90)
    return paths


@pytest.fixture(scope="module")
def differing(jpegs):
    """How many values of each pipeline's tensors differ from the Pillow backend's; of ours none may."""
    found, expected = {}, []
    for pipeline in PIPELINES:
        batches = [pipeline.finish(batch) for batch in pipeline.loader(jpegs, 0)]
        expected = expected or batches
        pairs = zip(batches, expected, strict=True)
        found[pipeline.name] = sum(mismatches(*pair) for pair in pairs) if pipeline.compared else None
        assert not (pipeline.name.startswith(OURS) and found[pipeline.name]), "not verified, not timed"
    return found


CELLS = [types.SimpleNamespace(workers=workers, quick=True, device="cpu") for workers in (0, 1, 2)]


def name_of(workers):
    return f"IP-Adapter dataset {workers} workers"


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"cpu: {name_of(cell.workers)}")
def test_end_to_end(suite, jpegs, differing, cell):
    note, shape = f"data time of one sample; {cell.workers} workers, batches of {BATCH}", f"{len(jpegs)} ragged"
    candidates = []
    for one in PIPELINES:  # the first epoch, which is not counted, starts the workers and imports the packages
        epoch, differ = partial(one.epoch, one.loader(jpegs, cell.workers)), differing[one.name]
        candidates.append(Candidate(one.name, one.version, epoch, len(jpegs), mismatches=differ, note=note))
    columns = Cell("end to end", name_of(cell.workers), shape, "JPEG", 2, "fp32+fp32", "fresh", images=1)
    suite.compare(columns, candidates, 5, DEVICE)
