"""What a call costs: on the CPU wall time; on CUDA device time, with nothing of it left in the cache: see README.md."""

import contextlib
import datetime
import functools
import math
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers import Missing, Timing
from benchmarks.rows import COPY, NOT_RUN, Cell, Sample, append, frame, row

SHOWN = ["name", "p50_ms", "cpu_ms", "ratio", "copy_fraction", "mismatches", "note"]
L2_MULTIPLE = 4  # of the cache's size, that the sets of one cell have at least
MIN_SETS = 2
SAMPLE_SECONDS = 2e-3  # one sample takes at least this long
BUSY_SAMPLE_SECONDS = 0.1  # beside busy processes: many slices of the scheduler, so that waiting for a core shows
COPY_BYTES = 1 << 30  # of the copy that bandwidth is measured by, read and written each
# The device waits for half a millisecond while the host begins to fill its queue; for 30 until a sample is queued.
SPIN_CYCLES = {Timing.GRAPH: 1_000_000, Timing.EVENTS: 1_000_000, Timing.QUEUED: 60_000_000}


def device(kind: str) -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if kind == "cuda" else torch.device(kind)


def sets_needed(set_bytes: int, on: torch.device) -> int:
    """How many sets of inputs and outputs outgrow the cache."""
    if on.type == "cpu":
        return 1
    l2_bytes = torch.cuda.get_device_properties(on).L2_cache_size
    return max(MIN_SETS, math.ceil(L2_MULTIPLE * l2_bytes / set_bytes))


def repeats_needed(seconds: float, sample: float = SAMPLE_SECONDS) -> int:
    """How often a run of this length is repeated within one sample."""
    return max(1, math.ceil(sample / max(seconds, 1e-7)))


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def cpu_seconds() -> float:
    """The time of all cores that this process and its workers have taken."""
    workers = [(~worker.pid << 3) | 2 for worker in multiprocessing.active_children()]  # as clock_getcpuclockid has it
    return time.process_time() + sum(map(time.clock_gettime, workers))


@contextlib.contextmanager
def busy(per_core: int) -> Iterator[None]:
    """As many processes for each core of this one compute, until the block, or this process, ends."""
    # Told who its parent is: one that has ended by then cannot be asked for.
    program = f"import os\nwhile os.getppid() == {os.getpid()}: sum(range(100_000))"
    with contextlib.ExitStack() as stack:
        for _ in range(per_core * len(os.sched_getaffinity(0))):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-S", "-c", program]))
            stack.callback(process.kill)  # then it is waited for
        yield


@dataclass
class Candidate:
    """A walk over all sets of inputs and outputs, how to time it, and what its row says."""

    name: str
    version: str
    run: Callable[[], object]
    calls: int = 1  # in one run
    timing: Timing = Timing.WALL
    mismatches: int | None = None
    note: str = ""
    repeats: int = 1  # of the run, in one sample
    peak_mib: float | None = None
    cell: Cell | None = None  # its own columns, where they are not those of the comparison
    kept: Sequence[object] = ()  # outputs that a graph writes
    within: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext  # where it is timed
    samples: list[Sample] = field(default_factory=list)

    def sample(self) -> Sample:
        """What one call took."""
        with self.within():
            calls, begun = self.calls * self.repeats, cpu_seconds()
            return Sample(self.seconds() / calls, (cpu_seconds() - begun) / calls)

    def seconds(self) -> float:
        """Of all repeats from an idle device on: by the clock, or between events queued while the device spins."""
        synchronize()
        if events := self.timing in SPIN_CYCLES:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda._sleep(SPIN_CYCLES[self.timing])
            start.record()
        begun = time.perf_counter()
        for _ in range(self.repeats):
            self.run()
        if events:
            end.record()
        if self.timing is not Timing.HOST:
            synchronize()
        return start.elapsed_time(end) / 1e3 if events else time.perf_counter() - begun


