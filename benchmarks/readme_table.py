"""The README's speed table, from benchmarks/results.

python -m benchmarks.readme_table           exit status 1 where the README and the rows say different things
python -m benchmarks.readme_table --write   bring the README up to date
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from benchmarks.comparisons import NO_DRIVER, at, entries, records
from benchmarks.formats import milliseconds, significant, span, times
from benchmarks.generated import NOT_MEASURED, bring_up_to_date
from benchmarks.goals import CPU_PAIR_FRESH, CPU_PAIR_OUT, GOALS, GPU_PAIR_FRESH, GPU_PAIR_OUT, ONE_CALL, fastest
from benchmarks.rows import RESULTS, ROOT, load
from fastnorm.cli._ending import quietly

COMMAND = "benchmarks.readme_table"
START, END = f"<!-- speed table: python -m {COMMAND} --write -->", "<!-- end of speed table -->"


def _against(peers: Sequence[str], cell: pd.DataFrame) -> str:
    """How many times as long each of these peers takes; of a peer's variants, the fastest."""
    own = records(cell[cell["ours"]])[:1]
    shown = [f"{100 * line['copy_fraction']:.0f}% of copy bandwidth" for line in own if line["copy_fraction"]]
    for peer in peers:
        line = fastest(cell, peer)
        if line is not None:
            goals = [g for g in GOALS if (g.on_gpu, g.peer) == (line["gpu"], peer) and len(at(cell, g.where))]
            after = "; ".join(filter(None, [span(line), *(f"goal {goal.minimum:.3g}" for goal in goals[:1])]))
            shown.append(f"{times(line['ratio'])} {line['name']}" + (f" ({after})" if after else ""))
    return ", ".join(shown)


def _host_time(cell: pd.DataFrame) -> str:
    for line in records(cell[cell["ours"] & cell["p50_ms"].notna()]):
        time = milliseconds(line["p50_ms"])
        peers = _against(["torch.compile"], cell) if line["gpu"] else ""
        return "; ".join(filter(None, [time, peers])) if line["gpu"] else f"{time}, {NO_DRIVER}"
    return ""


def _samples(cell: pd.DataFrame) -> str:
    """Samples per second of every pipeline, ours in bold."""
    timed = records(cell.dropna(subset=["images_per_s"]))
    shown = [(f"{significant(line['images_per_s'])} {line['name']}", line["ours"]) for line in timed]
    return ", ".join(f"**{text}**" if ours else text for text, ours in shown)


_PAIR = partial(_against, ("torchvision v2", "DALI CPU", "torch.compile"))
_CHAINS = ("torchvision + transformers (Pillow backend)", "DALI CPU", "torchvision v2 on the GPU", "DALI GPU")
_PREPROCESS, _ALL_THREADS = "suite == 'preprocess'", "suite == 'preprocess' and cell.str.contains('all threads')"
_TWO_WORKERS = "suite == 'end to end' and cell.str.contains(' 2 workers')"
# What a line is about, which cell answers it on a CPU and on a GPU, and how.
LINES = (
    ("16x512x512 (GPU: 64), fp32 pair, `out=`", CPU_PAIR_OUT, GPU_PAIR_OUT, _PAIR),
    ("the same, new outputs", CPU_PAIR_FRESH, GPU_PAIR_FRESH, _PAIR),
    ("resize + normalise, VAE 512 + CLIP 224", _ALL_THREADS, _PREPROCESS, partial(_against, _CHAINS)),
    ("host time of one call, new outputs", ONE_CALL, ONE_CALL, _host_time),
    ("samples/s from JPEG files, 2 workers", _TWO_WORKERS, _TWO_WORKERS, _samples),
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
    lines = ["| two targets, bit for bit | CPU | GPU |", "|---|---|---|"]
    for what, on_cpu, on_gpu, show in LINES:
        answers = []
        for where, gpu in ((on_cpu, False), (on_gpu, True)):
            cells = at(table[table["gpu"] == gpu], where).groupby(["device", "cell"], sort=False)
            answers.append(next(filter(None, (show(cell) for _, cell in cells)), NOT_MEASURED))
        lines.append(f"| {what} | {answers[0]} | {answers[1]} |")
    sources = []
    for (device, driver), own in rows.groupby(["device", "driver"], sort=False):
        runs = table[(table["device"] == device) & table["ours"]]["runs"].max()
        threads, versions = (" or ".join(sorted(own[c].astype(str).unique())) for c in ("threads", "torch"))
        where = f"GPU: {device}, driver {driver}" if driver else f"CPU: {device}, {threads} threads"
        sources.append(f" {where}, torch {versions}; {runs} {'run' if runs == 1 else 'runs'}.")
    if sources:
        lines += ["", "3x: that peer takes three times as long (range over runs)." + "".join(sources)]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table; without it, exit 1 where it is old")
    return bring_up_to_date(ROOT / "README.md", START, END, content(), parser.parse_args(argv).write, COMMAND)


if __name__ == "__main__":
    sys.exit(quietly(COMMAND, main))
