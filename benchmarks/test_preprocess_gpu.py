"""Decoded pictures on a GPU to the VAE's and the CLIP encoder's batches: a batch of one size, and one of many.

Pictures are in device memory, as (N, H, W, 3), or one by one (in one buffer for ours) where their sizes differ. If ours
differs from the reference in one bit, nothing is timed. "events" are calls one after the other, as a loop makes them,
where the host's planning shows if it is slower than the device; with all calls queued ahead it is the device's share
alone.

    pytest benchmarks -m gpu --rows benchmarks/results/gpu.csv
"""

from __future__ import annotations

import dataclasses

import pytest

import fastnorm
from benchmarks import gpu_timing, pixels
from benchmarks.cells import GPU_PREPROCESS, PAIR, SMALL_PICTURES
from benchmarks.gpu_timing import Timing
from benchmarks.gpu_turns import (
    contestant_of,
    contestant_of_peer,
    copy_contestant,
    fill_contestant,
    gb_per_s,
)
from benchmarks.measure import OURS, in_turns, publish, rows_of
from benchmarks.peers import Missing, PreprocessJob, make, mismatches
from benchmarks.peers.preprocess import ALL
from fastnorm import PackedImages

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("free_memory")]


@pytest.mark.parametrize("cell", GPU_PREPROCESS, ids=lambda cell: cell.shape)
def test_preprocess_on_the_gpu(benchmark, rows_file, rounds, cell):
    if benchmark.disabled:
        cell = dataclasses.replace(cell, sizes=SMALL_PICTURES)
    device = gpu_timing.device()
    columns = cell.columns(device)
    sets = [
        _on_device(pixels.pictures(cell.sizes), device, cell.uniform)
        for _ in range(gpu_timing.sets_needed(columns.bytes_moved, gpu_timing.l2_bytes()))
    ]
    packed, pictures = sets[0]
    expected = fastnorm.reference.preprocess(packed, PAIR)
    for images, _ in sets:
        assert mismatches(fastnorm.fused_dual_preprocess(images), expected) == 0, "not verified, not timed"

    calls = [lambda images=images: fastnorm.fused_dual_preprocess(images) for images, _ in sets]
    contestants, missing = [contestant_of(OURS, fastnorm.__version__, calls, Timing.EVENTS, 0)], []
    job = PreprocessJob(pictures, PAIR, device)
    for peer in ALL:
        function = make(peer, job)
        if isinstance(function, Missing):
            missing.append(function)
            continue
        images = [images for _, images in sets]
        made = contestant_of_peer(peer, function, images, mismatches(function(pictures), expected))
        (missing if isinstance(made, Missing) else contestants).append(made)
    # A graph would replay the upload of a call's records from memory that has long been used again.
    contestants.append(contestant_of(f"{OURS}, device only", fastnorm.__version__, calls, Timing.QUEUED, 0))
    copy, fill = copy_contestant(), fill_contestant()
    if in_turns(benchmark, [*contestants, copy, fill], missing, rounds(cell.rounds)):
        rows = rows_of(columns, [*contestants, copy, fill], missing, device, gb_per_s(copy))
        publish(benchmark, rows, rows_file)


def _on_device(pictures, device, uniform):
    """The same pictures as ours takes them and as peers do."""
    packed = PackedImages.pack(pictures).to(device)
    if not uniform:
        return packed, [packed[index] for index in range(len(packed))]
    batch = packed.buffer.view(len(packed), *packed.sizes[0], 3)
    return batch, batch
