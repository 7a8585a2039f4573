"""Device time on CUDA: what a call costs when nothing that it touches is left in the cache.

A call is timed over several sets of inputs and outputs in rotation, together well past the L2 cache, and the sets are
walked until a sample lasts milliseconds. There are four ways, and a row's note says which one was taken:

    graph replay    the calls are captured in a CUDA graph, whose replays leave out the host
    events          around calls one after the other, launched while the device is kept busy: the host shows only where
                    it is slower than the device
    queued ahead    the same, with the device kept busy until all calls are queued: the device's share of calls that
                    plan for longer than they compute, and that a graph cannot hold
    wall clock      between two synchronisations of the device, for packages with streams of their own

Nothing here touches CUDA when it is imported; what can be said without a device is tested without one.
"""

from __future__ import annotations

import enum
import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

L2_MULTIPLE = 4  # of the cache's size, that the sets of one cell have at least
LEAST_SETS = 2
SAMPLE_SECONDS = 2e-3  # one sample takes at least this long
COPY_BYTES = 1 << 30  # of the copy that bandwidth is measured by, read and written each
SPIN_CYCLES = 1_000_000  # about half a millisecond: the device waits while the host begins to fill its queue
LONG_SPIN_CYCLES = 60_000_000  # about 30 ms: until the host has queued a whole sample of slow calls


class Timing(enum.Enum):
    """How a function's work is timed; the text is the rows' note."""

    GRAPH = "graph replay"
    EVENTS = "events"
    QUEUED = "events, all calls queued ahead"
    WALL = "wall clock"


def sets_needed(set_bytes: int, l2_bytes: int) -> int:
    """How many sets of inputs and outputs outgrow the cache."""
    return max(LEAST_SETS, math.ceil(L2_MULTIPLE * l2_bytes / set_bytes))


def repeats_needed(seconds: float) -> int:
    """How often a run of this length is repeated within one sample."""
    return max(1, math.ceil(SAMPLE_SECONDS / max(seconds, 1e-7)))


def device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device())


def l2_bytes() -> int:
    return torch.cuda.get_device_properties(device()).L2_cache_size


@dataclass
class Runner:
    """A walk over all sets, and how to time it; calling it gives one sample: seconds per call."""

    run: Callable[[], object]
    calls: int  # in one run
    timing: Timing
    repeats: int = 1
    kept: list[object] = field(default_factory=list)  # outputs that a graph writes

    def __call__(self) -> float:
        if self.timing is Timing.WALL:
            seconds = wall_seconds(self.run, self.repeats)
        else:
            spin = LONG_SPIN_CYCLES if self.timing is Timing.QUEUED else SPIN_CYCLES
            seconds = event_seconds(self.run, self.repeats, spin)
        return seconds / (self.calls * self.repeats)


def runner(calls: Sequence[Callable[[], object]], timing: Timing) -> Runner:
    """Prepare calls, one per set: compile, capture where `timing` allows it, and choose the repeats."""
    for call in calls:
        call()
    torch.cuda.synchronize()
    made = (
        _captured(calls) if timing is Timing.GRAPH else Runner(functools.partial(_one_after_another, calls), 0, timing)
    )
    made.calls = len(calls)
    made()  # a graph's first replay uploads it
    made.repeats = repeats_needed(made() * made.calls)
    return made


def _captured(calls: Sequence[Callable[[], object]]) -> Runner:
    """A graph of all calls. Their outputs are kept, so that no call writes where an earlier one did."""
    graph = torch.cuda.CUDAGraph()
    # The outer context puts the stream back where a capture fails.
    with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph):
        kept = [call() for call in calls]
    return Runner(graph.replay, len(calls), Timing.GRAPH, kept=[graph, *kept])


def _one_after_another(calls: Sequence[Callable[[], object]]) -> None:
    for call in calls:
        call()


def event_seconds(run: Callable[[], object], repeats: int, spin_cycles: int) -> float:
    """Device seconds of `repeats` runs on the current stream, queued while the device spins."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    torch.cuda._sleep(spin_cycles)
    start.record()
    for _ in range(repeats):
        run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def wall_seconds(run: Callable[[], object], repeats: int) -> float:
    """Seconds from an idle device to an idle device, the host's share included."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def copy_runner() -> Runner:
    """A large device-to-device copy; what it moves is `copy_bytes_moved`."""
    source = torch.randint(0, 256, (COPY_BYTES,), dtype=torch.uint8, device=device())
    destination = torch.empty_like(source)
    return runner([lambda: destination.copy_(source)], Timing.EVENTS)


def fill_runner() -> Runner:
    """A large memset; it only writes."""
    destination = torch.empty(COPY_BYTES, dtype=torch.uint8, device=device())
    return runner([lambda: destination.fill_(7)], Timing.EVENTS)


def copy_bytes_moved() -> int:
    """Every byte read once and written once."""
    return 2 * COPY_BYTES


def peak_mib(call: Callable[[], object]) -> float:
    """What one call allocates at its highest point, beyond what was there before, in MiB."""
    call()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20
