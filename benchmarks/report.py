"""One self-contained HTML page with charts from rows: it opens from a mail or a disk, without a network, in light and
in dark. `fastnorm bench` ends with it.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from benchmarks.comparisons import CELL, NO_DRIVER, entries, is_ours, peak_bandwidth, records
from benchmarks.goals import CPU_PAIR_FRESH, CPU_PAIR_OUT, GPU_PAIR_FRESH, GPU_PAIR_OUT, GPU_VARYING, judge
from benchmarks.rows import OURS, RESULTS, load
from fastnorm.cli._ending import quietly
from fastnorm.cli._text import plural, print_table, significant

NORMALIZE, PREPROCESS, HOST, END_TO_END, BANDWIDTH = "normalize", "preprocess", "host", "end to end", "bandwidth"
ENCODE = "encode"
SUITES = {
    NORMALIZE: "Normalising", PREPROCESS: "Resizing and normalising", "contended": "Beside busy processes",
    HOST: "Host time of one call", END_TO_END: "End to end", ENCODE: "A data set encoded once", BANDWIDTH: "Bandwidth",
}  # fmt: skip
HEADLINES = (CPU_PAIR_OUT, CPU_PAIR_FRESH, GPU_PAIR_OUT, GPU_PAIR_FRESH, GPU_VARYING)
STEADY = 2.0  # rounds further apart than this factor do not measure the code alone
_ROUND = [digit * 10.0**power for power in range(-4, 7) for digit in (1, 2, 5)]  # where an axis has ticks
_FEW = 4  # cells of a suite that are drawn; the charts of the others are folded away


def shown(value: float, figure: str) -> str:
    """A value as it is printed, by the name of its column."""
    if figure.endswith("_ms"):
        return f"{significant(value)} ms" if value >= 1 else f"{significant(1e3 * value)} us"
    return f"{100 * value:.0f}%" if figure == "copy_fraction" else significant(value) + "x" * figure.endswith("ratio")


def span(line: dict[str, Any]) -> str:
    """The range of the ratio over several runs, or nothing."""
    low, high = line["ratio_low"], line["ratio_high"]
    return f"{significant(low)} to {significant(high)}" if line["ratio_runs"] > 1 and low is not None else ""


def chart(lines: pd.DataFrame, figure: str, axis: str, limit: float | None = None) -> dict[str, Any] | None:
    """What the page draws, in percent of its width: bars from 0, of ratios from 1 on a logarithmic axis, and a line at
    `limit` or where they start. A thin line is the range of the rounds of all runs."""
    lines = lines.dropna(subset=[figure])
    if lines.empty:
        return None
    value, log = lines[figure], figure == "ratio"
    ends = ("rounds_low", "rounds_high") if log else ("p80_ms_high", "p20_ms_low")
    low, high = (lines[e].fillna(value) if log else value * (lines["p50_ms"] / lines[e]).fillna(1.0) for e in ends)
    start, scale = (1.0, math.log) if log else (0.0, float)
    least, most = (end(start, limit or start, *value, *low, *high) for end in (min, max))
    first, last, step = scale(least), scale(most), next(n for n in _ROUND if n >= most / 5)
    steps = _ROUND[::3] if log and last - first > math.log(50) else _ROUND  # where many would overlap, powers of ten
    ticks = [n for n in steps if least <= n] if log else [n * step for n in range(6)]

    def place(value: float) -> float:
        return 100 * (scale(value) - first) / ((last - first) or 1)

    def between(one: float, other: float) -> str:
        left, right = sorted((place(one), place(other)))
        return f"left: {left:.2f}%; width: {right - left:.2f}%"

    return {
        "axis": axis, "figure": figure, "line": f"left: {place(limit or start):.2f}%",
        "ticks": [(f"{n:g}" + "x" * log, f"left: {place(n):.2f}%") for n in ticks if n <= most],
        "bars": [
            (line, between(start, line[figure]), between(*ends))
            for line, *ends in zip(records(lines), low, high, strict=True)
        ],
    }  # fmt: skip


def _cell(cell: pd.DataFrame, title: str) -> dict[str, Any]:
    """What the page says of one cell: what it is, its lines, and its chart: the closest peers first."""
    if (suite := cell["suite"].iloc[0]) in (END_TO_END, ENCODE):
        drawn = chart(cell, "images_per_s", f"{title}, samples per second: more is better")
    else:
        ratios = cell.sort_values("ratio", kind="stable")
        drawn = chart(ratios, "ratio", "a peer's time / ours: right of 1x, fastnorm is faster")
    return {
        "name": cell["cell"].iloc[0], "what": records(cell)[0], "chart": drawn if suite != BANDWIDTH else None,
        "unsteady": list(cell[cell["variation"] > STEADY]["name"]), "lines": records(cell[cell["runs"] > 0]),
    }  # fmt: skip


def machine(device: str, gpu: bool, lines: pd.DataFrame, rows: pd.DataFrame) -> dict[str, Any]:
    """What the page says of one device."""
    own = rows[(rows["device"] == device) & ((rows["driver"] != "") == gpu)]
    suites = {}
    for suite, title in (SUITES | ({} if gpu else {HOST: f"Host time, {NO_DRIVER}"})).items():
        cells = [_cell(cell, title) for _, cell in lines[lines["suite"] == suite].groupby("cell", sort=False)]
        if ran := [cell | {"folded": n >= _FEW} for n, cell in enumerate(cells) if cell["lines"]]:
            suites[title] = ran
    moved = lines[lines["suite"].isin([NORMALIZE, PREPROCESS]) & (lines["name"] == OURS)]
    peak, axis = peak_bandwidth(lines, device), "GB/s, bytes read and written: more is better"
    return {
        "label": f"{'GPU' if gpu else 'CPU'}: {device}",
        "provenance": {column: list(own[column].astype(str).unique()) for column in own},
        "versions": list(own[own["name"].map(is_ours) & (own["version"] != "")]["version"].unique()),
        "goals": judge(own), "bandwidth": chart(moved, "gb_per_s", axis, peak), "peak": peak, "suites": suites,
        "absent": lines[lines["runs"] == 0].groupby(["name", "reason"], sort=False)["cell"].agg(list).items(),
    }  # fmt: skip


def verdict(rows: pd.DataFrame) -> tuple[bool, str]:
    """Whether ours has the contract's bits wherever that was compared, and the line that says so."""
    compared = rows[rows["name"].map(is_ours).astype(bool)]["mismatches"].dropna()
    text = f"{compared.sum():,} values of fastnorm differ from the contract in {plural(len(compared), 'row')}"
    exact = len(compared) > 0 and compared.sum() == 0
    return bool(exact), f"Exactness: {text if len(compared) else 'no value was compared'}."


