"""The progress bar of every command, on stderr so that stdout stays a report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def progress(total: int, what: str, unit: str) -> Iterator[Callable[[int], object]]:
    """Show a bar while the block runs; call what it yields with the number of units just done."""
    with tqdm(total=total, desc=what, unit=unit, file=sys.stderr) as bar:
        yield bar.update
