"""What the project set out to reach, and what the rows say: shown side by side, reached or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.comparisons import HOST, NORMALIZE, Cell, Entry, Spread


@dataclass(frozen=True)
class Where:
    """Which cells are meant; an empty text fits every cell."""

    suite: str
    shape: str = ""  # how the shape begins
    dtypes: str = ""
    layout: str = ""
    memory: str = ""
    word: str = ""  # in the cell's name
    without: str = ""  # not in the cell's name

    def fits(self, cell: Cell) -> bool:
        row = cell.entries[0].first
        return (
            row.suite == self.suite
            and (row.shape == self.shape or row.shape.startswith(f"{self.shape}x") or not self.shape)
            and self.dtypes in ("", row.dtypes)
            and self.layout in ("", row.layout)
            and self.memory in ("", row.memory)
            and self.word in row.cell
            and not (self.without and self.without in row.cell)
        )


@dataclass(frozen=True)
class Goal:
    """At least `least` times a peer's speed, or, without a peer, at least that share of the copy bandwidth."""

    on_gpu: bool
    where: Where
    peer: str
    least: float

    @property
    def text(self) -> str:
        if not self.peer:
            return f"at least {100 * self.least:.0f}% of the device's own copy bandwidth"
        if self.least < 1:
            return f"at most {1 / self.least:.2f}x the time of {self.peer}"
        return f"at least {self.least:g}x as fast as {self.peer}"


@dataclass(frozen=True)
class Judged:
    """A goal in one cell; `measured` is None where there is no such row."""

    goal: Goal
    cell: Cell
    measured: Spread | None

    @property
    def reached(self) -> bool | None:
        return None if self.measured is None else self.measured.median >= self.goal.least


CPU_PAIR_OUT = Where(NORMALIZE, "16x512x512", "fp32+fp32", "NHWC", "out")
CPU_PAIR_FRESH = Where(NORMALIZE, "16x512x512", "fp32+fp32", "NHWC", "fresh")
GPU_PAIR_OUT = Where(NORMALIZE, "64x512x512", "fp32+fp32", "NHWC", "out")
GPU_PAIR_FRESH = Where(NORMALIZE, "64x512x512", "fp32+fp32", "NHWC", "fresh")
GPU_PAIR = Where(NORMALIZE, "64x512x512")
GPU_VARYING = Where(NORMALIZE, word="resolutions")
ONE_CALL = Where(HOST, "1x224x224", memory="fresh")

GOALS = (
    Goal(False, CPU_PAIR_OUT, "DALI CPU", 1.0),
    Goal(False, CPU_PAIR_OUT, "torchvision v2", 8.0),
    Goal(False, CPU_PAIR_FRESH, "torchvision v2", 3.0),
    Goal(True, GPU_PAIR, "", 0.92),
    Goal(True, GPU_PAIR, "torch.compile (dynamic=False)", 1 / 1.03),
    Goal(True, GPU_VARYING, "torch.compile (auto-dynamic)", 1.5),
    Goal(True, GPU_PAIR, "torchvision v2", 6.0),
    Goal(True, ONE_CALL, "torch.compile", 2.0),
)


def judge(cells: Sequence[Cell]) -> list[Judged]:
    """Every goal in every cell that it is about."""
    judged = []
    for goal in GOALS:
        for cell in cells:
            if cell.on_gpu == goal.on_gpu and goal.where.fits(cell) and cell.ours is not None:
                judged += [Judged(goal, cell, measured) for measured in _measured(goal, cell, cell.ours)]
    return judged


def named(cell: Cell, peer: str) -> list[Entry]:
    """The cell's peers of this name, or of this name and a variant, as in `torch.compile (...)`."""
    return [e for e in cell.peers if e.name.startswith(peer) and not e.name[len(peer) :][:1].isalnum()]


def _measured(goal: Goal, cell: Cell, ours: Entry) -> list[Spread]:
    """The share of the bandwidth, or the ratio to the fastest peer of that name."""
    if not goal.peer:
        return [ours.copy_fraction] if ours.copy_fraction else []
    ratios = [entry.ratio for entry in named(cell, goal.peer) if entry.ratio is not None]
    return sorted(ratios, key=lambda ratio: ratio.median)[:1]
