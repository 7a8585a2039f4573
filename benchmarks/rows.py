"""Measurements as rows of CSV files with their provenance, as README.md describes them."""

import datetime
import functools
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"

NOT_RUN = "not run: "
OURS = "fastnorm"
COPY = "device copy"  # the cell that bandwidth is compared with

COLUMNS = (
    "date", "commit", "device", "driver", "threads", "python", "torch", "triton", "run", "suite", "cell", "name",
    "version", "shape", "layout", "targets", "dtypes", "memory", "p20_ms", "p50_ms", "p80_ms", "cpu_ms",
    "gb_per_s", "copy_fraction", "peak_mib", "images_per_s", "mismatches", "note",
)  # fmt: skip
KINDS = dict.fromkeys(COLUMNS, "str") | dict.fromkeys(("threads", "targets", "mismatches"), "Int64")
KINDS |= dict.fromkeys(COLUMNS[COLUMNS.index("p20_ms") : COLUMNS.index("mismatches")], "float64")


class Sample(NamedTuple):
    """What one call took, in seconds."""

    wall: float  # on a GPU, device time
    cpu: float  # of all cores together


class Cell(NamedTuple):
    """What one comparison measures: the columns that its rows share, and what one call takes."""

    suite: str
    cell: str
    shape: str
    layout: str = ""
    targets: int | None = None
    dtypes: str = ""
    memory: str = ""
    images: int | None = None
    bytes_moved: int | None = None  # at least


def row(
    cell: Cell, name: str, version: str = "", samples: Sequence[Sample] = (), mismatches: int | None = None,
    note: str = "", *, run: str, device: torch.device | str = "cpu", copy_gb_per_s: float | None = None,
    peak_mib: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """One row from what a call took in each round; without any, the row of a peer that did not run."""
    device = torch.device(device)
    columns: dict[str, Any] = _provenance(device) | cell._asdict()
    columns |= {"run": run, "name": name, "version": version, "mismatches": mismatches, "note": note}
    if samples:
        seconds, cpu = np.transpose(samples)
        p20, p50, p80 = np.quantile(seconds, (0.2, 0.5, 0.8))
        rate = cell.bytes_moved / p50 / 1e9 if cell.bytes_moved else None
        figures = {
            "p20_ms": 1e3 * p20, "p50_ms": 1e3 * p50, "p80_ms": 1e3 * p80, "gb_per_s": rate,
            "cpu_ms": 1e3 * np.median(cpu) if device.type == "cpu" else None, "peak_mib": peak_mib,
            "copy_fraction": rate / copy_gb_per_s if rate and copy_gb_per_s else None,
            "images_per_s": cell.images / p50 if cell.images else None,
        }  # fmt: skip
        # Five significant digits: more than any of these measurements has.
        columns |= {name: None if value is None else float(f"{value:.5g}") for name, value in figures.items()}
    return {name: columns.get(name) for name in COLUMNS}


def frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(COLUMNS)).astype(KINDS)


def append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows to a file, new or old; it is replaced once the new one lies whole on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before, written = [read(path)] if path.exists() else [], path.with_suffix(".new")
    pd.concat([*before, frame(rows)]).to_csv(written, index=False, lineterminator="\n")
    written.replace(path)


def read(path: Path) -> pd.DataFrame:
    """The rows of a file, in its order; a file that holds anything else raises."""
    empty = {name: [""] for name, kind in KINDS.items() if kind != "str"}
    try:
        table = pd.read_csv(path, dtype=KINDS, keep_default_na=False, na_values=empty)
    except ValueError as error:
        raise ValueError(f"{path}: got {error}, expected rows of measurements; fix or remove that line") from None
    if tuple(table) != COLUMNS:
        raise ValueError(f"{path}: got the columns {','.join(table)}; expected {','.join(COLUMNS)}; use another file")
    for line in table.index[table["name"] == ""] + 2:
        raise ValueError(f"{path}, line {line}: got too few columns, expected a whole row; fix or remove that line")
    return table


def load(folder: Path = RESULTS) -> pd.DataFrame:
    """Every row of a folder's CSV files; a file that holds anything else raises. A missing folder has no rows."""
    frames = [read(path) for path in sorted(folder.glob("*.csv"))]
    return pd.concat(frames, ignore_index=True) if frames else frame([])


def _provenance(device: torch.device) -> dict[str, Any]:
    on_gpu, git = device.type == "cuda", f"git -C '{ROOT}'"
    # Rows that were just written do not change what is measured.
    changed = _first_line(f"{git} status --porcelain -- . ':!benchmarks/results'") != "unknown"
    processor = _first_line(r"sed -n 's/^model name\s*: //p' /proc/cpuinfo | grep . || uname -m")
    return {
        "date": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}",
        "commit": os.environ.get("FASTNORM_COMMIT")  # where a copy has no history
        or _first_line(f"{git} rev-parse --short=10 HEAD") + "+changes" * changed,
        "device": torch.cuda.get_device_name(device) if on_gpu else processor,
        "driver": _first_line("nvidia-smi --query-gpu=driver_version --format=csv,noheader") if on_gpu else "",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": version_of("triton", "pytorch-triton"),
    }


def version_of(*distributions: str) -> str:
    """The version of the first of these that is installed, or nothing."""
    installed = (list(importlib.metadata.distributions(name=distribution)) for distribution in distributions)
    return next((found[0].version for found in installed if found), "")


@functools.cache
def _first_line(command: str) -> str:
    """The first line that a command prints, or "unknown"."""
    status, text = subprocess.getstatusoutput(command)
    return "unknown" if status else text.partition("\n")[0].strip() or "unknown"
