"""Text from files, made safe to print in one line."""

from __future__ import annotations


def printable(name: str) -> str:
    """A file name that keeps to its line: control characters and undecodable bytes become question marks."""
    return "".join(character if character.isprintable() else "?" for character in name)


def one_line(text: str) -> str:
    return " ".join(text.split())
