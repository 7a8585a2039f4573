"""Charts and one self-contained HTML page from rows; `fastnorm bench` ends with it.

    python -m benchmarks.report [FOLDER] [--output FOLDER]     FOLDER holds CSV files; default: benchmarks/results

Writes the charts as PNG files and report.html, which holds the same charts as SVG and needs nothing else: it opens
from a mail or a disk, without a network, in light and in dark.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import plots
from benchmarks.comparisons import (
    BANDWIDTH,
    END_TO_END,
    HOST,
    NO_DRIVER,
    NORMALIZE,
    PREPROCESS,
    Cell,
    Entry,
    Spread,
    cells,
    is_ours,
    load,
    on_gpu,
    roof,
    values_compared,
)
from benchmarks.formats import milliseconds, significant, times
from benchmarks.goals import CPU_PAIR_FRESH, CPU_PAIR_OUT, GPU_PAIR_FRESH, GPU_PAIR_OUT, GPU_VARYING, Goal, judge
from benchmarks.rows import RESULTS, Row
from fastnorm.cli._ending import quietly
from fastnorm.cli._text import plural, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUITES = {
    NORMALIZE: "Normalising",
    PREPROCESS: "Resizing and normalising",
    HOST: "Host time of one call",
    END_TO_END: "End to end",
    BANDWIDTH: "Bandwidth",
}
HEADLINES = (CPU_PAIR_OUT, CPU_PAIR_FRESH, GPU_PAIR_OUT, GPU_PAIR_FRESH, GPU_VARYING)
_FEW = 4  # a suite of so many cells is drawn whole; of a longer one the headline cells, the others folded away


@dataclass(frozen=True)
class Chart:
    """One figure: the file's name, the page's heading, what it says in words, and whether it is folded away."""

    name: str
    title: str
    summary: str
    figure: Figure
    folded: bool = False


@dataclass(frozen=True)
class Machine:
    """One device and what was measured on it."""

    device: str
    on_gpu: bool
    rows: tuple[Row, ...]
    cells: tuple[Cell, ...]

    @property
    def label(self) -> str:
        return f"{'GPU' if self.on_gpu else 'CPU'}: {self.device}"

    def title(self, suite: str) -> str:
        return f"Host time, {NO_DRIVER}" if suite == HOST and not self.on_gpu else SUITES[suite]

    def of(self, suite: str) -> list[Cell]:
        return [cell for cell in self.cells if cell.suite == suite]


def machines(rows: Sequence[Row]) -> list[Machine]:
    """The devices in the rows, GPUs first."""
    keys = dict.fromkeys((row.device, on_gpu(row)) for row in rows)
    grouped = [(key, tuple(row for row in rows if (row.device, on_gpu(row)) == key)) for key in keys]
    found = [Machine(*key, rows=mine, cells=tuple(cells(mine))) for key, mine in grouped]
    return sorted(found, key=lambda machine: not machine.on_gpu)


def verdict(rows: Sequence[Row]) -> tuple[bool, str]:
    """Whether ours has the contract's bits wherever that was compared, and the line that says so."""
    compared = [row for row in rows if is_ours(row.name) and row.mismatches is not None]
    if not compared:
        return False, "Exactness: no value was compared."
    differing = sum(row.mismatches or 0 for row in compared)
    counts = [values_compared(row) for row in compared]
    known = sum(count for count in counts if count is not None)
    rest = counts.count(None)
    text = f"Exactness: {differing:,} values of fastnorm differ from the contract in {plural(len(compared), 'row')}"
    if known:
        text += f" ({known:,} values" + (f" and {plural(rest, 'row')} of other shapes" if rest else "") + ")"
    return differing == 0, text + "."


def headline(cell: Cell) -> bool:
    return any(where.fits(cell) for where in HEADLINES)


