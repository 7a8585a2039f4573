"""Preprocessing on the CPU: Pillow resizes, one job per image and resized size, and the CPU path normalises.

Between the two lies a batch of uint8 pixels, a quarter of what the float32 outputs take. Branches that show the same
pixels of every image share one, and so one resize.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from PIL import Image

from fastnorm import _cpu, _host_memory
from fastnorm._branch import Branch
from fastnorm._geometry import Geometry
from fastnorm._resampling import Filter
from fastnorm._resize_pillow import Codes, Picture, resize_into

# The resized pixels of all branches that wait for normalisation. Large batches are taken in groups of images, at least
# one per thread.
MOST_WAITING = 64 << 20

_Map = Callable[[Callable[[Any], object], Iterable[Any]], Iterable[object]]


def preprocess(images: Sequence[Picture], branches: Sequence[Branch]) -> None:
    """Write every branch's output.

    Args:
        images: Pillow images of mode "RGB", or uint8 CPU tensors (H, W, 3) with any strides.
        branches: What becomes of them, with one geometry per image; outputs on the CPU, with any strides.
    """
    if not images:
        return
    shares: dict[tuple[Filter, tuple[Geometry, ...]], list[Branch]] = {}
    for branch in branches:
        shares.setdefault((branch.kernel, branch.geometries), []).append(branch)
    threads = torch.get_num_threads()
    group = max(threads, MOST_WAITING // max(1, sum(_bytes_per_image(share[0]) for share in shares.values())))
    with _workers(min(threads, len(images) * len(shares))) as run:
        # A file is read when its pixels are first asked for, which two threads must not do at once.
        _exhaust(run(_load, {id(image): image for image in images}.values()))
        for start in range(0, len(images), group):
            _preprocess_group(images, slice(start, min(start + group, len(images))), list(shares.values()), run)


def _preprocess_group(images: Sequence[Picture], part: slice, shares: Sequence[Sequence[Branch]], run: _Map) -> None:
    batches = [_host_memory.empty((part.stop - part.start, *_output(share[0]), 3), torch.uint8) for share in shares]
    jobs = [
        (codes, images[index], share[0].geometries[index], share[0].kernel)
        for share, batch in zip(shares, batches, strict=True)
        for index, codes in enumerate(batch.numpy(), part.start)
    ]
    jobs.sort(key=_work, reverse=True)  # so that no thread begins a large image when the others are done
    _exhaust(run(_resize, jobs))
    for share, batch in zip(shares, batches, strict=True):
        targets, outputs = [b.normalization for b in share], [b.output[part] for b in share]
        _cpu.normalize(batch.permute(0, 3, 1, 2), targets, outputs)


def _load(image: Picture) -> None:
    if isinstance(image, Image.Image):
        image.load()


_Job = tuple[Codes, Picture, Geometry, Filter]


def _resize(job: _Job) -> None:
    resize_into(*job)


def _work(job: _Job) -> int:
    source = job[2].source
    return source.height * source.width


def _bytes_per_image(branch: Branch) -> int:
    height, width = _output(branch)
    return height * width * 3


def _output(branch: Branch) -> tuple[int, ...]:
    return tuple(branch.output.shape[-2:])


@contextlib.contextmanager
def _workers(threads: int) -> Iterator[_Map]:
    """A `map` over threads of its own, which end with the call: a process that forks later has none to lose.

    One thread, which is what a DataLoader's workers have, is the caller's.
    """
    if threads <= 1:
        yield map
    else:
        with ThreadPoolExecutor(threads, "fastnorm") as pool:
            yield pool.map


def _exhaust(results: Iterable[object]) -> None:
    """Wait for all of them; the first exception among them is raised, and what has not begun then never does."""
    collections.deque(results, maxlen=0)
