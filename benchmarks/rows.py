"""Measurements as rows with their provenance: one CSV line each, so that every published figure can be traced.

A file is read back with `read`; columns that do not apply to a row are empty. A peer that did not run has a row without
times whose note says "not run: <reason>".
"""

from __future__ import annotations

import csv
import datetime
import functools
import importlib.metadata
import io
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"

NOT_RUN = "not run: "


@dataclass(frozen=True)
class Row:
    date: str
    commit: str
    device: str
    driver: str  # of CUDA; empty on a CPU
    threads: int  # of torch, on the host
    python: str
    torch: str
    triton: str
    run: str  # rows of one run were measured in turns, so their ratios mean something
    suite: str  # "normalize", "preprocess", "host", "end to end" or "bandwidth"
    cell: str  # what was measured, the same for ours and for peers
    name: str  # "fastnorm" or the peer's
    version: str
    shape: str
    layout: str
    targets: int | None
    dtypes: str
    memory: str  # "out", "fresh" or empty
    p20_ms: float | None = None
    p50_ms: float | None = None
    p80_ms: float | None = None
    gb_per_s: float | None = None
    copy_fraction: float | None = None  # of the bandwidth that a large device copy had in the same turns
    peak_mib: float | None = None  # device memory that one call allocates at its highest point
    images_per_s: float | None = None
    mismatches: int | None = None  # values that differ from the contract; None: nothing was compared
    note: str = ""

    @property
    def ran(self) -> bool:
        return self.p50_ms is not None


@dataclass(frozen=True)
class Cell:
    """What one comparison measures: the columns that its rows share."""

    suite: str
    name: str
    shape: str
    layout: str = ""
    targets: int | None = None
    dtypes: str = ""
    memory: str = ""
    images: int | None = None  # in one call
    bytes_moved: int | None = None  # by one call, at least


def row(
    run: str,
    cell: Cell,
    name: str,
    version: str,
    seconds: Sequence[float],
    *,
    device: torch.device | str = "cpu",
    copy_gb_per_s: float | None = None,
    peak_mib: float | None = None,
    mismatches: int | None = None,
    note: str = "",
) -> Row:
    """One measurement from the seconds that each round's call took; without any, one that was not made."""
    columns = _provenance(run, cell, name, version, torch.device(device))
    if not seconds:
        return Row(**columns, mismatches=mismatches, note=note)
    p20, p50, p80 = (quantile(seconds, q) for q in (0.2, 0.5, 0.8))
    rate = None if cell.bytes_moved is None else cell.bytes_moved / p50 / 1e9
    return Row(
        **columns,
        p20_ms=_rounded(1e3 * p20),
        p50_ms=_rounded(1e3 * p50),
        p80_ms=_rounded(1e3 * p80),
        gb_per_s=_rounded(rate),
        copy_fraction=_rounded(rate / copy_gb_per_s) if rate and copy_gb_per_s else None,
        peak_mib=_rounded(peak_mib),
        images_per_s=_rounded(cell.images / p50) if cell.images else None,
        mismatches=mismatches,
        note=note,
    )


def missing_row(run: str, cell: Cell, name: str, reason: str, device: torch.device | str = "cpu") -> Row:
    """A peer that did not run, so that its absence shows."""
    return row(run, cell, name, "", [], device=device, note=NOT_RUN + reason)


def run_id(what: str) -> str:
    """A name for rows that are measured in turns."""
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%dT%H%M%S.%f} {what}"