def charts(machine: Machine) -> list[Chart]:
    """Every chart that the machine's rows allow."""
    prefix = "gpu" if machine.on_gpu else "cpu"
    found = []
    limit = roof(machine.rows, machine.device)
    moved = [c for c in machine.of(NORMALIZE) + machine.of(PREPROCESS) if c.ours and c.ours.gb_per_s]
    if moved:
        title = f"Bytes per second, {machine.device}"
        found.append(Chart(f"{prefix}-roofline", title, _roofline_text(moved), plots.roofline(moved, limit, title)))
    for suite in (NORMALIZE, PREPROCESS, HOST):
        timed = [cell for cell in machine.of(suite) if any(peer.ratio for peer in cell.peers)]
        shown = timed if len(timed) <= _FEW else [cell for cell in timed if headline(cell)] or timed[:_FEW]
        rest = [cell for cell in timed if cell not in shown]
        stem = f"{prefix}-{suite}-speed-ups"
        for name, some, folded in ((stem, shown, False), (f"{stem}-others", rest, True)):
            if some:
                title = f"{machine.title(suite)}: speed-ups{', the other cells' if folded else ''}, {machine.device}"
                found.append(Chart(name, title, _speed_up_text(some), plots.speed_ups(some, title), folded))
    ended = [cell for cell in machine.of(END_TO_END) if any(entry.images_per_s for entry in cell.entries)]
    if ended:
        title = f"End to end, {machine.device}"
        found.append(Chart(f"{prefix}-end-to-end", title, _throughput_text(ended), plots.throughput(ended, title)))
    return found


def write(rows: Sequence[Row], output: Path, problems: Sequence[str] = ()) -> Path:
    """The charts and the page, into a folder; returns the page's path."""
    output.mkdir(parents=True, exist_ok=True)
    drawn = [(machine, charts(machine)) for machine in machines(rows)]
    for _, some in drawn:
        for chart in some:
            plots.save_png(chart.figure, output / f"{chart.name}.png")
    path = output / "report.html"
    path.write_text(page(rows, drawn, problems), encoding="utf-8")
    return path


def page(rows: Sequence[Row], drawn: Sequence[tuple[Machine, Sequence[Chart]]], problems: Sequence[str]) -> str:
    """The whole HTML document."""
    good, line = verdict(rows)
    parts = [
        "<h1>fastnorm: benchmark report</h1>",
        f"<p>{_what_was_run(rows)}</p>",
        f'<p class="verdict {"good" if good else "bad"}">{escape(line)}</p>',
        _problems(problems),
        _provenance([machine for machine, _ in drawn]),
    ]
    for number, (machine, some) in enumerate(drawn):
        parts.append(f"<h2>{escape(machine.label)}</h2>")
        parts.append(_goals(machine))
        parts += [_figure(chart, f"c{number}-{place}") for place, chart in enumerate(some)]
        parts += [_suite_table(suite, machine) for suite in SUITES]
    parts += [_not_run([machine for machine, _ in drawn]), _READING]
    body = "\n".join(part for part in parts if part)
    return _PAGE.format(style=_STYLE, body=body)


def summary(rows: Sequence[Row]) -> str:
    """The short table of the terminal: ours beside each peer in the headline cells."""
    lines = [("cell", "peer", "its time / ours", "range", "values that differ")]
    for machine in machines(rows):
        for cell in machine.cells:
            if headline(cell) or cell.suite in (PREPROCESS, HOST, END_TO_END):
                peers = [peer for peer in cell.peers if peer.ratio is not None]
                lines += [
                    (cell.name if first == 0 else "", peer.name, _times(peer.ratio), _range(peer.ratio), _differ(peer))
                    for first, peer in enumerate(peers)
                ]
    return table(lines, "llrrr") if len(lines) > 1 else "no cell has a peer that ran"


def _what_was_run(rows: Sequence[Row]) -> str:
    ran = [row for row in rows if row.ran]
    suites = ", ".join(name for name in SUITES if any(row.suite == name for row in ran)) or "none"
    where = {(row.device, row.suite, row.cell) for row in ran}
    counts = (
        plural(len(ran), "measurement"), plural(len(where), "cell"), plural(len({row.run for row in ran}), "run"),
    )  # fmt: skip
    return escape(
        f"{counts[0]} in {counts[1]} and {counts[2]}; suites: {suites}. Rows of one run were measured in turns: a "
        f"ratio is taken within a run, and of several runs the median and the range are shown."
    )


def _problems(problems: Sequence[str]) -> str:
    if not problems:
        return ""
    items = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
    return f'<div class="verdict bad"><p>Not everything ran as hoped:</p><ul>{items}</ul></div>'


def _provenance(found: Sequence[Machine]) -> str:
    columns = ("date", "commit", "driver", "threads", "python", "torch", "triton")
    head = ["device", *columns, "fastnorm", "runs"]
    body = []
    for machine in found:
        values = [", ".join(dict.fromkeys(str(getattr(row, c)) for row in machine.rows)) or "-" for c in columns]
        ours = ", ".join(dict.fromkeys(row.version for row in machine.rows if is_ours(row.name) and row.version))
        body.append([machine.label, *values, ours or "-", str(len({row.run for row in machine.rows}))])
    return _table("Where these figures come from", head, body, numbers_from=len(head))


