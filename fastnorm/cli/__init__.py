"""The command line `fastnorm`: one module per command, imported only when its command runs."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence

from fastnorm.cli._errors import CommandError
from fastnorm.cli._parser import build_parser

INTERRUPTED = 130  # what a shell reports for Ctrl-C: 128 + SIGINT
BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 as hoped, 1 a difference found, 2 a wrong call."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not fit the terminal's encoding
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return 2
    try:
        status: int = importlib.import_module(f"fastnorm.cli.{args.command}").run(args)
        sys.stdout.flush()
    except CommandError as error:
        print(f"fastnorm {args.command}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has left; without a new target Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return status
