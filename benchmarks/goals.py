"""The project's goals beside what the rows say, reached or not."""

import re
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.comparisons import entries, records
from benchmarks.rows import OURS

# Which cells, as queries of the table of entries
_PAIR = "suite == '{}' and dtypes == 'fp32+fp32' and layout == 'NHWC' and shape == '{}x512x512x3'"
CPU_PAIR_OUT, CPU_PAIR_FRESH, GPU_PAIR_OUT, GPU_PAIR_FRESH = (
    f"{_PAIR.format('normalize', images)} and memory == '{memory}'"
    for images in (16, 64)
    for memory in ("out", "fresh")
)
CPU_SMALL = "suite == 'normalize' and cell.str.startswith('1x224x224 NHWC fp32+fp32')"
GPU_PAIR = "suite == 'normalize' and shape == '64x512x512x3'"
GPU_VARYING = "suite == 'normalize' and cell.str.contains('resolutions')"
ONE_CALL = "suite == 'host' and shape == '1x224x224x3' and memory == 'fresh'"
ONE_THREAD = "suite == 'preprocess' and cell.str.contains('1 thread')"
PHOTOGRAPH = f"{ONE_THREAD} and shape == '1x1024x1536x3'"
BUSY_CALL, BUSY_PAIR = "suite == 'contended' and layout == 'NHWC'", _PAIR.format("contended", 16)
IN_WORKERS = "suite == 'end to end' and cell.str.contains('[12] workers')"
LOADER = "suite == 'end to end'"

BEFORE = ("before (Pillow backend)", "before (torchvision backend)")
PUBLISHED = "torchvision + transformers (Pillow backend), serial"


class Goal(NamedTuple):
    """At least `minimum` times a peer's speed, or, without a peer, at least that share of the copy bandwidth."""

    on_gpu: bool
    where: str
    peer: str
    minimum: float
    ours: str = ""  # whose speed; else the cell's first of ours
    cpu_time: bool = False  # speed by CPU time, else by wall time

    @property
    def text(self) -> str:
        if not self.peer:
            return f"at least {100 * self.minimum:.0f}% of the device's own copy bandwidth"
        of = (f" ({self.ours})" if self.ours else "") + (", CPU time" if self.cpu_time else "")
        if self.minimum < 1:
            return f"at most {1 / self.minimum:.2f}x the time of {self.peer}{of}"
        return f"at least {self.minimum:g}x as fast as {self.peer}{of}"


GOALS = (
    Goal(False, CPU_PAIR_OUT, "DALI CPU", 1.3),
    Goal(False, CPU_PAIR_OUT, "torchvision v2", 10.0),
    Goal(False, CPU_PAIR_FRESH, "torchvision v2", 8.0),
    Goal(False, CPU_SMALL, "eager torch", 3.0),
    Goal(False, PHOTOGRAPH, PUBLISHED, 12.0, f"{OURS}, AVX2", cpu_time=True),
    Goal(False, PHOTOGRAPH, PUBLISHED, 16.0, f"{OURS}, VNNI", cpu_time=True),
    Goal(False, ONE_THREAD, "DALI CPU", 5.0, cpu_time=True),
    Goal(False, f"{ONE_THREAD} and shape != '1x480x640x3'", OURS, 1.8, f"{OURS}, 2 threads"),
    Goal(False, IN_WORKERS, BEFORE[0], 2.2, f"{OURS}, in workers"),
    Goal(False, IN_WORKERS, BEFORE[1], 1.7, f"{OURS}, in workers"),
    *(Goal(False, LOADER, before, 1.0, f"{OURS}, in main") for before in BEFORE),
    Goal(False, BUSY_CALL, "eager torch", 1.0),
    Goal(False, f"{BUSY_PAIR} and cell.str.contains('2 busy')", "eager torch", 5.0),
    Goal(True, GPU_PAIR, "", 0.92),
    Goal(True, GPU_PAIR, "torch.compile (dynamic=False)", 1 / 1.03),
    Goal(True, GPU_VARYING, "torch.compile (auto-dynamic)", 1.5),
    Goal(True, GPU_PAIR, "torchvision v2", 6.0),
    Goal(True, ONE_CALL, "torch.compile", 2.0),
)


def judge(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Every goal in every cell that it is about, with the line that answers it, ours or the fastest peer's.

    A peer's name stands for its variants too, as `torch.compile` does for `torch.compile (...)`.
    """
    tables = {ours: entries(rows, ours) for ours in {goal.ours for goal in GOALS}}
    results = []
    for goal in GOALS:
        lines = tables[goal.ours].query(f"gpu == {goal.on_gpu} and {goal.where}", engine="python")
        figure = "copy_fraction" if not goal.peer else "cpu_ratio" if goal.cpu_time else "ratio"
        chosen = lines["name"].str.match(re.escape(goal.peer) + r"(?![\w,])") if goal.peer else lines["ours"]
        timed = lines[chosen].dropna(subset=[figure])
        for line in records(timed.loc[timed.groupby(["device", "cell"], sort=False)[figure].idxmin()]):
            measured = line[figure]
            results.append({"goal": goal, "line": line, "measured": measured, "reached": measured >= goal.minimum})
    return results
