"""Samples per second and data time of the IP-Adapter tutorial's dataset, as published and with fastnorm: see README.md.
Before any is timed, every pipeline's tensors are compared with the Pillow backend's; those of examples/, with theirs.
"""

import importlib
import itertools
import os
import sys
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import fastnorm
from benchmarks.cells import photographs
from benchmarks.peers import mismatches
from benchmarks.peers.preprocess import published_chain, stacked
from benchmarks.rows import OURS, ROOT, Cell, version_of
from benchmarks.timing import Candidate
from examples import tiny

BATCH = 8
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# (height, width): about 1536 x 1024, upright and lying, as photographs come.
SIZES = ((1024, 1536), (1536, 1024), (1000, 1500), (1152, 1536), (1440, 1080), (960, 1706), (1280, 1280), (1600, 1066))


class Pipeline(NamedTuple):
    name: str
    version: str
    collate: Callable[[Iterator[Image.Image]], Any]  # of files as they are opened; in a worker where there are any
    finish: Callable[[Any], Any]  # in the training process
    compared: bool = True

    def loader(self, paths: list[Path], workers: int) -> DataLoader:
        # With persistent workers epochs are timed, not the starts of processes.
        options = {"num_workers": workers, "persistent_workers": workers > 0, "pin_memory": DEVICE.type == "cuda"}
        return DataLoader(paths, BATCH, collate_fn=lambda batch: self.collate(map(Image.open, batch)), **options)

    def epoch(self, loader: DataLoader) -> None:
        for batch in loader:
            self.finish(batch)


def _pipelines() -> list[Pipeline]:
    def to_device(tensors):
        return [tensor.to(DEVICE, non_blocking=True) for tensor in tensors]

    def as_the_tutorial(backend):
        chain = published_chain(backend)
        return lambda images: stacked([chain(image.convert("RGB")) for image in images])

    def preprocess(packed):
        return fastnorm.fused_dual_preprocess(packed.to(DEVICE, non_blocking=True))

    def decode(images):
        """How many there were."""
        return sum(image.load() is not None for image in images)

    def decode_to_as_much(images):
        return [torch.zeros(decode(images), 3, side, side) for side in (512, 224)]

    transformers, ours, pillow = version_of("transformers"), fastnorm.__version__, version_of("pillow")
    before = ((f"before ({backend} backend)", as_the_tutorial(backend)) for backend in ("Pillow", "torchvision"))
    return [
        *(Pipeline(name, transformers, collate, to_device) for name, collate in before),
        Pipeline(f"{OURS}, in workers", ours, lambda images: fastnorm.fused_dual_preprocess([*images]), to_device),
        Pipeline(f"{OURS}, in main", ours, lambda images: fastnorm.PackedImages.pack([*images]), preprocess),
        Pipeline("decode, and send as much", pillow, decode_to_as_much, to_device, compared=False),
        Pipeline("decode alone", pillow, decode, int, compared=False),
    ]


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
def pipelines(jpegs):
    """Each, and how many values of its tensors differ from the Pillow backend's; of ours none may."""
    verified, expected = {}, []
    for one in _pipelines():
        batches = list(map(one.finish, one.loader(jpegs, 0)))
        expected = expected or batches
        pairs = zip(batches, expected, strict=True)
        verified[one] = sum(mismatches(*pair) for pair in pairs) if one.compared else None
        assert not (one.name.startswith(OURS) and verified[one]), "not verified, not timed"
    return verified


NAME = "IP-Adapter dataset {} workers"
CELLS = [types.SimpleNamespace(workers=workers, quick=True, device="cpu") for workers in (0, 1, 2)]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: "cpu: " + NAME.format(cell.workers))
def test_end_to_end(suite, jpegs, pipelines, cell):
    note, shape = f"data time of one sample; {cell.workers} workers, batches of {BATCH}", f"{len(jpegs)} ragged"
    candidates = []
    for one, differing in pipelines.items():  # the first epoch, which is not counted, starts the workers
        epoch = partial(one.epoch, one.loader(jpegs, cell.workers))
        candidates.append(Candidate(one.name, one.version, epoch, len(jpegs), mismatches=differing, note=note))
    columns = Cell("end to end", NAME.format(cell.workers), shape, "JPEG", 2, "fp32+fp32", "fresh", images=1)
    suite.compare(columns, candidates, 5, DEVICE)


NAMES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/after.py"))
EXAMPLES = [types.SimpleNamespace(name=name, quick=False, device="cpu") for name in NAMES]
NOTE = "data time of one sample; workers are started for each epoch"
OF_RAY = "data time of one sample; Ray's processes stay, and cpu_ms leaves them out"


@pytest.fixture
def rays_processes(monkeypatch):
    """All that Ray starts find the examples, and stay until the cell ends: their imports take longer than an epoch."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("RAY_num_workers_soft_limit", "64")
    monkeypatch.setenv("RAY_idle_worker_killing_time_threshold_ms", "3600000")
    yield
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


@pytest.mark.usefixtures("rays_processes")
@pytest.mark.parametrize("cell", EXAMPLES, ids=lambda cell: f"cpu: examples/{cell.name}")
def test_examples(suite, jpegs, cell):
    folder, note = jpegs[0].parent, OF_RAY if cell.name == "ray_data" else NOTE
    scripts = [importlib.import_module(f"examples.{cell.name}.{script}") for script in ("after", "before")]
    pairs = zip(*(list(tiny.epoch(script, folder)) for script in scripts), strict=True)
    assert sum(mismatches(*pair) for pair in pairs) == 0, "not verified, not timed"
    epochs = [partial(tiny.samples, script, folder) for script in scripts]
    samples = epochs[0]()
    named = zip((OURS, "before"), (fastnorm.__version__, ""), epochs, strict=True)
    candidates = [Candidate(*what, samples, mismatches=0, note=note) for what in named]
    suite.compare(Cell("end to end", f"examples/{cell.name}", f"{samples} ragged", "JPEG", images=1), candidates, 5)
