"""What a command says about image files that it could not use."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_SHOWN = 5


def report_left_out(errors: Sequence[str], usable: int, every: bool) -> None:
    """A line for each file to stderr; without `every`, for the first ones."""
    if not errors:
        return
    print(f"left out {len(errors)}, used {usable}:", file=sys.stderr)
    shown = errors if every else errors[:_SHOWN]
    for error in shown:
        print(f"  {error}", file=sys.stderr)
    if len(errors) > len(shown):
        print(f"  and {len(errors) - len(shown)} more; --verbose lists them all", file=sys.stderr)
