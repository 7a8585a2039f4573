"""Measurements as rows with their provenance: one CSV line each, so that every published figure can be traced."""

from __future__ import annotations

import csv
import datetime
import functools
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    date: str
    commit: str
    device: str
    threads: int
    torch: str
    run: str  # rows of one run were measured in turns, so their ratios mean something
    name: str
    version: str
    shape: str
    layout: str
    dtypes: str
    p20_ms: float
    p50_ms: float
    p80_ms: float
    gb_per_s: float
    mismatches: str  # values that differ from the contract


def row(
    run: str,
    name: str,
    version: str,
    batch: torch.Tensor,
    seconds: Iterable[float],
    bytes_moved: int,
    mismatches: int,
    dtypes: str = "fp32+fp32",
) -> Row:
    p20, p50, p80 = np.percentile(list(seconds), [20, 50, 80]) * 1e3
    return Row(
        date=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        commit=_commit(),
        device=torch.cuda.get_device_name() if batch.is_cuda else _processor(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        run=run,
        name=name,
        version=version,
        shape="x".join(map(str, batch.shape)),
        layout="NHWC",
        dtypes=dtypes,
        p20_ms=round(p20, 4),
        p50_ms=round(p50, 4),
        p80_ms=round(p80, 4),
        gb_per_s=round(bytes_moved / p50 / 1e6, 2),
        mismatches=str(mismatches),
    )


def missing_row(run: str, name: str, reason: str, batch: torch.Tensor) -> Row:
    """A peer that could not run, so that its absence shows; the reason stands where the count would."""
    blank = row(run, name, "", batch, [float("nan")], 0, 0)
    return Row(**{**asdict(blank), "mismatches": f"not run: {reason}"})


def append(path: Path, rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(asdict(r) for r in rows)


@functools.cache
def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        ).stdout.strip()

    return (git("rev-parse", "--short=10", "HEAD") or "unknown") + ("+changes" if git("status", "--porcelain") else "")


@functools.cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
