"""The charts: roofline bars, speed-ups and throughput, as PNG files and as SVG that follows the page's theme.

Colours are from Okabe and Ito's palette, which stays apart for every kind of colour vision; what colour says, a label
or a hollow bar says too. Matplotlib is imported only when something is drawn.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.comparisons import Cell, Entry, Spread
from benchmarks.formats import significant, times

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 8.6  # inches; with DPI, and the page's column, about 1000 pixels
DPI = 150
_BAR = 0.31  # inches from one bar to the next
_BAR_FILL = 0.62  # of that, how much is bar
_HEADING = 0.36  # inches for a cell's name
_ABOVE, _BELOW = 0.66, 0.34  # inches for the titles and for the axis
_CHARACTER = 0.085  # inches of an average one
_MOST_CHARACTERS = 40  # of a label's line, left of its bar

# Drawn colour -> the page's CSS variable: a drawing for the page keeps no colour of its own.
PAPER, INK, SOFT, LINE, TRACK, OURS, OTHER, SLOWER = (
    "#fffffe", "#1c1f24", "#646b78", "#c9ced6", "#eceef1", "#0072b2", "#9aa2af", "#d55e00",
)  # fmt: skip
THEME = {
    PAPER: "paper", INK: "ink", SOFT: "soft", LINE: "line", TRACK: "track", OURS: "ours", OTHER: "other",
    SLOWER: "slower",
}  # fmt: skip

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # shipped with matplotlib: the same picture everywhere
    "font.size": 10,
    "svg.fonttype": "path",  # no fonts from outside, and labels as wide as they were laid out
    "svg.hashsalt": "fastnorm",
    "text.color": INK,
    "xtick.color": SOFT,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
}


def roofline(cells: Sequence[Cell], roof: Spread | None, title: str) -> Figure:
    """Bytes per second of ours per cell; with a roof, each bar runs on a track that ends at the device's own copy."""
    shown = [(cell, entry) for cell in cells for entry in cell.entries if entry.is_ours and entry.gb_per_s is not None]
    lines: list[_Line] = [_Bar(_label(cell, entry), entry) for cell, entry in shown]
    subtitle = "GB/s, bytes read and written"
    if roof:
        subtitle += f"; the line is this device's own copy: {significant(roof.median)} GB/s"
    with _drawing(lines, title, subtitle) as (figure, axes, places):
        top = max([entry.gb_per_s.high for _, entry in shown if entry.gb_per_s], default=1.0)
        end = max(top, roof.median if roof else 0.0)
        axes.set_xlim(0, end * 1.26)
        _ticks_up_to(axes, end)
        for place, (_, entry) in zip(places, shown, strict=True):
            speed = entry.gb_per_s
            if speed is None:
                continue
            if roof:
                axes.barh(place, roof.median, _BAR_FILL, color=TRACK)
            axes.barh(place, speed.median, _BAR_FILL, color=OURS)
            _whisker(axes, place, speed)
            fraction = entry.copy_fraction.median if entry.copy_fraction else None
            if fraction is None and roof:
                fraction = speed.median / roof.median
            share = f", {100 * fraction:.0f}%" if fraction is not None else ""
            axes.text(end * 1.015, place, f"{significant(speed.median)} GB/s{share}", va="center")
        if roof:
            axes.axvline(roof.median, color=INK, linewidth=1)
    return figure


def speed_ups(cells: Sequence[Cell], title: str) -> Figure:
    """Peers' time over ours per cell, the closest first, on a logarithmic axis from the 1x line; hollow: not exact."""
    lines: list[_Line] = []
    for cell in cells:
        timed = sorted((peer.ratio.median, i, peer) for i, peer in enumerate(cell.peers) if peer.ratio is not None)
        if timed:
            lines.append(_Heading(cell.name))
            lines += [_Bar(peer.name, peer) for _, _, peer in timed]
    subtitle = (
        "a peer's time / ours: right of 1x, fastnorm is faster; hollow: not the contract's bits; "
        "thin line: range of runs"
    )
    with _drawing(lines, title, subtitle) as (figure, axes, places):
        ratios = [line.entry.ratio for line in lines if isinstance(line, _Bar) and line.entry.ratio]
        low = min([1.0, *(ratio.low for ratio in ratios)])
        high = max([1.0, *(ratio.high for ratio in ratios)])
        axes.set_xscale("log")
        axes.set_xlim(low / 1.12, max(high, 2.0) ** 1.02 * (max(high, 2.0) / low) ** 0.27)
        _plain_log_ticks(axes, low, max(high, 2.0))
        for place, line in zip(places, lines, strict=True):
            if not isinstance(line, _Bar) or line.entry.ratio is None:
                continue
            ratio = line.entry.ratio
            colour = OURS if ratio.median >= 1 else SLOWER
            filled = line.entry.exact or line.entry.mismatches is None
            axes.barh(
                place, ratio.median - 1, _BAR_FILL, left=1,
                facecolor=colour if filled else "none", edgecolor=colour, linewidth=1.3,
            )  # fmt: skip
            _whisker(axes, place, ratio)
            note = "" if filled else "  differs"
            axes.annotate(
                f"{times(ratio.median)}{note}", (max(ratio.high, 1.0), place), (6, 0), textcoords="offset points",
                va="center", color=INK if ratio.median >= 1 else SLOWER,
            )  # fmt: skip
        axes.axvline(1, color=INK, linewidth=1)
    return figure


