"""The progress bar of every command, on stderr so that stdout stays a report, and only where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def progress(total: int, what: str, unit: str) -> Iterator[Callable[[int], object]]:
    """Show a bar while the block runs; call what it yields with the number of units just done."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    with tqdm(total=total, desc=what, unit=unit, file=sys.stderr, disable=not terminal) as bar:
        yield bar.update
