"""Which image files the user's arguments name: files as given, folders searched to the bottom."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from fastnorm.data.text import printable

PHOTOS = Path(__file__).parent.parent / "photos"

# Only for searching folders: a file that is named itself is opened whatever its suffix.
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jp2", ".ppm", ".pgm"
)  # fmt: skip


class Found(NamedTuple):
    """Files to read, in the order of the arguments (sorted within a folder), and a line for each useless argument."""

    files: list[Path]
    errors: list[str]


def shipped_photographs() -> list[Path]:
    return sorted(PHOTOS.glob("*.jpg"))


def find_images(arguments: Iterable[Path]) -> Found:
    found = Found([], [])
    for path in arguments:
        if path.is_dir():
            _search(path, found)
        elif path.is_file():
            found.files.append(path)
        elif _dangles(path):
            found.errors.append(_dangling(path))
        else:
            # Opening a pipe or a device could wait forever.
            got = "neither a file nor a folder" if path.exists() else "no such file or folder"
            found.errors.append(
                f"{printable(str(path))}: got {got}, expected an image file or a folder of them; check the path"
            )
    return found


def _dangles(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _dangling(path: Path) -> str:
    target = printable(str(path.readlink()))
    return f"{printable(str(path))}: got a link to {target}, which does not exist, expected an image file; fix the link"


def _search(folder: Path, found: Found) -> None:
    unreadable: list[OSError] = []
    before = len(found.files)
    for parent, folders, names in os.walk(folder, onerror=unreadable.append):
        folders.sort()
        paths = [Path(parent, name) for name in sorted(names) if name.lower().endswith(IMAGE_SUFFIXES)]
        found.files.extend(path for path in paths if path.is_file())
        found.errors.extend(_dangling(path) for path in paths if _dangles(path))
    found.errors.extend(
        f"{printable(error.filename)}: got {error.strerror!r}, expected a folder that can be listed; check permissions"
        for error in unreadable
    )
    if len(found.files) == before and not unreadable:
        found.errors.append(
            f"{printable(str(folder))}: got a folder without image files, here or below, expected files that end in "
            f"one of {' '.join(IMAGE_SUFFIXES)}; name files with other suffixes one by one"
        )
