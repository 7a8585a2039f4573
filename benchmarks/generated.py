"""Generated parts of README.md and SCALING.md, from the rows in benchmarks/results; exit status 1 where a text and the
rows say different things.
"""

import argparse
import contextlib
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from cogapp import Cog

from benchmarks import goals
from benchmarks.comparisons import NO_DRIVER, entries, records
from benchmarks.report import shown
from benchmarks.rows import RESULTS, ROOT, load
from fastnorm.cli._ending import quietly
from fastnorm.cli._text import plural

TEXTS = (ROOT / "README.md", PAGE := ROOT / "benchmarks" / "SCALING.md")  # what cog finds between its markers there

_PREPROCESS, _TWO_WORKERS = "suite == 'preprocess'", "suite == 'end to end' and cell.str.contains(' 2 workers')"
_OWN_CALL, _COMPILED_CALL = f"{goals.ONE_CALL} and ours", f"{goals.ONE_CALL} and name.str.startswith('torch.compile')"
_V2, _PUBLISHED = (f" and name == '{peer}'" for peer in ("torchvision v2", goals.PUBLISHED))
_ALL_THREADS = f"{_PREPROCESS} and cell.str.contains('all threads')"
# What a line is about, which rows answer it on a CPU and on a GPU (None: they cannot), and their figure.
LINES = [
    ("one 1536x1024 photograph to VAE 512 + CLIP 224, one thread", goals.PHOTOGRAPH + _PUBLISHED, None, "cpu_ratio"),
    ("8x1024x1024 (GPU: 32) likewise, all threads", _ALL_THREADS, _PREPROCESS, "ratio"),
    ("16x512x512 (GPU: 64) normalised, fp32 pair, `out=`", goals.CPU_PAIR_OUT + _V2, goals.GPU_PAIR_OUT + _V2, "ratio"),
    ("the same", goals.CPU_PAIR_OUT, goals.GPU_PAIR_OUT, "ratio"),
    ("the same, new outputs", goals.CPU_PAIR_FRESH + _V2, goals.GPU_PAIR_FRESH + _V2, "ratio"),
    ("share of copy bandwidth, 64x512x512, fp32 pair, `out=`", None, f"{goals.GPU_PAIR_OUT} and ours", "copy_fraction"),
    (f"host time of one call, new outputs (CPU: {NO_DRIVER})", _OWN_CALL, _OWN_CALL, "p50_ms"),
    ("host time of torch.compile over ours", None, _COMPILED_CALL, "ratio"),
]
_OWN, _FLOORS = ("fastnorm, in workers", "fastnorm, in main"), ("decode, and send as much", "decode alone")
for pipeline in (*goals.BEFORE, *_OWN, *_FLOORS):
    where = f"{_TWO_WORKERS} and name == '{pipeline}'"
    LINES.append((f"samples/s from JPEG files, 2 workers: {pipeline}", where, where, "images_per_s"))


def _answer(table: pd.DataFrame, where: str, figure: str) -> dict[str, Any] | None:
    """The line of the first cell that has this figure; of ratios, that of the fastest peer."""
    compared = figure.endswith("ratio")
    lines = table.query(where + " and not ours" * compared, engine="python").dropna(subset=[figure])
    lines = lines[lines["cell"] == lines["cell"].head(1).squeeze()]
    return next(iter(records((lines.sort_values(figure) if compared else lines).head(1))), None)


def _line(table: pd.DataFrame, what: str, on_cpu: str | None, on_gpu: str | None, figure: str) -> str:
    """One line of the table; its head names the peers of ratios."""
    queries = ((False, on_cpu), (True, on_gpu))
    lines = [_answer(table[table["gpu"] == gpu], where, figure) if where else None for gpu, where in queries]
    peers = list(dict.fromkeys(line["name"] for line in lines if line)) if figure.endswith("ratio") else []
    head = ", ".join([what, *(f"against {name}" for name in peers[:1])]) + "".join(f" (GPU: {n})" for n in peers[1:])
    measured = [shown(line[figure], figure) if line else "not yet measured" for line in lines]
    return f"| {head} | {measured[0] if on_cpu else '-'} | {measured[1] if on_gpu else '-'} |"


