"""How a command ends where it cannot go on: one line or none, an exit status, and no traceback."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

WRONG_CALL = 2
INTERRUPTED = 130  # what a shell reports for Ctrl-C: 128 + SIGINT
BROKEN_PIPE = 141  # 128 + SIGPIPE

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def quietly(name: str, command: Callable[[], int]) -> int:
    """Run a command that prints to stdout; its exit status, or that of Ctrl-C or of an output that takes no more."""
    if sys.stdout is None:
        complain(f"{name}: error: standard output is closed; redirect it to a file, or to /dev/null")
        return WRONG_CALL
    try:
        try:
            return command()
        finally:
            sys.stdout.flush()  # what cannot be written shows here, not when Python ends
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has left
        _discard_stdout()
        return BROKEN_PIPE
    except OSError as error:
        if error.errno not in _NO_ROOM or error.filename is not None:
            raise
        _discard_stdout()
        complain(f"{name}: error: standard output cannot be written ({error.strerror}); make room, or redirect it")
        return WRONG_CALL


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Ctrl-C ends the process at once, while nothing is done but importing.

    As an exception it would be raised within torch's C++ code, some of which answers with `terminate`.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def complain(text: str) -> None:
    """A line to stderr, if that takes one."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(text, file=sys.stderr)


def _discard_stdout() -> None:
    """Without a new target Python would complain again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
