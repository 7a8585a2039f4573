"""The candidates of one cell, timed in turns, and the rows that come of it.

Every round times each candidate once, ours last, so that all meet the same conditions.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers import Missing, Peer
from benchmarks.rows import COPY, NOT_RUN, Cell, append, row, run_id

FILES = {"host": "host", "end to end": "end_to_end"}  # by suite; else the device's


@dataclass
class Candidate:
    name: str
    version: str
    sample: Callable[[], float]  # the seconds of one call
    mismatches: int | None = None
    note: str = ""
    peak_mib: float | None = None
    cell: Cell | None = None  # its own columns, where they are not those of the comparison
    seconds: list[float] = field(default_factory=list)


def left_out(chosen: Sequence[Peer], every: Sequence[Peer], where: str) -> list[Missing]:
    """Peers that a cell does not measure, so that their absence shows."""
    names = {peer.name for peer in chosen}
    return [Missing(peer.name, f"left out of this cell, {where}") for peer in every if peer.name not in names]


@dataclass
class Suite:
    """How the suite is run: whether anything is timed, how many rounds there are, and the folder that rows go to."""

    verify_only: bool = False
    quick: bool = False
    rows: Path | None = None

    def compare(
        self, cell: Cell, entries: Iterable[Candidate | Missing], rounds: int, device: torch.device | str = "cpu"
    ) -> None:
        """Time the candidates in turns, and publish their rows; the first is ours.

        Where nothing is timed, each is called once, and a peer that is no longer called correctly is an error, so that
        the suite cannot rot.
        """
        entries = list(entries)
        candidates = [entry for entry in entries if isinstance(entry, Candidate)]
        missing = [entry for entry in entries if isinstance(entry, Missing)]
        broken = [entry for entry in missing if entry.broken]
        assert not (broken and self.verify_only), f"peers whose calls need fixing: {broken}"
        for _ in range(0 if self.verify_only else min(rounds, 5) if self.quick else rounds, -1, -1):
            for candidate in (*candidates[1:], candidates[0]):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # other packages' warnings are theirs
                    candidate.seconds.append(candidate.sample())
        if self.verify_only:
            return
        kind = torch.device(device).type
        run, copy = run_id(f"{kind} {cell.suite}"), None
        for one in candidates:
            del one.seconds[0]  # the warm-up
            if one.cell and one.cell.cell == COPY:
                copy = one.cell.bytes_moved / np.median(one.seconds) / 1e9
        rows = [
            row(run, c.cell or cell, c.name, c.version, c.seconds, device, copy, c.peak_mib, c.mismatches, c.note)
            for c in candidates
        ]
        rows += [row(run, cell, absent.name, "", [], device, note=NOT_RUN + absent.reason) for absent in missing]
        show(rows)
        if self.rows:
            append(self.rows / f"{FILES.get(cell.suite) or ('gpu' if kind == 'cuda' else 'cpu')}.csv", rows)


def show(rows: Sequence[dict[str, Any]]) -> None:
    """One cell's rows, each with its time over the first one's; pytest shows them with -s."""
    print(f"\n{rows[0]['cell']}")
    for line in rows:
        figures = ""
        if line["p50_ms"] is not None:
            share = f"  {line['copy_fraction']:6.1%} of copy" if line["copy_fraction"] else ""
            differ = "" if line["mismatches"] is None else f"  differ: {line['mismatches']}"
            figures = f"{line['p50_ms']:10.4f} ms  x{line['p50_ms'] / rows[0]['p50_ms']:7.2f}{share}{differ}  "
        print(f"  {line['name']:62} {figures}{line['note']}")