def _goals(machine: Machine) -> str:
    judged = judge(machine.cells)
    if not judged:
        return ""
    body = []
    for item in judged:
        measured = item.measured
        if measured is None:
            shown, state = "-", "not measured"
        else:
            shown = _shown(item.goal, measured)
            state = "reached" if item.reached else "not reached"
        body.append([item.cell.name, item.goal.text, shown, state])
    return _table("Goals, and what was measured", ["cell", "goal", "measured", ""], body, numbers_from=4)


def _shown(goal: Goal, measured: Spread) -> str:
    """In the goal's own terms: a share, our time over a peer's, or the peer's over ours."""
    if not goal.peer:
        return f"{100 * measured.median:.0f}%"
    return _with_range(measured.inverse() if goal.least < 1 else measured)


def _figure(chart: Chart, prefix: str) -> str:
    svg = plots.as_svg(chart.figure, escape(f"{chart.title}. {chart.summary}", quote=True), prefix)
    label = escape(chart.title, quote=True)
    figure = f'<figure><div class="wide" role="region" aria-label="{label}" tabindex="0">{svg}</div></figure>'
    return f"<details><summary>{escape(chart.title)}</summary>{figure}</details>" if chart.folded else figure


def _suite_table(suite: str, machine: Machine) -> str:
    of_suite = machine.of(suite)
    if not of_suite:
        return ""
    head = ["name", "version", "median", "20% to 80%", "GB/s", "of copy", "peak MiB", "images/s", "time / ours",
            "values that differ", "note"]  # fmt: skip
    body: list[list[str] | str] = []
    for cell in of_suite:
        body.append(cell.name)
        body += [_cells_of(entry) for entry in cell.entries if entry.ran]
    return _table(f"{machine.title(suite)}: every cell of {machine.label}", head, body, numbers_from=2, numbers_to=10)


def _cells_of(entry: Entry) -> list[str]:
    first = entry.first
    return [
        entry.name,
        first.version,
        milliseconds(entry.p50_ms.median) if entry.p50_ms else "",
        " to ".join(milliseconds(part.median) for part in (entry.p20_ms, entry.p80_ms) if part),
        _plain(entry.gb_per_s),
        f"{100 * entry.copy_fraction.median:.0f}%" if entry.copy_fraction else "",
        _plain(entry.peak_mib),
        _plain(entry.images_per_s),
        "1x" if entry.ratio is None and entry.is_ours else _with_range(entry.ratio),
        _differ(entry),
        first.note,
    ]


def _not_run(found: Sequence[Machine]) -> str:
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for machine in found:
        for cell in machine.cells:
            for entry in cell.entries:
                if not entry.ran:
                    key = (machine.label, entry.name, entry.reason or entry.first.note or "no reason given")
                    reasons.setdefault(key, []).append(cell.name)
    if not reasons:
        return ""
    body = [
        [name, reason, plural(len(where), "cell") if len(where) > 1 else where[0], label]
        for (label, name, reason), where in reasons.items()
    ]
    return "<h2>Not run</h2>" + _table("Peers that did not run, and why", ["name", "reason", "where", "on"], body, 4)


