"""Numbers as people read them, the same in the README, the report and the charts."""

from fastnorm.cli._text import significant


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


def count(value: float) -> str:
    return f"{value:g}".replace("e+0", "e") if value >= 1e7 else f"{value:,.0f}" if value >= 1e3 else f"{value:.4g}"


def size(value: float) -> str:
    for unit, one in (("EB", 1e18), ("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= one:
            return f"{significant(value / one)} {unit}"
    return f"{value:.0f} B"
