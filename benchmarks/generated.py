"""What cog puts between its markers in README.md and SCALING.md, from the rows in benchmarks/results.

`python -m cogapp -P -r README.md benchmarks/SCALING.md` brings both up to date; `--check` in place of `-r` compares.
"""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import goals
from benchmarks.comparisons import NO_DRIVER, entries, records
from benchmarks.report import shown
from benchmarks.rows import RESULTS, load
from fastnorm.cli._text import plural

PAGE = Path(__file__).parent / "SCALING.md"

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


def printed(index: int, given: dict[str, Any] | None = None) -> str:
    """What the programs of SCALING.md print, of which each goes on where the one before ended: that of one of them.
    Their names are left in `given`."""
    programs = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    names = {} if given is None else given
    for program in programs[: index + 1]:
        with contextlib.redirect_stdout(io.StringIO()) as text:
            exec(compile(program, PAGE.name, "exec"), names)
    return text.getvalue().rstrip()