def page(rows: pd.DataFrame, problems: Sequence[str] = ()) -> str:
    """The whole HTML document; GPUs come first."""
    groups = entries(rows).sort_values("gpu", ascending=False, kind="stable").groupby(["gpu", "device"], sort=False)
    machines = [machine(device, gpu, lines, rows) for (gpu, device), lines in groups]
    ran = rows[rows["p50_ms"].notna()]
    options = {"autoescape": True, "undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), **options)
    environment.filters |= {"shown": shown, "span": span, "plural": plural}
    return environment.get_template("report.html.j2").render(
        machines=machines, problems=problems, verdict=verdict(rows), steady=STEADY,
        suites=[suite for suite in SUITES if (ran["suite"] == suite).any()],
        counts={"measurement": len(ran), "cell": ran.groupby(CELL[1:]).ngroups, "run": ran["run"].nunique()},
    )  # fmt: skip


def summary(rows: pd.DataFrame) -> list[tuple[str, ...]]:
    """The short table of the terminal: ours beside each peer in the headline cells."""
    table = entries(rows)
    headlines = pd.concat([table.query(where, engine="python") for where in HEADLINES]).index
    chosen = table[table.index.isin(headlines) | table["suite"].isin([PREPROCESS, HOST, END_TO_END])]
    chosen = chosen.dropna(subset=["ratio"]).sort_values("gpu", ascending=False, kind="stable")
    lines = [("cell", "peer", "its time / ours", "range", "values that differ")]
    for cell, peer in zip(chosen["cell"].mask(chosen.duplicated(CELL), ""), records(chosen), strict=True):
        differ = "not compared" if peer["mismatches"] is None else f"{peer['mismatches']:,}"
        lines.append((cell, peer["name"], shown(peer["ratio"], "ratio"), span(peer), differ))
    return lines


def make(folder: Path, output: Path, problems: Sequence[str] = ()) -> int:
    """The report of a folder's rows, and its short table."""
    rows = load(folder)
    if rows["p50_ms"].isna().all():
        print(f"{folder}: got no measurement in its CSV files, expected some; run: fastnorm bench", file=sys.stderr)
        return 1
    output.mkdir(parents=True, exist_ok=True)
    path = output / "report.html"
    path.write_text(page(rows, problems), encoding="utf-8")
    print_table(summary(rows), "llrrr")
    print(f"{verdict(rows)[1]}\nreport: {path}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("rows", nargs="?", type=Path, default=RESULTS, metavar="FOLDER", help="where the CSV files are")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where the page goes (default: beside the rows)")
    options = parser.parse_args(argv)
    return make(options.rows, options.output or options.rows)


if __name__ == "__main__":
    sys.exit(quietly("benchmarks.report", main))
