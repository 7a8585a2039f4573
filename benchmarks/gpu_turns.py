"""Contestants on a GPU: functions over rotating sets, and the copy that they are held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks import gpu_timing
from benchmarks.comparisons import COPY
from benchmarks.gpu_timing import Timing
from benchmarks.measure import Contestant
from benchmarks.peers import Function, Missing, Peer
from benchmarks.rows import Cell, quantile


def contestant_of(
    name: str,
    version: str,
    calls: Sequence[Callable[[], object]],
    timing: Timing,
    mismatches: int | None,
    note: str = "",
) -> Contestant:
    """One call per set, ready to be timed; what a graph does not take is timed by events, and its note says so."""
    peak = gpu_timing.peak_mib(calls[0])
    try:
        runner = gpu_timing.runner(calls, timing)
    except RuntimeError:
        if timing is not Timing.GRAPH:
            raise
        torch.cuda.synchronize()
        runner = gpu_timing.runner(calls, Timing.EVENTS)
    note = "; ".join(filter(None, [runner.timing.value, note]))
    return Contestant(name, version, runner, mismatches, note, peak)


def contestant_of_peer(
    peer: Peer, function: Function, sets: Sequence[Any], mismatches: int, note: str = "", timing: Timing | None = None
) -> Contestant | Missing:
    calls = [lambda batch=batch: function(batch) for batch in sets]
    try:
        return contestant_of(peer.name, peer.version(), calls, timing or peer.timing, mismatches, note)
    except RuntimeError as error:  # out of memory, or a compiled function that another size breaks
        return Missing(peer.name, f"{type(error).__name__}: {str(error).splitlines()[0]}")


def copy_contestant() -> Contestant:
    cell = Cell("bandwidth", COPY, shape=str(gpu_timing.COPY_BYTES), bytes_moved=gpu_timing.copy_bytes_moved())
    return Contestant(
        "torch copy_", torch.__version__, gpu_timing.copy_runner(), note="bytes read + written", cell=cell
    )


def fill_contestant() -> Contestant:
    cell = Cell("bandwidth", "device fill", shape=str(gpu_timing.COPY_BYTES), bytes_moved=gpu_timing.COPY_BYTES)
    return Contestant("torch fill_", torch.__version__, gpu_timing.fill_runner(), note="bytes written", cell=cell)


def gb_per_s(contestant: Contestant) -> float:
    """The median bandwidth of the copy."""
    return contestant.cell.bytes_moved / quantile(contestant.seconds, 0.5) / 1e9
