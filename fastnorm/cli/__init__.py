"""The command line `fastnorm`: one module per command, imported only when its command runs."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Sequence

from fastnorm.cli._ending import WRONG_CALL, complain, importing, quietly
from fastnorm.cli._errors import CommandError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 as hoped, 1 a difference found, 2 a wrong call."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not fit the terminal's encoding
    return quietly("fastnorm", lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    from fastnorm.cli._parser import build_parser  # here, where Ctrl-C is quiet

    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return WRONG_CALL
    try:
        with importing():
            command = importlib.import_module(f"fastnorm.cli.{args.command}")
        status: int = command.run(args)
    except CommandError as error:
        complain(f"fastnorm {args.command}: error: {error}")
        return WRONG_CALL
    return status