def quantile(values: Sequence[float], q: float) -> float:
    """The value below which a share q lies, linear between the two nearest."""
    ordered = sorted(values)
    at = q * (len(ordered) - 1)
    below = int(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (at - below) * (ordered[above] - ordered[below])


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a file, which gets its header when it is new; a file with other columns is refused.

    All or nothing: where the disk is full, the file is as it was.
    """
    names = [field.name for field in fields(Row)]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, lineterminator="\n")
    if not path.exists() or path.stat().st_size == 0:
        writer.writeheader()
    else:
        with path.open(newline="") as file:
            _check_header(path, next(csv.reader(file)))
        if not path.read_bytes().endswith(b"\n"):
            text.write("\n")  # a torn line, which these rows must not run into; `read` names it
    writer.writerows(asdict(r) for r in rows)  # None is written as an empty field
    with path.open("ab", buffering=0) as file:
        before = file.tell()
        left = memoryview(text.getvalue().encode())
        try:
            while left:
                left = left[file.write(left) :]  # a full disk takes a part first, then raises
        except BaseException:
            file.truncate(before)
            raise


def read(path: Path) -> list[Row]:
    """The rows of a file, in its order; a line that is no whole row raises, and the error names it."""
    with path.open(newline="") as file:
        text = file.read()
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    _check_header(path, next(lines, []))
    found: list[Row] = []
    while True:
        first = lines.line_num + 1
        try:
            values = next(lines, None)
            if values is None:
                return found
            if lines.line_num > text.count("\n"):
                raise ValueError("a last line without its end")
            if values:
                found.append(_row_of(values))
        except (csv.Error, ValueError) as error:
            raise ValueError(f"{path}, line {first}: got {error}, expected a whole row; delete that line") from None


_TYPES: dict[str, str] = {field.name: str(field.type) for field in fields(Row)}


def _row_of(values: Sequence[str]) -> Row:
    if len(values) != len(_TYPES):
        raise ValueError(f"{len(values)} columns of {len(_TYPES)}")
    return Row(**{name: _parsed(name, text) for name, text in zip(_TYPES, values, strict=True)})


def _parsed(column: str, text: str) -> Any:
    kind = _TYPES[column]
    if kind == "str":
        return text
    if text == "":
        return None
    return int(text) if kind.startswith("int") else float(text)


def _check_header(path: Path, header: Sequence[str]) -> None:
    wanted = [field.name for field in fields(Row)]
    if list(header) != wanted:
        raise ValueError(f"{path}: got the columns {','.join(header)}; wanted {','.join(wanted)}; use another file")


def _rounded(value: float | None) -> float | None:
    """Five significant digits: more than any of these measurements has."""
    return None if value is None else float(f"{value:.5g}")


def _provenance(run: str, cell: Cell, name: str, version: str, device: torch.device) -> dict[str, Any]:
    on_gpu = device.type == "cuda"
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "commit": _commit(),
        "device": torch.cuda.get_device_name(device) if on_gpu else _processor(),
        "driver": _driver() if on_gpu else "",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": version_of("triton", "pytorch-triton"),
        "run": run,
        "suite": cell.suite,
        "cell": cell.name,
        "name": name,
        "version": version,
        "shape": cell.shape,
        "layout": cell.layout,
        "targets": cell.targets,
        "dtypes": cell.dtypes,
        "memory": cell.memory,
    }


def version_of(*distributions: str) -> str:
    """The version of the first of these that is installed, or nothing."""
    installed = (list(importlib.metadata.distributions(name=distribution)) for distribution in distributions)
    return next((found[0].version for found in installed if found), "")


@functools.cache
def _commit() -> str:
    """The checkout's commit; a copy without its history is told by the environment what it is a copy of."""

    def git(*arguments: str) -> str:
        try:
            return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout
        except OSError:
            return ""

    given = os.environ.get("FASTNORM_COMMIT")
    if given:
        return given
    # Rows that were just written are no change to what is measured.
    changes = git("status", "--porcelain", "--", ".", ":!benchmarks/results").strip()
    return (git("rev-parse", "--short=10", "HEAD").strip() or "unknown") + ("+changes" if changes else "")


@functools.cache
def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20).stdout.split()
    except (OSError, subprocess.TimeoutExpired):
        lines = []
    return lines[0] if lines else "unknown"


@functools.cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
