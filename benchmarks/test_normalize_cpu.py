"""One uint8 batch to its normalised tensors on the CPU, beside every peer, in turns within one run.

If ours differs from the reference in one bit, nothing is timed. "out" writes into the tensors of an earlier call;
"fresh" returns new ones, as peers do, and drops them, as a loop does.

    pytest benchmarks -m "not gpu" --rows benchmarks/results/cpu.csv
"""

from __future__ import annotations

import dataclasses

import pytest
import torch

import fastnorm
from benchmarks import pixels
from benchmarks.cells import CPU_NORMALIZE, SMALL
from benchmarks.measure import Contestant, in_turns, left_out, ours, publish, rows_of, wall_sample
from benchmarks.peers import Missing, NormalizeJob, make, mismatches
from benchmarks.peers.normalize import ALL, COMPILED, NOTES

ALL_MEASURED_AT = "16x512x512 and 8x224x224, float32 pairs"


@pytest.mark.parametrize("cell", CPU_NORMALIZE, ids=lambda cell: cell.name)
def test_normalize_on_the_cpu(benchmark, rows_file, rounds, cell):
    peers = cell.peers
    if benchmark.disabled:
        if cell is not CPU_NORMALIZE[0]:  # a compilation takes as long as all the rest; once is enough
            peers = tuple(peer for peer in peers if peer not in COMPILED)
        images, size = SMALL
        cell = dataclasses.replace(cell, images=images, sizes=(size,))
    batch = pixels.batch(cell.images, cell.sizes[0], cell.layout, "cpu")
    expected = fastnorm.reference.normalize(batch, cell.targets, dtype=cell.dtypes)
    outputs = [torch.full_like(want, float("nan")) for want in expected] if cell.memory == "out" else None

    def call():
        return fastnorm.fused_normalize(batch, cell.targets, dtype=cell.dtypes, out=outputs)

    assert mismatches(call(), expected) == 0, "not verified, not timed"
    contestants, missing = [ours(lambda: wall_sample(call))], left_out(peers, ALL, ALL_MEASURED_AT)
    job = NormalizeJob(batch, cell.layout, cell.targets, cell.dtypes)
    for peer in peers:
        function = make(peer, job)
        if isinstance(function, Missing):
            missing.append(function)
            continue
        contestants.append(
            Contestant(
                peer.name,
                peer.version(),
                lambda function=function: wall_sample(lambda: function(batch)),
                mismatches(function(batch), expected),
                NOTES.get(peer.name, ""),
            )
        )
    del expected  # 1.6 GB of the largest cells
    if in_turns(benchmark, contestants, missing, rounds(cell.rounds)):
        publish(benchmark, rows_of(cell.columns(), contestants, missing), rows_file)
