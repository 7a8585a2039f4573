"""Measurements as rows of CSV files with their provenance, so that every published figure can be traced.

Columns that do not apply to a row are empty. A peer that did not run has a row without times, whose note says
"not run: <reason>". Rows of one `run` were measured in turns, so their ratios mean something; `mismatches` counts
values that differ from the contract, and is empty where nothing was compared.
"""

import csv
import datetime
import functools
import importlib.metadata
import io
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
    "version", "shape", "layout", "targets", "dtypes", "memory", "p20_ms", "p50_ms", "p80_ms", "gb_per_s",
    "copy_fraction", "peak_mib", "images_per_s", "mismatches", "note",
)  # fmt: skip
KINDS = dict.fromkeys(COLUMNS, "str") | dict.fromkeys(("threads", "targets", "mismatches"), "Int64")
KINDS |= dict.fromkeys(COLUMNS[COLUMNS.index("p20_ms") : COLUMNS.index("mismatches")], "float64")


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
    run: str, cell: Cell, name: str, version: str, seconds: Sequence[float], device: torch.device | str = "cpu",
    copy_gb_per_s: float | None = None, peak_mib: float | None = None, mismatches: int | None = None, note: str = "",
) -> dict[str, Any]:  # fmt: skip
    """One row from the seconds that a call took in each round; without any, the row of a peer that did not run."""
    columns: dict[str, Any] = _provenance(torch.device(device)) | cell._asdict()
    columns |= {"run": run, "name": name, "version": version, "mismatches": mismatches, "note": note}
    if len(seconds):
        p20, p50, p80 = np.quantile(seconds, (0.2, 0.5, 0.8))
        rate = cell.bytes_moved / p50 / 1e9 if cell.bytes_moved else None
        figures = {
            "p20_ms": 1e3 * p20, "p50_ms": 1e3 * p50, "p80_ms": 1e3 * p80, "gb_per_s": rate,
            "copy_fraction": rate / copy_gb_per_s if rate and copy_gb_per_s else None, "peak_mib": peak_mib,
            "images_per_s": cell.images / p50 if cell.images else None,
        }  # fmt: skip
        # Five significant digits: more than any of these measurements has.
        columns |= {name: None if value is None else float(f"{value:.5g}") for name, value in figures.items()}
    return {name: columns.get(name) for name in COLUMNS}


def run_id(what: str) -> str:
    """A name for rows that are measured in turns."""
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%dT%H%M%S.%f} {what}"


def frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(COLUMNS)).astype(KINDS)


def append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows to a file, which gets its header when it is new; a file that `read` refuses is left alone.

    All or nothing: where the disk is full, the file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists() or path.stat().st_size == 0
    if not new:
        read(path)
    with path.open("ab", buffering=0) as file:
        before = file.tell()
        left = memoryview(frame(rows).to_csv(index=False, header=new, lineterminator="\n").encode())
        try:
            while left:
                left = left[file.write(left) :]  # a full disk takes a part first, then raises
        except BaseException:
            file.truncate(before)
            raise


def read(path: Path) -> pd.DataFrame:
    """The rows of a file, in its order; a line that is not a whole row raises, and the error names it."""
    text, first = path.read_text(encoding="utf-8"), 2
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    if (header := tuple(next(lines, ()))) != COLUMNS:
        raise ValueError(f"{path}: got the columns {','.join(header)}; expected {','.join(COLUMNS)}; use another file")
    try:
        for values in lines:
            if len(values) != len(COLUMNS) or lines.line_num > text.count("\n"):
                raise ValueError(f"{len(values)} of {len(COLUMNS)} columns, or a last line without its end")
            [float(value) for value, kind in zip(values, KINDS.values(), strict=True) if kind != "str" and value]
            first = lines.line_num + 1
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path}, line {first}: got {error}, expected a whole row; delete that line") from None
    empty = {name: [""] for name, kind in KINDS.items() if kind != "str"}
    return pd.read_csv(io.StringIO(text), dtype=KINDS, keep_default_na=False, na_values=empty)


def load(folder: Path = RESULTS) -> pd.DataFrame:
    """Every row of a folder's CSV files; a file that holds anything else raises. A missing folder has no rows."""
    frames = [read(path) for path in sorted(folder.glob("*.csv"))]
    return pd.concat(frames, ignore_index=True) if frames else frame([])


def _provenance(device: torch.device) -> dict[str, Any]:
    on_gpu = device.type == "cuda"
    return {
        "date": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}",
        "commit": os.environ.get("FASTNORM_COMMIT") or _commit(),  # where a copy has no history
        "device": torch.cuda.get_device_name(device) if on_gpu else _processor(),
        "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if on_gpu else "",
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
def _output(*command: str) -> str:
    """The first line that a command prints, or "unknown"."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return next(iter(done.stdout.splitlines()), "unknown").strip()


def _commit() -> str:
    # Rows that were just written do not change what is measured.
    changed = _output("git", "status", "--porcelain", "--", ".", ":!benchmarks/results") != "unknown"
    return _output("git", "rev-parse", "--short=10", "HEAD") + "+changes" * changed


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