def _table(
    caption: str, head: Sequence[str], body: Sequence[Sequence[str] | str], numbers_from: int, numbers_to: int = 99
) -> str:
    """An HTML table; a text in place of a row heads a group, and columns without any content are left out."""
    filled = [
        index
        for index, name in enumerate(head)
        if index == 0 or not name or any(row[index] for row in body if not isinstance(row, str))
    ]
    cells_of = "".join(f'<th scope="col"{_number(i, numbers_from, numbers_to)}>{escape(head[i])}</th>' for i in filled)
    lines = []
    for row in body:
        if isinstance(row, str):
            lines.append(f'<tr><th scope="rowgroup" class="group" colspan="{len(filled)}">{escape(row)}</th></tr>')
            continue
        rest = "".join(f"<td{_number(i, numbers_from, numbers_to)}>{escape(row[i])}</td>" for i in filled[1:])
        own = ' class="own"' if is_ours(row[0]) else ""
        lines.append(f'<tr{own}><th scope="row">{escape(row[0])}</th>{rest}</tr>')
    label = escape(caption, quote=True)
    return (
        f'<div class="wide" role="region" aria-label="{label}" tabindex="0"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{cells_of}</tr></thead>\n<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _number(index: int, numbers_from: int, numbers_to: int) -> str:
    return ' class="number"' if numbers_from <= index < numbers_to else ""


def _plain(spread: Spread | None) -> str:
    return significant(spread.median) if spread else ""


def _times(spread: Spread | None) -> str:
    return times(spread.median) if spread else ""


def _range(spread: Spread | None) -> str:
    return f"{significant(spread.low)} to {significant(spread.high)}" if spread and spread.runs > 1 else ""


def _with_range(spread: Spread | None) -> str:
    within = _range(spread)
    return _times(spread) + (f" ({within})" if within else "")


def _differ(entry: Entry) -> str:
    return "not compared" if entry.mismatches is None else f"{entry.mismatches:,}"


def _roofline_text(shown: Sequence[Cell]) -> str:
    speeds = [entry.gb_per_s.median for cell in shown for entry in cell.entries if entry.is_ours and entry.gb_per_s]
    low, high = min(speeds, default=math.nan), max(speeds, default=math.nan)
    return f"Horizontal bars, {plural(len(speeds), 'cell')}: {significant(low)} to {significant(high)} GB/s."


def _speed_up_text(shown: Sequence[Cell]) -> str:
    parts = []
    for cell in shown:
        peers = ", ".join(f"{peer.name} {_times(peer.ratio)}" for peer in cell.peers if peer.ratio)
        parts.append(f"{cell.name}: {peers}.")
    return "Each peer's time over fastnorm's. " + " ".join(parts)


def _throughput_text(shown: Sequence[Cell]) -> str:
    parts = []
    for cell in shown:
        speeds = ", ".join(f"{e.name} {_plain(e.images_per_s)}" for e in cell.entries if e.images_per_s)
        parts.append(f"{cell.name}: {speeds}.")
    return "Samples per second. " + " ".join(parts)


_READING = """<h2>How to read this</h2>
<p>Median: half of the rounds were faster; 20% to 80% is where most of them lie. GB/s counts the bytes that any
implementation has to read and write, divided by the median. Of copy: that, as a share of what a plain copy reached on
the same device. Time / ours: how many times as long as fastnorm it took, within one run; the range is over runs. Values
that differ: of the outputs, from the rounding contract that the README states; 0 is bit for bit.</p>"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>fastnorm: benchmark report</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

_STYLE = """
:root { --paper: #fff; --ink: #1c1f24; --soft: #646b78; --line: #c9ced6; --track: #eceef1;
  --ours: #0072b2; --other: #9aa2af; --slower: #b34f00; --good: #e3f3ec; --bad: #fde8dc; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181d; --ink: #eceef2; --soft: #a2a9b6; --line: #4a505c; --track: #282c35;
    --ours: #56b4e9; --other: #7d8593; --slower: #f0a35e; --good: #17352a; --bad: #46260f; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4em; }
h2 { font-size: 1.25rem; margin: 2.2em 0 .6em; padding-top: .6em; border-top: 1px solid var(--line); }
p { max-width: 46em; }
.verdict { padding: .6em .9em; border-radius: 6px; max-width: none; font-weight: 600; }
.verdict p, .verdict ul { margin: .2em 0; }
.verdict li { font-weight: 400; overflow-wrap: anywhere; }
.good { background: var(--good); }
.bad { background: var(--bad); }
.wide { overflow-x: auto; margin: 1.2em 0; }
figure { margin: 1.6em 0; }
svg { display: block; width: 100%; min-width: 620px; height: auto; }
summary { cursor: pointer; color: var(--soft); }
table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; min-width: 100%; }
caption { text-align: left; font-weight: 600; font-size: 1rem; padding: .4em 0; }
th, td { text-align: left; vertical-align: top; padding: .28em .7em .28em 0; border-bottom: 1px solid var(--track); }
th { font-weight: 400; }
thead th { color: var(--soft); border-bottom: 1px solid var(--line); vertical-align: bottom; }
.group { font-weight: 600; padding-top: 1em; }
.own th, .own td { color: var(--ours); font-weight: 600; }
.number { text-align: right; white-space: nowrap; }
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="?", type=Path, default=RESULTS, metavar="FOLDER", help="where the CSV files are")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where charts and page go (default: beside rows)")
    parser.add_argument("--problem", action="append", default=[], metavar="TEXT", help="what to say on top of the page")
    options = parser.parse_args(argv)
    rows = load(options.rows)
    if not any(row.ran for row in rows):
        print(f"{options.rows}: no measurement in its CSV files; wanted some; run: fastnorm bench", file=sys.stderr)
        return 1
    path = write(rows, options.output or options.rows, options.problem)
    print(summary(rows), end="\n\n")
    print(verdict(rows)[1])
    print(f"report: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(quietly("benchmarks.report", main))
