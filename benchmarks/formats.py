"""Numbers as people read them, the same in the README, the report and the charts."""

from fastnorm.cli._text import plural, significant

__all__ = ["milliseconds", "percent", "plural", "significant", "span", "times"]


def times(ratio: float) -> str:
    return f"{significant(ratio)}x"


def percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def milliseconds(value: float) -> str:
    return f"{significant(value)} ms" if value >= 1 else f"{significant(1e3 * value)} us"


def span(line: dict, figure: str = "ratio") -> str:
    """The range over several runs, or nothing."""
    low, high = line[f"{figure}_low"], line[f"{figure}_high"]
    return f"{significant(low)} to {significant(high)}" if line["ratio_runs"] > 1 and low is not None else ""