def readme_table(folder: Path = RESULTS) -> str:
    """The README's table, one figure a cell, and one line on where its figures come from."""
    rows = load(folder)
    table = entries(rows)
    for wrong in records(table[table["ours"] & (table["mismatches"] > 0).fillna(False)]):
        differ = f"got {wrong['mismatches']} values of ours that differ from the contract, expected 0"
        raise ValueError(f"{wrong['cell']}: {differ}; fix it and measure again")
    lines = ["| two targets, bit for bit | CPU | GPU |", "|---|---|---|", *(_line(table, *line) for line in LINES)]
    notes = [
        "2x: that peer takes twice as long (on one thread, of CPU time). Where it is neither torchvision's nor the "
        "published chain, it is the fastest that was measured, exact or not."
    ]
    for (device, driver), own in rows.groupby(["device", "driver"], sort=False):
        threads, torch = (" or ".join(map(str, sorted(own[column].unique()))) for column in ("threads", "torch"))
        where = f"GPU: {device}, driver {driver}" if driver else f"CPU: {device}, {threads} threads"
        runs = table[table["ours"] & (table["device"] == device)]["runs"].max()
        notes.append(f"{where}, torch {torch}; {plural(runs, 'run')}.")
    return "\n".join([*lines, "", " ".join(notes)] if notes[1:] else lines)


CORES, DISK = 64, 2e9  # of a node, and bytes a second that it reads: assumed
NODES, BILLION, MANY = (1, 10, 100), 1e9, 100_000


def encode_table(folder: Path = RESULTS) -> str:
    """What encoding a billion images takes, by encoder, from the rows of `benchmarks.encode`."""
    rows = load(folder)
    head = [
        "encoder",
        "images",
        "images/s, a core",
        f"engine at {MANY:,}",
        "a row",
        "all rows",
        "read, twice",
        "bound by",
    ]
    head += [plural(count, "node") for count in NODES]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for (device, cell), own in rows[rows["suite"] == "encode"].groupby(["device", "cell"], sort=False):
        by_name = own.groupby("name")[["p50_ms", "cpu_ms"]].median()
        whole, loop = by_name.loc["fastnorm encode"], by_name.loc["bare loop"]
        steady = by_name.loc["fastnorm encode, under way"] if "fastnorm encode, under way" in by_name.index else whole
        count, size, row = (int(one.replace(",", "")) for one in re.findall(r"[\d,]+", own["note"].iloc[-1]))
        begins = count * (whole["p50_ms"] - steady["p50_ms"])
        engine = (begins / MANY + steady["p50_ms"]) / loop["p50_ms"] - 1
        rates = {"cores": CORES * 1e3 / steady["cpu_ms"], "disk": DISK / (2 * size)}
        bound = min(rates, key=lambda name: rates[name])
        hours = " | ".join(f"{BILLION / (count * rates[bound]) / 3600:,.1f} h" for count in NODES)
        lines.append(
            f"| {cell.removeprefix('encode: ')} | {count:,}, {device} | {1e3 / steady['cpu_ms']:,.3g} | {engine:+.0%} "
            f"| {row:,} B | {row * BILLION / 1e12:,.2f} TB | {2 * size * BILLION / 1e12:,.0f} TB | {bound} | {hours} |"
        )
    return "\n".join(lines) if lines[2:] else "Not yet measured."


def worked_example(given: dict[str, Any] | None = None) -> str:
    """What the program in SCALING.md prints; the names that it uses are left in `given`."""
    program = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)[1]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(program, PAGE.name, "exec"), {} if given is None else given)
    return printed.getvalue().rstrip()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generated", description=__doc__)
    parser.add_argument("--write", action="store_true", help="bring the texts up to date")
    mode = "-r" if parser.parse_args(argv).write else "--check"
    failed = "--check-fail-msg=it and benchmarks/results differ; run: python -m benchmarks.generated --write"
    return bool(Cog().main(["cog", mode, "-P", "--verbosity=1", failed, *map(str, TEXTS)]))


if __name__ == "__main__":
    sys.exit(quietly("benchmarks.generated", main))
