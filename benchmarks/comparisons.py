"""Rows side by side: per cell and name the figures over all runs, and the ratio to ours within each run.

A ratio is taken between rows of one run only, which were measured in turns; over several runs their median and range
are shown. Everything that presents results (report, README table, scaling page) draws on `entries`.
"""

from typing import Any

import pandas as pd

from benchmarks.rows import COPY, NOT_RUN, OURS

NO_DRIVER = "driver that does nothing"  # what host time is without a GPU

CELL = ["gpu", "device", "suite", "cell"]
FIGURES = ["p20_ms", "p50_ms", "p80_ms", "gb_per_s", "copy_fraction", "peak_mib", "images_per_s", "ratio"]
_SHARED = ["version", "shape", "layout", "dtypes", "memory", "threads", "note"]


def is_ours(name: str) -> bool:
    """`fastnorm`, or `fastnorm: ...` and `fastnorm, ...` where a suite has several of ours."""
    return name == OURS or name.startswith((f"{OURS}:", f"{OURS},", f"{OURS} "))


def only_decodes(suite: str, name: str) -> bool:
    """A row that only decodes, beside the pipelines that go on from there."""
    return suite == "end to end" and not is_ours(name) and "decod" in name.lower()


def entries(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per device, cell and name, in the order of their first appearance.

    Every figure is the median of the runs, with `_low` and `_high` for their range. `ratio` is its time over ours in
    the same run (above 1, ours is faster; empty for ours); `rounds_low` and `rounds_high` bound the ratio by rounds:
    from its fast ones (20%) over our slow ones (80%) to the reverse. `variation` is how many times as long the slow
    rounds of all runs took as the fast ones. `mismatches` is the largest of the runs, `reason` why it did not run.
    """
    rows = rows.assign(gpu=rows["driver"] != "", ours=rows["name"].map(is_ours).astype(bool))
    first = rows[rows["ours"]].drop_duplicates(CELL)[[*CELL, "name"]]
    ours = rows.merge(first, on=[*CELL, "name"]).drop_duplicates([*CELL, "run"], keep="last")
    rows = rows.merge(
        ours[[*CELL, "run", "name", "p20_ms", "p50_ms", "p80_ms"]],
        on=[*CELL, "run"],
        how="left",
        suffixes=("", "_ours"),
    )
    compared = [
        not (name == own or only_decodes(suite, name) or _computes_on_the_cpu(suite, name, gpu))
        for suite, name, gpu, own in rows[["suite", "name", "gpu", "name_ours"]].itertuples(index=False)
    ]
    compared = pd.Series(compared, index=rows.index, dtype=bool)
    for ratio, own, theirs in (("ratio", "p50", "p50"), ("rounds_low", "p20", "p80"), ("rounds_high", "p80", "p20")):
        rows[ratio] = (rows[f"{own}_ms"] / rows[f"{theirs}_ms_ours"]).where(compared)

    groups = rows.groupby([*CELL, "name"], sort=False)
    table = groups[["ours", *_SHARED]].first()
    for figure in FIGURES:
        table[figure], table[f"{figure}_low"], table[f"{figure}_high"] = (
            groups[figure].median(), groups[figure].min(), groups[figure].max(),
        )  # fmt: skip
    table["runs"], table["ratio_runs"] = groups["p50_ms"].count(), groups["ratio"].count()
    table["rounds_low"], table["rounds_high"] = groups["rounds_low"].min(), groups["rounds_high"].max()
    table["variation"] = groups["p80_ms"].max() / groups["p20_ms"].min()
    table["mismatches"] = groups["mismatches"].max()
    notes = (
        rows[rows["note"].str.startswith(NOT_RUN)].drop_duplicates([*CELL, "name"]).set_index([*CELL, "name"])["note"]
    )
    reasons = notes.str.removeprefix(NOT_RUN).reindex(table.index).fillna("")
    table["reason"] = reasons.where(table["runs"] == 0, "")
    return table.reset_index()


def _computes_on_the_cpu(suite: str, name: str, gpu: bool) -> bool:
    """Host time without a GPU: torch.compile's call computes there, while the others' launches do nothing."""
    return suite == "host" and not gpu and name.startswith("torch.compile")


def at(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """The lines that a query, such as those of goals.py, is about."""
    return table.query(where, engine="python")


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The lines as dictionaries; what is empty is None."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def peak_bandwidth(table: pd.DataFrame, device: str) -> float | None:
    """The device's own measured copy bandwidth, in GB/s, read and written bytes together."""
    copies = table[(table["suite"] == "bandwidth") & (table["cell"] == COPY) & (table["device"] == device)]["gb_per_s"]
    return None if copies.dropna().empty else float(copies.median())
