"""The progress bar of every command, on stderr so that stdout stays a report, and only where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Bar:
    """What a command tells the bar: how much there is, what is being done, and how much is done."""

    def __init__(self, shown: Progress, task: TaskID) -> None:
        self._shown, self._task = shown, task

    def show(self, done: int, total: int, name: str) -> None:
        self._shown.update(self._task, completed=done, total=total, name=name)

    def total(self, steps: int) -> None:
        self._shown.update(self._task, total=steps)

    def name(self, text: str) -> None:
        self._shown.update(self._task, name=text)

    def advance(self, steps: int) -> None:
        self._shown.update(self._task, advance=steps)


@contextmanager
def progress(total: int | None, what: str, file: TextIO | None = None) -> Iterator[Bar]:
    """Show a bar with names and the remaining time while the block runs; `total` None: not known yet."""
    file = sys.stderr if file is None else file
    terminal = file is not None and file.isatty()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[name]}", markup=False),
    )
    with Progress(*columns, console=Console(file=file), disable=not terminal, expand=True) as shown:
        yield Bar(shown, shown.add_task(what, total=total, name=""))
