"""Rows side by side: per cell and name the figures over all runs, and the ratio to ours within each run.

A ratio is taken between rows of one run only, which were measured in turns; over several runs their median and range
are shown. Everything that presents results (report, README table, scaling page) draws on `entries`.
"""

from typing import Any

import pandas as pd

from benchmarks.rows import COPY, NOT_RUN, OURS

NO_DRIVER = "driver that does nothing"  # what host time is without a GPU

CELL = ["gpu", "device", "suite", "cell"]
FIGURES = ["p20_ms", "p50_ms", "p80_ms", "cpu_ms", "gb_per_s", "copy_fraction", "peak_mib", "images_per_s"]
RATIOS = {"ratio": ("p50", "p50"), "cpu_ratio": ("cpu", "cpu")}  # of which times, a peer's and ours
_SHARED = ["ours", "part", "reason", "version", "shape", "layout", "dtypes", "memory", "threads", "note"]


def is_ours(name: str) -> bool:
    """`fastnorm`, or `fastnorm: ...` and `fastnorm, ...` where a suite has several of ours."""
    return name == OURS or name.startswith((f"{OURS}:", f"{OURS},", f"{OURS} "))


def entries(rows: pd.DataFrame, own_name: str = "") -> pd.DataFrame:
    """One line per device, cell and name, in the order of their first appearance.

    Every figure is the median of the runs, with `_low` and `_high` for their range. `ratio` is its time over ours in
    the same run (above 1, ours is faster; empty for ours), `cpu_ratio` the same of CPU time; ours is the row of
    `own_name`, else the first of ours. `rounds_low` and `rounds_high` bound the ratio by rounds: from its fast ones
    (20%) over our slow ones (80%) to the reverse. `variation` is how many times as long the slow rounds of all runs
    took as the fast ones. `part` marks a row that does a part of the work, beside those that do all of it.
    `mismatches` is the largest of the runs, `reason` why it did not run.
    """
    name, gpu, ours = rows["name"], rows["driver"] != "", rows["name"].map(is_ours).astype(bool)
    part = name.str.endswith(" alone")
    # Host time without a GPU: torch.compile's call computes there, while the others' launches do nothing.
    computes = (rows["suite"] == "host") & ~gpu & name.str.startswith("torch.compile")
    not_run = rows["note"].str.startswith(NOT_RUN)
    reason = rows["note"].str.removeprefix(NOT_RUN).where(not_run)
    rows = rows.assign(gpu=gpu, ours=ours, part=part, rival=~(part | computes), reason=reason)

    first = rows[name == own_name if own_name else ours].drop_duplicates(CELL)[[*CELL, "name"]]
    own = rows.merge(first, on=[*CELL, "name"]).drop_duplicates([*CELL, "run"], keep="last")
    own = own[[*CELL, "run", "name", "p20_ms", "p50_ms", "p80_ms", "cpu_ms"]]
    rows = rows.merge(own, on=[*CELL, "run"], how="left", suffixes=("", "_ours"))
    compared = rows["rival"] & (rows["name"] != rows["name_ours"])
    for ratio, (theirs, ours) in {**RATIOS, "rounds_low": ("p20", "p80"), "rounds_high": ("p80", "p20")}.items():
        rows[ratio] = (rows[f"{theirs}_ms"] / rows[f"{ours}_ms_ours"]).where(compared)

    ways = (("", "median"), ("_low", "min"), ("_high", "max"))
    table = rows.groupby([*CELL, "name"], sort=False).agg(
        **{column: (column, "first") for column in _SHARED},
        **{figure + end: (figure, way) for figure in (*FIGURES, *RATIOS) for end, way in ways},
        runs=("p50_ms", "count"), ratio_runs=("ratio", "count"), mismatches=("mismatches", "max"),
        rounds_low=("rounds_low", "min"), rounds_high=("rounds_high", "max"),
    )  # fmt: skip
    table["variation"] = table["p80_ms_high"] / table["p20_ms_low"]
    table["reason"] = table["reason"].fillna("").where(table["runs"] == 0, "")
    return table.reset_index()


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The lines as dictionaries; what is empty is None."""
    lines = table.to_dict("records")
    return [{column: None if pd.isna(value) else value for column, value in line.items()} for line in lines]


def peak_bandwidth(table: pd.DataFrame, device: str) -> float | None:
    """The device's own measured copy bandwidth, in GB/s, read and written bytes together."""
    copies = table[(table["suite"] == "bandwidth") & (table["cell"] == COPY) & (table["device"] == device)]["gb_per_s"]
    return None if copies.dropna().empty else float(copies.median())
