"""Contestants of one cell, timed in turns through pytest-benchmark, and the rows that come of it.

Every round times each contestant once, ours last, so that all meet the machine's same moods. A sample is a function
that returns the seconds of one call; pytest-benchmark's clock is the sum of our own samples, so that its table and the
rows show the same times, on the CPU and on a GPU.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

import fastnorm
from benchmarks.peers import Missing, Peer
from benchmarks.rows import Cell, Row, append, missing_row, row, run_id

OURS = "fastnorm"

_sampled = 0.0


def sampled_time() -> float:
    """The clock for pytest-benchmark: it stands still except where one of our own samples was taken."""
    return _sampled


def wall_sample(call: Callable[[], object]) -> float:
    """Seconds of one call, until its result has been dropped again."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@dataclass
class Contestant:
    name: str
    version: str
    sample: Callable[[], float]
    mismatches: int | None = None
    note: str = ""
    peak_mib: float | None = None
    cell: Cell | None = None  # its own columns, where they are not those of the comparison
    seconds: list[float] = field(default_factory=list)

    def take(self) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other packages' warnings are theirs
            self.seconds.append(self.sample())
        return self.seconds[-1]


def ours(sample: Callable[[], float], **columns) -> Contestant:
    return Contestant(OURS, fastnorm.__version__, sample, mismatches=0, **columns)


def in_turns(benchmark, contestants: Sequence[Contestant], missing: Sequence[Missing], rounds: int) -> bool:
    """Fill every contestant's seconds; the first is ours. Whether anything was timed: not with --benchmark-disable.

    There a peer that is no longer called as it wants to be is an error, so that the suite cannot rot.
    """
    first, *others = contestants
    broken = [m for m in missing if m.broken]
    assert not (broken and benchmark.disabled), f"peers to mend: {broken}"

    def one_round_of_others():
        for contestant in others:
            contestant.take()

    def ours_last():
        global _sampled
        _sampled += first.take()

    benchmark.pedantic(ours_last, setup=one_round_of_others, rounds=rounds, warmup_rounds=1)
    for contestant in contestants:
        del contestant.seconds[0]  # the round that warmed up
    return benchmark.enabled


def rows_of(
    cell: Cell,
    contestants: Sequence[Contestant],
    missing: Sequence[Missing],
    device: torch.device | str = "cpu",
    copy_gb_per_s: float | None = None,
) -> list[Row]:
    run = run_id(f"{torch.device(device).type} {cell.suite}")
    rows = [
        row(
            run,
            c.cell or cell,
            c.name,
            c.version,
            c.seconds,
            device=device,
            copy_gb_per_s=copy_gb_per_s,
            peak_mib=c.peak_mib,
            mismatches=c.mismatches,
            note=c.note,
        )
        for c in contestants
    ]
    return rows + [missing_row(run, cell, m.name, m.reason, device) for m in missing]


def publish(benchmark, rows: Sequence[Row], rows_file: Path | None) -> None:
    """To pytest-benchmark's own record, to the terminal (shown with -s), and to the file."""
    benchmark.group = f"{rows[0].suite}: {rows[0].cell}"
    own = rows[0].p50_ms
    print(f"\n{rows[0].cell}")
    for line in rows:
        if not line.ran:
            benchmark.extra_info[line.name] = line.note
            print(f"  {line.name:62} {line.note}")
            continue
        ratio = line.p50_ms / own
        benchmark.extra_info[line.name] = {"ratio": round(ratio, 2), "mismatches": line.mismatches}
        share = "" if line.copy_fraction is None else f"  {line.copy_fraction:6.1%} of copy"
        differ = "" if line.mismatches is None else f"  differ: {line.mismatches}"
        print(f"  {line.name:62} {line.p50_ms:10.4f} ms  x{ratio:7.2f}{share}{differ}  {line.note}")
    if rows_file:
        append(rows_file, rows)


def left_out(chosen: Sequence[Peer], every: Sequence[Peer], where: str) -> list[Missing]:
    """Peers that a cell does not measure, so that their absence shows."""
    names = {peer.name for peer in chosen}
    return [
        Missing(peer.name, f"left out of this cell, measured at {where}") for peer in every if peer.name not in names
    ]
