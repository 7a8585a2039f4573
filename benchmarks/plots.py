"""Horizontal bars as SVG in the page's colours, laid out for a width of 400 pixels.

Colours are from Okabe and Ito's palette, which stays apart for every kind of colour vision; what colour says, a number
or a hollow bar says too.
"""

import html
import io
import re
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

INK, TRACK, OURS, OTHER, SLOWER = "#1c1f24", "#eceef1", "#0072b2", "#9aa2af", "#d55e00"
# Drawn colour -> the page's CSS variable: a drawing for the page keeps no colour of its own.
_VARIABLES = {INK: "ink", TRACK: "track", OURS: "ours", OTHER: "other", SLOWER: "slower"}
_STYLE: dict[Any, Any] = {"font.size": 7.5, "ytick.labelsize": 7, "svg.fonttype": "none", "axes.axisbelow": True}
_STYLE |= dict.fromkeys(("text.color", "xtick.color", "ytick.color", "axes.labelcolor"), INK)
_STYLE |= dict.fromkeys((f"axes.spines.{side}" for side in ("left", "right", "top", "bottom")), False)
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


class Bar(NamedTuple):
    label: str
    value: float
    text: str  # the value as it is shown
    low: float  # the ends of the thin line
    high: float
    colour: str
    hollow: bool = False


def svg(bars: Sequence[Bar], axis: str, log: bool = False, limit: float | None = None) -> str:
    """An inline <svg>; on a logarithmic axis bars start at 1, and `limit` is a line that they run towards."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    places, start = range(len(bars)), 1.0 if log else 0.0
    labels = ["\n".join(textwrap.wrap(bar.label, 26)) for bar in bars]
    each = 0.16 + 0.08 * max(label.count("\n") + 1 for label in labels)  # inches
    words = html.escape(f"{axis}. " + ". ".join(f"{bar.label} {bar.text}" for bar in bars))
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": words}), io.StringIO() as file:
        figure = Figure(figsize=(4, 0.7 + each * len(bars)), layout="constrained")
        axes = figure.add_subplot(xlabel=axis, ylim=(len(bars) - 0.5, -0.5))
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}x"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.barh(
            places, [bar.value - start for bar in bars], 0.55, left=start, linewidth=1.1,
            color=["none" if bar.hollow else bar.colour for bar in bars], edgecolor=[bar.colour for bar in bars],
        )  # fmt: skip
        axes.hlines(places, [bar.low for bar in bars], [bar.high for bar in bars], color=INK, linewidth=0.9)
        axes.axvline(limit or start, color=INK, linewidth=0.9)
        axes.set_yticks(places, labels)
        right = axes.secondary_yaxis("right")
        right.set_yticks(places, [bar.text for bar in bars])
        right.spines[:].set_visible(False)
        for side in (axes, right):
            side.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=TRACK)
        figure.savefig(file, format="svg", transparent=True, metadata=_NO_METADATA)
        text = file.getvalue().partition("<svg")[2]
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # the other ids come of the salt
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return f'<svg role="img" aria-label="{words}"{text}'