def throughput(cells: Sequence[Cell], title: str) -> Figure:
    """Images per second per pipeline; what only decodes is hollow: no pipeline of this machine can pass it."""
    lines: list[_Line] = []
    for cell in cells:
        counted = [entry for entry in cell.entries if entry.images_per_s is not None]
        if counted:
            lines.append(_Heading(cell.name))
            lines += [_Bar(entry.name, entry) for entry in counted]
    with _drawing(lines, title, "samples per second; hollow: decoding alone") as (figure, axes, places):
        speeds = [line.entry.images_per_s for line in lines if isinstance(line, _Bar) and line.entry.images_per_s]
        top = max([speed.high for speed in speeds], default=1.0)
        axes.set_xlim(0, top * 1.2)
        _ticks_up_to(axes, top)
        for place, line in zip(places, lines, strict=True):
            if not isinstance(line, _Bar) or line.entry.images_per_s is None:
                continue
            speed = line.entry.images_per_s
            colour = OURS if line.entry.is_ours else OTHER
            alone = line.entry.only_decodes
            axes.barh(
                place, speed.median, _BAR_FILL,
                facecolor="none" if alone else colour, edgecolor=colour, linewidth=1.3,
            )  # fmt: skip
            _whisker(axes, place, speed)
            axes.annotate(
                f"{significant(speed.median)} /s", (speed.high, place), (6, 0), textcoords="offset points", va="center"
            )
    return figure


def save_png(figure: Figure, path: Path) -> None:
    """The figure on white paper."""
    figure.savefig(path, dpi=DPI, facecolor="white")


def as_svg(figure: Figure, title: str, prefix: str) -> str:
    """The figure as an inline <svg> in the page's own colours; `prefix` keeps its ids apart from other figures'."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    for colour, variable in THEME.items():
        text = text.replace(colour, f"var(--{variable})")
    opening = f'<svg role="img" aria-label="{title}"'
    # The page gives the width; the viewBox keeps the shape.
    head, rest = text.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head).replace("<svg", opening, 1)
    return f"{head}>{rest}"


class _Heading:
    height = _HEADING

    def __init__(self, text: str) -> None:
        self.text = text


class _Bar:
    height = _BAR

    def __init__(self, text: str, entry: Entry) -> None:
        self.text, self.entry = text, entry


_Line = _Heading | _Bar


@contextmanager
def _drawing(lines: Sequence[_Line], title: str, subtitle: str) -> Iterator[tuple[Figure, Axes, list[float]]]:
    """A figure with one line below the other, as high as they need; yields it and each line's place on the y axis."""
    import matplotlib
    from matplotlib.figure import Figure

    longest = max([len(line.text) for line in lines if isinstance(line, _Bar)], default=0)
    left = _CHARACTER * min(_MOST_CHARACTERS, longest) + 0.2
    tall = max(sum(line.height for line in lines), _BAR)
    height = _ABOVE + tall + _BELOW
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.add_axes((left / WIDTH, _BELOW / height, (WIDTH - left - 0.1) / WIDTH, tall / height))
        figure.text(0.012, 1 - 0.20 / height, title, weight="bold", fontsize=12, va="center")
        figure.text(0.012, 1 - 0.44 / height, subtitle, color=SOFT, fontsize=9, va="center")
        places, top = [], 0.0
        for line in lines:
            places.append((top + line.height / 2) / _BAR)
            top += line.height
        axes.set_ylim(tall / _BAR, 0)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.set_yticks([])
        axes.tick_params(axis="x", length=3, labelsize=9)
        axes.grid(axis="x", color=TRACK, linewidth=0.8)
        axes.set_axisbelow(True)
        for place, line in zip(places, lines, strict=True):
            if isinstance(line, _Heading):
                figure.text(
                    0.012, 1 - (_ABOVE + place * _BAR + 0.05) / height, line.text, weight="bold", va="center",
                    bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.5},  # a long one covers lines of the chart
                )  # fmt: skip
            else:
                text = textwrap.wrap(line.text, _MOST_CHARACTERS)[:2]
                axes.annotate(
                    "\n".join(text), (0, place), (-8, 0), xycoords=("axes fraction", "data"),
                    textcoords="offset points", ha="right", va="center", fontsize=10 if len(text) == 1 else 8,
                    linespacing=1.05,
                )  # fmt: skip
        yield figure, axes, places


def _whisker(axes: Axes, place: float, spread: Spread) -> None:
    """The range over the runs, where there are several."""
    if spread.runs > 1:
        axes.plot([spread.low, spread.high], [place, place], color=INK, linewidth=1.1, solid_capstyle="butt")


def _ticks_up_to(axes: Axes, end: float) -> None:
    """Ticks under the bars only, none under the labels on their right."""
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= end])


def _plain_log_ticks(axes: Axes, low: float, high: float) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ladder = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    axes.xaxis.set_major_locator(FixedLocator([step for step in ladder if low / 1.12 <= step <= high * 1.05]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.xaxis.set_minor_locator(NullLocator())


def _label(cell: Cell, entry: Entry) -> str:
    return cell.name if sum(e.is_ours for e in cell.entries) == 1 else f"{cell.name}, {entry.name}"
