"""Decoded photographs to the VAE's and the CLIP encoder's batches on the CPU, beside the published chains.

All on the same threads: on one, and on as many as torch has, where the chains run one picture after the other and in a
ThreadPoolExecutor. If ours differs from the reference in one bit, nothing is timed.

    pytest benchmarks -m "not gpu" --rows benchmarks/results/cpu.csv
"""

from __future__ import annotations

import dataclasses

import pytest
import torch

import fastnorm
from benchmarks import pixels
from benchmarks.cells import CPU_PREPROCESS, PAIR, SMALL_PICTURES
from benchmarks.measure import Contestant, in_turns, ours, publish, rows_of, wall_sample
from benchmarks.peers import Missing, PreprocessJob, make, mismatches
from benchmarks.peers.preprocess import ALL, THREADED

CPU = torch.device("cpu")


@pytest.fixture
def one_thread():
    """A way to ask for one thread until the test ends."""
    threads = torch.get_num_threads()
    yield lambda: torch.set_num_threads(1)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("cell", CPU_PREPROCESS, ids=lambda cell: cell.columns(CPU).name)
def test_preprocess_on_the_cpu(benchmark, rows_file, rounds, one_thread, cell):
    if benchmark.disabled:
        cell = dataclasses.replace(cell, sizes=SMALL_PICTURES)
    if cell.one_thread:
        one_thread()
    images = pixels.pictures(cell.sizes)
    expected = fastnorm.reference.preprocess(images, PAIR)

    def call():
        return fastnorm.fused_dual_preprocess(images)

    assert mismatches(call(), expected) == 0, "not verified, not timed"
    contestants, missing = [ours(lambda: wall_sample(call))], []
    job = PreprocessJob(images, PAIR, CPU)
    for peer in ALL:
        if cell.one_thread and peer in THREADED:
            missing.append(Missing(peer.name, "left out of this cell, which has one thread"))
            continue
        function = make(peer, job)
        if isinstance(function, Missing):
            missing.append(function)
            continue
        contestants.append(
            Contestant(
                peer.name,
                peer.version(),
                lambda function=function: wall_sample(lambda: function(images)),
                mismatches(function(images), expected),
            )
        )
    if in_turns(benchmark, contestants, missing, rounds(cell.rounds)):
        publish(benchmark, rows_of(cell.columns(CPU), contestants, missing), rows_file)
