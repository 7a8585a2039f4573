"""Plain-text tables and numbers, the same for every command."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

WIDTH = 96


def table(rows: Sequence[Sequence[str]], align: str, indent: str = "") -> str:
    """Columns two spaces apart; `align` has one letter per column, l or r."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(align))]
    lines = []
    for row in rows:
        cells = (
            cell.ljust(width) if side == "l" else cell.rjust(width)
            for cell, width, side in zip(row, widths, align, strict=True)
        )
        lines.append(f"{indent}{'  '.join(cells)}".rstrip())
    return "\n".join(lines)


def paragraph(text: str, first: str = "", rest: str | None = None) -> str:
    """`text` wrapped, with `first` before its first line and `rest` (spaces of that length) before the others."""
    rest = " " * len(first) if rest is None else rest
    return textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def significant(value: float) -> str:
    """Three significant figures, at most two decimals, no exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def printable(name: str) -> str:
    """A file name that keeps to its line: control characters and undecodable bytes become question marks."""
    return "".join(character if character.isprintable() else "?" for character in name)


def one_line(text: str) -> str:
    return " ".join(text.split())


def print_table(rows, align):
    print(table(rows, align))
