"""The README's speed table, from benchmarks/results.

python -m benchmarks.readme_table           exit status 1 where the README and the rows say different things
python -m benchmarks.readme_table --write   bring the README up to date
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from benchmarks.comparisons import NO_DRIVER, at, entries, records
from benchmarks.formats import milliseconds, significant, span, times
from benchmarks.generated import NOT_MEASURED, bring_up_to_date, markdown_table
from benchmarks.goals import CPU_PAIR_FRESH, CPU_PAIR_OUT, GOALS, GPU_PAIR_FRESH, GPU_PAIR_OUT, ONE_CALL, fastest
from benchmarks.rows import RESULTS, ROOT, load
from fastnorm.cli._ending import quietly

README = ROOT / "README.md"
COMMAND = "benchmarks.readme_table"
START, END = f"<!-- speed table: python -m {COMMAND} --write -->", "<!-- end of speed table -->"


class Line(NamedTuple):
    """One line of the table: which cell answers it on a CPU and on a GPU, and how."""

    what: str
    on_cpu: str
    on_gpu: str
    show: Callable[[pd.DataFrame], str]


def _against(*peers: str) -> Callable[[pd.DataFrame], str]:
    """How many times as long each of these peers takes; of a peer's variants, the fastest."""

    def show(cell: pd.DataFrame) -> str:
        own = records(cell[cell["ours"]])[:1]
        shown = [f"{100 * o['copy_fraction']:.0f}% of copy bandwidth" for o in own if o["gpu"] and o["copy_fraction"]]
        for peer in peers:
            line = fastest(cell, peer)
            if line is not None:
                goals = [g for g in GOALS if g.on_gpu == line["gpu"] and g.peer == peer and len(at(cell, g.where))]
                notes = [span(line), *(f"goal {goal.minimum:.3g}" for goal in goals[:1])]
                after = "; ".join(filter(None, notes))
                shown.append(f"{times(line['ratio'])} {line['name']}" + (f" ({after})" if after else ""))
        return ", ".join(shown)

    return show


def _host_time(cell: pd.DataFrame) -> str:
    own = cell[cell["ours"]].dropna(subset=["p50_ms"])
    if own.empty:
        return ""
    time = milliseconds(own["p50_ms"].iloc[0])
    if not cell["gpu"].iloc[0]:
        return f"{time}, {NO_DRIVER}"
    return "; ".join(filter(None, [time, _against("torch.compile")(cell)]))


def _samples(cell: pd.DataFrame) -> str:
    """Samples per second of every pipeline, ours in bold."""
    timed = records(cell.dropna(subset=["images_per_s"]))
    mark = {True: "**", False: ""}
    return ", ".join(f"{mark[e['ours']]}{significant(e['images_per_s'])} {e['name']}{mark[e['ours']]}" for e in timed)


_PEERS = ("torchvision v2", "DALI CPU", "torch.compile")
_CHAINS = ("torchvision + transformers (Pillow backend)", "DALI CPU", "torchvision v2 on the GPU", "DALI GPU")
_PREPROCESS, _ALL_THREADS = "suite == 'preprocess'", "suite == 'preprocess' and cell.str.contains('all threads')"
_TWO_WORKERS = "suite == 'end to end' and cell.str.contains(' 2 workers')"
LINES = (
    Line("16x512x512 (GPU: 64), fp32 pair, `out=`", CPU_PAIR_OUT, GPU_PAIR_OUT, _against(*_PEERS)),
    Line("the same, new outputs", CPU_PAIR_FRESH, GPU_PAIR_FRESH, _against(*_PEERS)),
    Line("resize + normalise, VAE 512 + CLIP 224", _ALL_THREADS, _PREPROCESS, _against(*_CHAINS)),
    Line("host time of one call, new outputs", ONE_CALL, ONE_CALL, _host_time),
    Line("samples/s from JPEG files, 2 workers", _TWO_WORKERS, _TWO_WORKERS, _samples),
)


def content(folder: Path = RESULTS) -> str:
    """The table and one line on where its figures come from."""
    rows = load(folder)
    table = entries(rows)
    for wrong in records(table[table["ours"] & (table["mismatches"].fillna(0) > 0)]):
        raise ValueError(
            f"{wrong['cell']}: got {wrong['mismatches']} values of ours that differ from the contract, expected 0; "
            f"fix it and measure again"
        )
    lines = [("two targets, bit for bit", "CPU", "GPU")]
    lines += [(line.what, _answer(line, table, False), _answer(line, table, True)) for line in LINES]
    return "\n".join([markdown_table(lines), *_provenance(rows, table)])


def _answer(line: Line, table: pd.DataFrame, gpu: bool) -> str:
    cells = at(table[table["gpu"] == gpu], line.on_gpu if gpu else line.on_cpu)
    shown = (line.show(cell) for _, cell in cells.groupby(["device", "cell"], sort=False))
    return next((text for text in shown if text), NOT_MEASURED)


def _provenance(rows: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """For each device: which it is, its threads, torch, and in how many runs."""
    lines = []
    for (device, driver), own in rows.groupby(["device", "driver"], sort=False):
        runs = table[(table["device"] == device) & table["ours"]]["runs"].max()
        threads, versions = (" or ".join(sorted(own[c].astype(str).unique())) for c in ("threads", "torch"))
        where = f"{device}, driver {driver}" if driver else f"{device}, {threads} threads"
        counted = f"{runs} {'run' if runs == 1 else 'runs'}"
        lines.append(f"{'GPU' if driver else 'CPU'}: {where}, torch {versions}; {counted}.")
    return ["", "3x: that peer takes three times as long (range over runs). " + " ".join(lines)] if lines else []


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table; without it, exit 1 where it is old")
    return bring_up_to_date(README, START, END, content(), parser.parse_args(argv).write, COMMAND)


if __name__ == "__main__":
    sys.exit(quietly(COMMAND, main))