def candidate(name: str, version: str, calls: Sequence[Callable], on: torch.device, how: Timing, **shown) -> Candidate:
    """One call per set, ready to be timed: compiled, captured where that is how to time it, and with their repeats.

    What a graph does not take is timed by events, and its note says so.
    """
    made = Candidate(name, version, calls[0], 1, Timing.HOST, **shown)
    if on.type == "cpu":
        return made

    def walk() -> None:
        for call in calls:
            call()

    walk()
    synchronize()
    made.run, made.calls, made.timing = walk, len(calls), how
    if how is Timing.GRAPH:
        graph = torch.cuda.CUDAGraph()
        try:  # the outer context puts the stream back where a capture fails
            with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph):
                made.kept = [call() for call in calls]  # outputs, so that no call writes where an earlier one did
            made.run = graph.replay
        except RuntimeError:
            synchronize()
            made.timing = Timing.EVENTS
    made.sample()  # a graph's first replay uploads it
    made.repeats = repeats_needed(made.seconds())
    made.note = "; ".join(filter(None, [made.timing.value, made.note]))
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    calls[0]()
    synchronize()
    made.peak_mib = (torch.cuda.max_memory_allocated() - before) / 2**20  # of one call, beyond what was there before
    return made


def bandwidth(on: torch.device, kinds: Sequence[str]) -> Iterator[Candidate]:
    """On CUDA: a large copy, which reads and writes every byte once, and a large memset, which only writes."""
    for kind in kinds if on.type == "cuda" else ():
        source, target = (torch.randint(0, 256, (COPY_BYTES,), dtype=torch.uint8, device=on) for _ in range(2))
        call, name, note, moved = {
            "copy": (functools.partial(target.copy_, source), COPY, "bytes read + written", 2),
            "fill": (functools.partial(target.fill_, 7), "device fill", "bytes written", 1),
        }[kind]
        cell = Cell("bandwidth", name, str(COPY_BYTES), bytes_moved=moved * COPY_BYTES)
        yield candidate(f"torch {kind}_", torch.__version__, [call], on, Timing.EVENTS, note=note, cell=cell)


@dataclass
class Suite:
    """How the suite is run: whether anything is timed, how many rounds there are, and the folder that rows go to."""

    verify_only: bool = False
    quick: bool = False
    rows: Path | None = None

    def compare(self, cell: Cell, entries: Iterable[Candidate | Missing], rounds: int, device="cpu", busy_per_core=0):
        """Time the candidates in turns, beside busy processes where there are to be some, and publish their rows; the
        first is ours.

        Where nothing is timed, each is called once, and a peer that is no longer called correctly is an error, so that
        the suite cannot rot.
        """
        entries = list(entries)
        candidates = [entry for entry in entries if isinstance(entry, Candidate)]
        broken = [entry for entry in entries if isinstance(entry, Missing) and entry.broken]
        assert not (broken and self.verify_only), f"peers whose calls need fixing: {broken}"
        rounds = 0 if self.verify_only else min(rounds, 5) if self.quick else rounds
        with busy(busy_per_core if rounds else 0):
            for warm in range(1 + rounds):  # once to warm up
                for one in (*candidates[1:], candidates[0]):
                    one.samples.append(one.sample())
                    if busy_per_core and not warm:
                        one.repeats = repeats_needed(one.samples[0].wall, BUSY_SAMPLE_SECONDS)
        for one in candidates:
            del one.samples[0]
        self.publish(cell, entries, device)

    def publish(self, cell: Cell, entries: Sequence[Candidate | Missing], device="cpu"):
        """Show the rows of what was sampled, and add them to their file."""
        if self.verify_only:
            return
        entries = sorted(entries, key=lambda entry: isinstance(entry, Missing))  # those last
        kind, now = torch.device(device).type, datetime.datetime.now(datetime.timezone.utc)
        shared = {"run": f"{now:%Y%m%dT%H%M%S.%f} {kind} {cell.suite}", "device": device}
        for one in entries:
            if isinstance(one, Candidate) and one.cell and one.cell.cell == COPY:
                median = np.median([sample.wall for sample in one.samples])
                shared["copy_gb_per_s"] = one.cell.bytes_moved / median / 1e9
        rows = [
            row(cell, e.name, note=NOT_RUN + e.reason, **shared)
            if isinstance(e, Missing)
            else row(e.cell or cell, e.name, e.version, e.samples, e.mismatches, e.note, peak_mib=e.peak_mib, **shared)
            for e in entries
        ]
        shown = frame(rows).assign(ratio=lambda rows: rows["p50_ms"] / rows["p50_ms"][0])[SHOWN]
        print(f"\n{cell.cell}\n{shown.to_string(index=False, na_rep='')}")  # pytest shows it with -s
        if self.rows:
            append(self.rows / ("gpu.csv" if kind == "cuda" else "cpu.csv"), rows)
