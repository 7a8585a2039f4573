"""One uint8 batch to two float32 tensors on the CPU, beside every peer, in turns within one run.

Each timing is preceded by a verification: if ours differs from the reference in one bit, nothing is timed. "out" writes
into the tensors of an earlier call; "fresh" returns new ones, as peers do, and drops those of the round before, as a
loop does.

    pytest benchmarks --rows benchmarks/results/cpu.csv
"""

from __future__ import annotations

import datetime
import time

import pytest
import torch

import fastnorm
from benchmarks.peers import CPU_PEERS, as_tensors, make_all
from benchmarks.rows import append, missing_row, row
from fastnorm import CLIP, VAE
from fastnorm_kernels._normalize_kernels import bytes_moved

TARGETS = (VAE, CLIP)
ROUNDS = 21

SHAPES = {"16x512x512": (16, 512, 512), "8x224x224": (8, 224, 224), "1x224x224": (1, 224, 224)}


def mismatches(result, expected) -> int:
    return sum(int((got.float() != want).sum()) for got, want in zip(as_tensors(result), expected, strict=True))


def timed(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@pytest.mark.parametrize("memory", ["out", "fresh"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_pair(benchmark, rows_file, shape, memory):
    n, height, width = shape
    batch = torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = fastnorm.reference.normalize(batch, TARGETS)
    outputs = None
    if memory == "out":
        outputs = [output.fill_(float("nan")) for output in fastnorm.fused_normalize(batch, TARGETS)]

    def ours():
        return fastnorm.fused_normalize(batch, TARGETS, out=outputs)

    for got, want in zip(ours(), expected, strict=True):
        assert torch.equal(got, want), "not verified, not timed"

    calls, missing = make_all(CPU_PEERS, batch, TARGETS)
    differing = {peer: mismatches(call(), expected) for peer, call in calls.items()}
    seconds = {peer: [] for peer in calls}

    def one_round_of_peers():
        for peer, call in calls.items():
            seconds[peer].append(timed(call))

    benchmark.group = f"{'x'.join(map(str, shape))} NHWC, float32 pair, {memory}"
    benchmark.pedantic(ours, setup=one_round_of_peers, rounds=ROUNDS, warmup_rounds=1)

    if benchmark.stats is None:  # --benchmark-disable: everything has run and was verified, nothing was timed
        return

    run = f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%dT%H%M%S} cpu pair {memory}"
    own = benchmark.stats.stats.data
    moved = bytes_moved(batch.numel(), [expected[0].element_size()] * len(TARGETS))
    rows = [row(run, f"fastnorm {memory}", fastnorm.__version__, batch, own, moved, 0)]
    for peer, times in seconds.items():
        rows.append(
            row(run, peer.name, peer.version(), batch, times[1:], moved, differing[peer])  # [0] warms up
        )
        benchmark.extra_info[peer.name] = {
            "ratio": round(rows[-1].p50_ms / rows[0].p50_ms, 2),
            "mismatches": differing[peer],
        }
    for peer in missing:
        rows.append(missing_row(run, peer.name, peer.reason, batch))
        benchmark.extra_info[peer.name] = f"not run: {peer.reason}"
    for line in rows:
        print(f"{line.name:34} {line.p50_ms:9.3f} ms  x{line.p50_ms / rows[0].p50_ms:6.2f}  differ: {line.mismatches}")
    if rows_file:
        append(rows_file, rows)
