"""The project's goals beside what the rows say, reached or not."""

import re
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.comparisons import at, records


class Goal(NamedTuple):
    """At least `minimum` times a peer's speed, or, without a peer, at least that share of the copy bandwidth."""

    on_gpu: bool
    where: str  # a query of the table of entries
    peer: str
    minimum: float

    @property
    def text(self) -> str:
        if not self.peer:
            return f"at least {100 * self.minimum:.0f}% of the device's own copy bandwidth"
        if self.minimum < 1:
            return f"at most {1 / self.minimum:.2f}x the time of {self.peer}"
        return f"at least {self.minimum:g}x as fast as {self.peer}"


_PAIR = "suite == 'normalize' and dtypes == 'fp32+fp32' and layout == 'NHWC' and shape == '{}x512x512x3'"
CPU_PAIR_OUT, CPU_PAIR_FRESH, GPU_PAIR_OUT, GPU_PAIR_FRESH = (
    f"{_PAIR.format(images)} and memory == '{memory}'" for images in (16, 64) for memory in ("out", "fresh")
)
GPU_PAIR = "suite == 'normalize' and shape == '64x512x512x3'"
GPU_VARYING = "suite == 'normalize' and cell.str.contains('resolutions')"
ONE_CALL = "suite == 'host' and shape == '1x224x224x3' and memory == 'fresh'"

GOALS = (
    Goal(False, CPU_PAIR_OUT, "DALI CPU", 1.0),
    Goal(False, CPU_PAIR_OUT, "torchvision v2", 8.0),
    Goal(False, CPU_PAIR_FRESH, "torchvision v2", 3.0),
    Goal(True, GPU_PAIR, "", 0.92),
    Goal(True, GPU_PAIR, "torch.compile (dynamic=False)", 1 / 1.03),
    Goal(True, GPU_VARYING, "torch.compile (auto-dynamic)", 1.5),
    Goal(True, GPU_PAIR, "torchvision v2", 6.0),
    Goal(True, ONE_CALL, "torch.compile", 2.0),
)


def judge(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Every goal in every cell that it is about, with the line that answers it, ours or the fastest peer's.

    A peer's name stands for its variants too, as `torch.compile` does for `torch.compile (...)`.
    """
    results = []
    for goal in GOALS:
        lines = at(table[table["gpu"] == goal.on_gpu], goal.where)
        figure = "ratio" if goal.peer else "copy_fraction"
        chosen = lines["name"].str.match(re.escape(goal.peer) + r"(?!\w)") if goal.peer else lines["ours"]
        timed = lines[chosen].dropna(subset=[figure])
        for line in records(timed.loc[timed.groupby(["device", "cell"], sort=False)[figure].idxmin()]):
            measured = {"measured": line[figure], "reached": line[figure] >= goal.minimum}
            results.append({"goal": goal, "line": line, **measured})
    return results
