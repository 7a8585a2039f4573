"""The error that ends a command with one line instead of a traceback."""

from __future__ import annotations


class CommandError(Exception):
    """The command was called in a way that cannot work; the text says what was passed, expected, and how to fix it."""
