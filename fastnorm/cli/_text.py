"""Tables and paragraphs as wide as the terminal, and numbers, the same for every command."""

from __future__ import annotations

import io
import shutil
import sys
import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDTH = 96  # of paragraphs, at most
_UNLIMITED = 1000  # of tables that are not for a terminal: their lines stay whole


def print_table(rows: Sequence[Sequence[str]], align: str, head: bool = True) -> None:
    """Columns two spaces apart, then an empty line; `align` has one letter per column, l or r.

    On a terminal, cells wrap where the table would be wider than it.
    """
    grid = Table(box=None, pad_edge=False, padding=(0, 1), show_header=head, header_style="bold")
    names, body = (rows[0], rows[1:]) if head else ([""] * len(align), rows)
    for name, side in zip(names, align, strict=True):
        grid.add_column(Text(name), justify="right" if side == "r" else "left", overflow="fold")
    for row in body:
        grid.add_row(*map(Text, row))
    text = io.StringIO()  # rich would end the process where stdout takes no more
    console = Console(
        file=text, force_terminal=sys.stdout.isatty(), width=_terminal_width(_UNLIMITED), height=len(rows)
    )
    console.print(grid)
    print("\n".join(line.rstrip() for line in text.getvalue().splitlines()), end="\n\n")


def paragraph(text: str, first: str = "", rest: str | None = None) -> str:
    """`text` wrapped, with `first` before its first line and `rest` (spaces of that length) before the others."""
    rest = " " * len(first) if rest is None else rest
    return textwrap.fill(
        text,
        min(_WIDTH, _terminal_width(_WIDTH)),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _terminal_width(otherwise: int) -> int:
    return shutil.get_terminal_size((otherwise, 0)).columns if sys.stdout.isatty() else otherwise


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def significant(value: float) -> str:
    """Three significant figures, at most two decimals, no exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
