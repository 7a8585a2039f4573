"""Fair timing of several calls in one run: in turns, so that all meet the same conditions."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence

import torch

# A round lasts at least this long, so that the clock's and the launch's jitter are small against it.
MIN_ROUND_SECONDS = 0.02
_MAX_REPEATS = 1000


def interleaved(
    calls: Sequence[Callable[[], object]],
    device: torch.device,
    rounds: int,
    advance: Callable[[int], object] = lambda _: None,
) -> list[float]:
    """Median seconds per call over `rounds` rounds, each of which times every call once, after a warm-up.

    `advance` is called with 1 after the warm-up and after every round.
    """
    repeats = []
    for call in calls:
        _seconds(call, 1, device)  # the first call compiles, allocates and faults in memory
        repeats.append(min(_MAX_REPEATS, math.ceil(MIN_ROUND_SECONDS / max(_seconds(call, 1, device), 1e-6))))
    advance(1)
    times = []
    for _ in range(rounds):
        times.append([_seconds(call, n, device) for call, n in zip(calls, repeats, strict=True)])
        advance(1)
    return [statistics.median(column) for column in zip(*times, strict=True)]


def _seconds(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    _synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    _synchronize(device)
    return (time.perf_counter() - start) / repeats


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
