"""uint8 batches to their normalised tensors on a GPU: device time beside every peer and a large copy, in turns.

If ours differs from the reference in one bit, nothing is timed. How the device is timed, and why nothing comes from its
cache, is in gpu_timing.py; the note of a row says which way it was timed. "of copy" is the bandwidth of the least that
must be moved over that of a large device copy in the same turns.

    pytest benchmarks -m gpu --rows benchmarks/results/gpu.csv
"""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch

import fastnorm
from benchmarks import gpu_timing, pixels
from benchmarks.cells import GPU_NORMALIZE, SMALL
from benchmarks.gpu_timing import Timing
from benchmarks.gpu_turns import contestant_of, contestant_of_peer, copy_contestant, gb_per_s
from benchmarks.measure import OURS, in_turns, left_out, publish, rows_of
from benchmarks.peers import Missing, NormalizeJob, make, mismatches
from benchmarks.peers.normalize import ALL, NOTES

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("free_memory")]
ALL_MEASURED_AT = "64x512x512 and 1x224x224, float32 pairs"


@pytest.mark.parametrize("cell", GPU_NORMALIZE, ids=lambda cell: cell.name)
def test_normalize_on_the_gpu(benchmark, rows_file, rounds, cell):
    if benchmark.disabled:
        images, size = SMALL
        cell = dataclasses.replace(cell, images=images, sizes=(size,) * len(cell.sizes))
    columns, device = cell.columns(), gpu_timing.device()
    count = max(gpu_timing.sets_needed(columns.bytes_moved, gpu_timing.l2_bytes()), len(cell.sizes))
    count = -(-count // len(cell.sizes)) * len(cell.sizes)  # each size as often as the others
    batches = [
        pixels.batch(cell.images, size, cell.layout, device, seed)
        for seed, size in zip(range(count), itertools.cycle(cell.sizes), strict=False)
    ]

    outputs = [None] * count
    if cell.memory == "out":
        outputs = [_poisoned(cell, batch) for batch in batches]

    def ours(batch, out):
        return fastnorm.fused_normalize(batch, cell.targets, dtype=cell.dtypes, out=out)

    for batch, out in zip(batches, outputs, strict=True):
        expected = fastnorm.reference.normalize(batch, cell.targets, dtype=cell.dtypes)
        assert mismatches(ours(batch, out), expected) == 0, "not verified, not timed"

    calls = [lambda batch=batch, out=out: ours(batch, out) for batch, out in zip(batches, outputs, strict=True)]
    timing = Timing.GRAPH if cell.memory == "out" else Timing.EVENTS
    contestants = [contestant_of(OURS, fastnorm.__version__, calls, timing, 0)]
    missing = left_out(cell.peers, ALL, ALL_MEASURED_AT)
    expected = fastnorm.reference.normalize(batches[0], cell.targets, dtype=cell.dtypes)
    job = NormalizeJob(batches[0], cell.layout, cell.targets, cell.dtypes)
    for peer in cell.peers:
        function = make(peer, job)
        if isinstance(function, Missing):
            missing.append(function)
            continue
        # Fresh memory is part of what is timed there, for ours and for peers alike.
        timing = Timing.EVENTS if cell.memory == "fresh" and peer.timing is Timing.GRAPH else peer.timing
        note = NOTES.get(peer.name, "")
        if note and len(cell.sizes) > 1:
            note = f"has compiled for {len(cell.sizes)} resolutions"
        made = contestant_of_peer(peer, function, batches, mismatches(function(batches[0]), expected), note, timing)
        (missing if isinstance(made, Missing) else contestants).append(made)
    copy = copy_contestant()
    if in_turns(benchmark, [*contestants, copy], missing, rounds(cell.rounds)):
        rows = rows_of(columns, [*contestants, copy], missing, device, gb_per_s(copy))
        publish(benchmark, rows, rows_file)


def _poisoned(cell, batch):
    planes = batch.permute(0, 3, 1, 2) if cell.layout == "NHWC" else batch
    return [torch.full(planes.shape, float("nan"), dtype=dtype, device=batch.device) for dtype in cell.dtypes]
