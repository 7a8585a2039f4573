"""The README's speed table, from benchmarks/results.

python -m benchmarks.readme_table           exit status 1 where the README and the rows say different things
python -m benchmarks.readme_table --write   bring the README up to date
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.blocks import NOT_MEASURED, ROOT, Block, add_write, markdown_table, run
from benchmarks.comparisons import (
    END_TO_END,
    NO_DRIVER,
    PREPROCESS,
    Cell,
    Entry,
    Spread,
    cells,
    is_ours,
    load,
    on_gpu,
)
from benchmarks.formats import milliseconds, significant, times
from benchmarks.goals import CPU_PAIR_FRESH, CPU_PAIR_OUT, GOALS, GPU_PAIR_FRESH, GPU_PAIR_OUT, ONE_CALL, Where, named
from benchmarks.rows import RESULTS, Row
from fastnorm.cli._ending import quietly

START = "<!-- speed table: python -m benchmarks.readme_table --write -->"
END = "<!-- end of speed table -->"
COMMAND = "benchmarks.readme_table"


@dataclass(frozen=True)
class Line:
    """One line of the table: which cell answers it on a CPU and on a GPU, and how."""

    what: str
    on_cpu: Where
    on_gpu: Where
    show: Callable[[Cell], str]


def _against(*peers: str) -> Callable[[Cell], str]:
    """How many times as long each of these peers takes; of a peer's variants, the fastest."""

    def show(cell: Cell) -> str:
        shown = []
        for peer in peers:
            timed = [(entry.ratio.median, entry) for entry in named(cell, peer) if entry.ratio is not None]
            if timed:
                entry = min(timed, key=lambda pair: pair[0])[1]
                shown.append(_ratio(cell, entry, peer))
        if cell.on_gpu and cell.ours is not None and cell.ours.copy_fraction is not None:
            shown.insert(0, f"{100 * cell.ours.copy_fraction.median:.0f}% of copy bandwidth")
        return ", ".join(shown)

    return show


def _ratio(cell: Cell, entry: Entry, peer: str) -> str:
    if entry.ratio is None:
        return ""
    goal = next((g for g in GOALS if g.on_gpu == cell.on_gpu and g.peer == peer and g.where.fits(cell)), None)
    notes = [part for part in (_range(entry.ratio), f"goal {goal.least:.3g}" if goal else "") if part]
    return f"{times(entry.ratio.median)} {entry.name}" + (f" ({'; '.join(notes)})" if notes else "")


def _range(spread: Spread) -> str:
    return f"{significant(spread.low)} to {significant(spread.high)}" if spread.runs > 1 else ""


def _host_time(cell: Cell) -> str:
    if cell.ours is None or cell.ours.p50_ms is None:
        return ""
    own = milliseconds(cell.ours.p50_ms.median)
    if not cell.on_gpu:
        return f"{own}, {NO_DRIVER}"
    peers = _against("torch.compile")(cell)
    return own + (f"; {peers}" if peers else "")


def _samples(cell: Cell) -> str:
    """Samples per second of every way, ours in bold."""
    shown = []
    for entry in cell.entries:
        if entry.images_per_s is not None:
            text = f"{significant(entry.images_per_s.median)} {entry.name}"
            shown.append(f"**{text}**" if entry.is_ours else text)
    return ", ".join(shown)


_ON_CPU_OR_GPU = ("torchvision v2", "DALI CPU", "torch.compile")
_CHAINS = ("torchvision + transformers (Pillow backend)", "DALI CPU", "torchvision v2 on the GPU", "DALI GPU")
_TWO_WORKERS = Where(END_TO_END, word=" 2 workers")
LINES = (
    Line("16x512x512 (GPU: 64), fp32 pair, `out=`", CPU_PAIR_OUT, GPU_PAIR_OUT, _against(*_ON_CPU_OR_GPU)),
    Line("the same, new outputs", CPU_PAIR_FRESH, GPU_PAIR_FRESH, _against(*_ON_CPU_OR_GPU)),
    Line(
        "resize + normalise, VAE 512 + CLIP 224",
        Where(PREPROCESS, word="all threads"),
        Where(PREPROCESS),
        _against(*_CHAINS),
    ),
    Line("host time of one call, new outputs", ONE_CALL, ONE_CALL, _host_time),
    Line("samples/s from JPEG files, 2 workers", _TWO_WORKERS, _TWO_WORKERS, _samples),
)


def render(folder: Path = RESULTS) -> str:
    """The table and one line on where its figures come from."""
    rows = load(folder)
    wrong = [row for row in rows if is_ours(row.name) and row.mismatches]
    if wrong:
        raise ValueError(
            f"{wrong[0].cell}: {wrong[0].mismatches} values of ours differ from the contract in run {wrong[0].run}; "
            f"wanted 0; measure again with what mends it"
        )
    of = cells(rows)
    table = [("two targets, bit for bit", "CPU", "GPU")]
    table += [(line.what, _answer(line, of, False), _answer(line, of, True)) for line in LINES]
    return "\n".join([markdown_table(table), *_provenance(rows)])


def _answer(line: Line, of: Sequence[Cell], gpu: bool) -> str:
    where = line.on_gpu if gpu else line.on_cpu
    shown = (line.show(cell) for cell in of if cell.on_gpu == gpu and where.fits(cell))
    return next((text for text in shown if text), NOT_MEASURED)


def _provenance(rows: Sequence[Row]) -> list[str]:
    """For each device: which it is, its threads, torch, and how often the table's first cell was measured."""
    lines = []
    for device, gpu in dict.fromkeys((row.device, on_gpu(row)) for row in rows):
        mine = [row for row in rows if (row.device, on_gpu(row)) == (device, gpu)]
        runs = max((cell.ours.p50_ms.runs for cell in cells(mine) if cell.ours and cell.ours.p50_ms), default=0)
        threads = " or ".join(sorted({str(row.threads) for row in mine}))
        versions = " or ".join(sorted({row.torch for row in mine}))
        where = f"{device}, driver {mine[0].driver}" if gpu else f"{device}, {threads} threads"
        lines.append(f"{'GPU' if gpu else 'CPU'}: {where}, torch {versions}; {runs} {'run' if runs == 1 else 'runs'}.")
    if not lines:
        return []
    return ["", "3x: that peer takes three times as long (range over runs). " + " ".join(lines)]


def block() -> Block:
    return Block(ROOT / "README.md", START, END, render)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_write(parser)
    return run(block(), COMMAND, parser.parse_args(argv).write)


if __name__ == "__main__":
    sys.exit(quietly("benchmarks.readme_table", main))
