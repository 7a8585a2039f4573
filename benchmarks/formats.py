"""Numbers as people read them, the same in the README, the report and the charts."""

from __future__ import annotations


def significant(value: float) -> str:
    """Three significant figures, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def times(ratio: float) -> str:
    return f"{significant(ratio)}x"


def milliseconds(value: float) -> str:
    return f"{significant(value)} ms" if value >= 1 else f"{significant(1e3 * value)} us"
