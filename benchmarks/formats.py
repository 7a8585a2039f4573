"""Numbers as people read them, the same in the README, the report and the charts."""

from __future__ import annotations

from fastnorm.cli._text import significant

__all__ = ["milliseconds", "significant", "times"]


def times(ratio: float) -> str:
    return f"{significant(ratio)}x"


def milliseconds(value: float) -> str:
    return f"{significant(value)} ms" if value >= 1 else f"{significant(1e3 * value)} us"
