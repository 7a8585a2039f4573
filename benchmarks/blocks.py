"""Generated parts of Markdown files: between two marker comments, written by a command and checked by a test."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOT_MEASURED = "not yet measured"


@dataclass(frozen=True)
class Block:
    """A part of `path` from the line `start` to the line `end`, whose text `render` gives."""

    path: Path
    start: str
    end: str
    render: Callable[[], str]

    def replaced(self, text: str) -> str:
        """`text` with the block as it should be."""
        if text.count(self.start) != 1 or text.count(self.end) != 1:
            raise ValueError(
                f"{self.path}: got {text.count(self.start)} x {self.start!r} and {text.count(self.end)} x "
                f"{self.end!r}, wanted one each; add both lines where the block belongs"
            )
        before, rest = text.split(self.start)
        after = rest.split(self.end)[1]
        return f"{before}{self.start}\n\n{self.render()}\n\n{self.end}{after}"

    def drifted(self) -> bool:
        """Whether the file says something else than the rows."""
        text = self.path.read_text(encoding="utf-8")
        return self.replaced(text) != text

    def write(self) -> bool:
        """Bring the file up to date; whether that changed it."""
        text = self.path.read_text(encoding="utf-8")
        updated = self.replaced(text)
        if updated != text:
            self.path.write_text(updated, encoding="utf-8")
        return updated != text


def run(block: Block, module: str, write: bool) -> int:
    """The command: write the block, or fail where it has drifted."""
    name = block.path.name
    if write:
        print(f"{name}: {'written' if block.write() else 'was up to date'}")
        return 0
    if block.drifted():
        print(
            f"{name} and benchmarks/results say different things; bring it up to date: python -m {module} --write",
            file=sys.stderr,
        )
        return 1
    print(f"{name}: up to date")
    return 0


def add_write(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--write", action="store_true", help="write the block; without it, exit 1 where it drifted")


def markdown_table(rows: Sequence[Sequence[str]], numbers: bool = False) -> str:
    """Rows of cells, the first being the header; with `numbers`, all columns but the first are right-aligned."""
    rule = ["---", *("---:" if numbers else "---" for _ in rows[0][1:])]
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + "|".join(rule) + "|", *body])
