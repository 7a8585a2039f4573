"""Rows read back and put side by side: per cell and name the times, and the ratio to ours within each run.

A ratio is taken between rows of one run only, which were measured in turns; over several runs their median and range
are shown. Everything that presents results (report, README table, scaling page) draws on `entries`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import NOT_RUN, RESULTS, Row, read

NORMALIZE, PREPROCESS, HOST, END_TO_END, BANDWIDTH = "normalize", "preprocess", "host", "end to end", "bandwidth"
OURS = "fastnorm"
NO_DRIVER = "driver that does nothing"  # what host time is without a GPU
COPY = "device copy"  # the cell that the others are compared with; filling memory, which only writes, is another


@dataclass(frozen=True)
class Spread:
    """One figure over several runs."""

    median: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        kept = sorted(values)
        return cls(statistics.median(kept), kept[0], kept[-1], len(kept)) if kept else None

    def inverse(self) -> Spread:
        return Spread(1 / self.median, 1 / self.high, 1 / self.low, self.runs)


@dataclass(frozen=True)
class Entry:
    """One name (ours or a peer's) in one cell on one device, over all its runs."""

    first: Row  # the first row: device, cell, version and all else that the runs share
    p20_ms: Spread | None
    p50_ms: Spread | None
    p80_ms: Spread | None
    gb_per_s: Spread | None
    copy_fraction: Spread | None
    images_per_s: Spread | None
    peak_mib: Spread | None
    ratio: Spread | None  # its time over ours in the same run: above 1, ours is faster; None for ours
    mismatches: int | None  # the largest of the runs; None where nothing was compared
    reason: str  # why it did not run; empty where it did

    @property
    def name(self) -> str:
        return self.first.name

    @property
    def is_ours(self) -> bool:
        return is_ours(self.first.name)

    @property
    def only_decodes(self) -> bool:
        """A row that only decodes, beside the pipelines that go on from there."""
        return _only_decodes(self.first)

    @property
    def exact(self) -> bool:
        return self.mismatches == 0

    @property
    def ran(self) -> bool:
        return self.p50_ms is not None


@dataclass(frozen=True)
class Cell:
    """Ours and the peers in one cell on one device."""

    device: str
    on_gpu: bool
    suite: str
    name: str
    entries: tuple[Entry, ...]

    @property
    def ours(self) -> Entry | None:
        return next((entry for entry in self.entries if entry.is_ours), None)

    @property
    def peers(self) -> list[Entry]:
        return [entry for entry in self.entries if entry is not self.ours]


def is_ours(name: str) -> bool:
    """`fastnorm`, or `fastnorm: ...` and `fastnorm, ...` where a suite has several of ours."""
    return name == OURS or name.startswith((f"{OURS}:", f"{OURS},", f"{OURS} "))


def load(folder: Path = RESULTS) -> list[Row]:
    """Every row of a folder's CSV files; a file that holds anything else raises. No folder has no rows."""
    return [row for path in sorted(folder.glob("*.csv")) for row in read(path)]


def on_gpu(row: Row) -> bool:
    return row.driver != ""


def cells(rows: Sequence[Row]) -> list[Cell]:
    """The rows grouped by device, suite and cell, in the order of their first appearance."""
    grouped: dict[tuple[str, bool, str, str], list[Row]] = {}
    for row in rows:
        grouped.setdefault((row.device, on_gpu(row), row.suite, row.cell), []).append(row)
    return [Cell(*key, entries=_entries(of_cell)) for key, of_cell in grouped.items()]


def roof(rows: Sequence[Row], device: str) -> Spread | None:
    """The device's own measured copy bandwidth, in GB/s, read and written bytes together."""
    copies = [row for row in rows if (row.suite, row.cell, row.device) == (BANDWIDTH, COPY, device)]
    return Spread.of(row.gb_per_s for row in copies if row.gb_per_s is not None)


def values_compared(row: Row) -> int | None:
    """How many values of a normalising row were compared with the contract; None where its shape does not say."""
    sides = row.shape.split("x")
    if row.suite != NORMALIZE or row.mismatches is None or not all(side.isdecimal() for side in sides):
        return None
    return math.prod(map(int, sides)) * len(row.dtypes.split("+"))


def _entries(of_cell: Sequence[Row]) -> tuple[Entry, ...]:
    by_name: dict[str, list[Row]] = {}
    for row in of_cell:
        by_name.setdefault(row.name, []).append(row)
    baseline = next((rows for name, rows in by_name.items() if is_ours(name)), [])
    baseline_of = {row.run: row for row in baseline}
    return tuple(_entry(rows, {} if rows is baseline else baseline_of) for rows in by_name.values())


def _only_decodes(row: Row) -> bool:
    return row.suite == END_TO_END and not is_ours(row.name) and "decod" in row.name.lower()


def _computes_on_the_cpu(row: Row) -> bool:
    """Host time without a GPU: torch.compile's call computes there; the others' launches reach a driver that does
    nothing."""
    return row.suite == HOST and not on_gpu(row) and row.name.startswith("torch.compile")


def _entry(rows: Sequence[Row], baseline_of: dict[str, Row]) -> Entry:
    def spread(column: str) -> Spread | None:
        return Spread.of(value for row in rows if (value := getattr(row, column)) is not None)

    rivals = (
        row for row in rows if row.run in baseline_of and not _only_decodes(row) and not _computes_on_the_cpu(row)
    )
    ratios = (_ratio(row, baseline_of[row.run]) for row in rivals)
    counts = [row.mismatches for row in rows if row.mismatches is not None]
    reasons = [row.note.removeprefix(NOT_RUN) for row in rows if row.note.startswith(NOT_RUN)]
    return Entry(
        first=rows[0],
        p20_ms=spread("p20_ms"),
        p50_ms=spread("p50_ms"),
        p80_ms=spread("p80_ms"),
        gb_per_s=spread("gb_per_s"),
        copy_fraction=spread("copy_fraction"),
        images_per_s=spread("images_per_s"),
        peak_mib=spread("peak_mib"),
        ratio=Spread.of(ratio for ratio in ratios if ratio is not None),
        mismatches=max(counts, default=None),
        reason=reasons[0] if reasons and not any(row.ran for row in rows) else "",
    )


def _ratio(row: Row, ours: Row) -> float | None:
    return row.p50_ms / ours.p50_ms if row.p50_ms and ours.p50_ms else None
