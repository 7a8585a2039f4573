"""What `fastnorm check` does, as a function: every value on a device against the published ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from fastnorm.spec.arguments import OUTPUT_DTYPES
from fastnorm.spec.normalization import PRESETS, Normalization
from fastnorm.verification import normalizing, resizing


@dataclass(frozen=True)
class Compared:
    """One line of a report: how many values were compared, and how many of them differ."""

    name: str
    values: int
    differing: int
    dtype: torch.dtype | None = None  # of a normalisation; the targets of a resizing have several


@dataclass(frozen=True)
class Report:
    """What `check` found. `wrong` holds the first wrong value of each output that has any; each prints as one line."""

    normalized: tuple[Compared, ...]
    resized: tuple[Compared, ...]
    wrong_normalized: tuple[normalizing.Wrong, ...]
    wrong_resized: tuple[resizing.Wrong, ...]

    @property
    def values(self) -> int:
        return sum(line.values for line in (*self.normalized, *self.resized))

    @property
    def differing(self) -> int:
        return sum(line.differing for line in (*self.normalized, *self.resized))

    @property
    def passed(self) -> bool:
        return self.differing == 0


def check(
    normalizations: Sequence[Normalization] | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int, str], object] = lambda _done, _total, _name: None,
) -> Report:
    """Compare every pixel value, channel, dtype and layout, and every resizing filter, with the published values.

        report = fastnorm.verification.check(device="cuda")
        assert report.passed, report.wrong_normalized + report.wrong_resized

    Normalising is compared with exact fractions, resizing with the installed Pillow's `Image.resize` and with
    `fastnorm.reference` on the CPU; all bit for bit.

    Args:
        normalizations: What to check; by default every preset.
        device: Where the calls run.
        progress: Called with the number of calls made, the number of all calls, and what the last one was about.

    Returns:
        How many values were compared and how many differ, per normalisation and dtype, and per filter.

    Raises:
        ValueError: `normalizations` is empty.
    """
    chosen = list(PRESETS.values()) if normalizations is None else list(normalizations)
    if not chosen:
        raise ValueError("got no normalizations, expected at least one; leave the argument out to check every preset")
    device = torch.device(device)
    cases = list(normalizing.cases(chosen))
    calls = [call for group in resizing.groups(chosen) for call in resizing.calls(group, device)]
    total = len(cases) + len(calls)

    values: Counter[tuple[str, torch.dtype]] = Counter()
    differing: Counter[tuple[str, torch.dtype]] = Counter()
    wrong_normalized: list[normalizing.Wrong] = []
    for done, case in enumerate(cases):
        for target, count, compared, first in normalizing.compare(case, device):
            values[target.name, case.dtype] += compared
            differing[target.name, case.dtype] += count
            wrong_normalized += [first] if first is not None else []
        progress(done + 1, total, case.targets[0].name)

    resized: Counter[str] = Counter()
    differing_resized: Counter[str] = Counter()
    wrong_resized: list[resizing.Wrong] = []
    for done, call in enumerate(calls):
        found = resizing.compare(call, device)
        resized[call.group.name] += found.values
        differing_resized[call.group.name] += found.differing
        wrong_resized += found.wrong
        progress(len(cases) + done + 1, total, call.group.name)

    names = dict.fromkeys(name for name, _ in values)  # a preset that was added to a call is among them
    return Report(
        tuple(Compared(n, values[n, d], differing[n, d], d) for n in names for d in OUTPUT_DTYPES),
        tuple(Compared(name, resized[name], differing_resized[name]) for name in resized),
        tuple(wrong_normalized),
        tuple(wrong_resized),
    )
