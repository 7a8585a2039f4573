"""The contact sheet's file: it replaces an earlier sheet, whole or not at all, and never an image that was read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, PngImagePlugin

from fastnorm.cli._errors import CommandError

_MARK = "fastnorm contact sheet"  # the PNG's "Software"


def check(path: Path) -> None:
    """Fail now, not after the work, if the sheet cannot be written."""
    if path.suffix.lower() != ".png":
        raise CommandError(f"--output {path}: got another suffix, expected a PNG such as {path.stem}.png")
    try:
        if path.exists():
            with path.open("ab"):
                pass
        beside = _beside(path)
        with beside.open("xb"):
            pass
        beside.unlink()
    except OSError as error:
        raise CommandError(
            f"--output {path}: cannot be written ({error.strerror}), expected a file in a writable folder"
        ) from None


def apart_from(output: Path, files: Sequence[Path], named: Sequence[Path]) -> list[Path]:
    """The files to read, without a sheet that an earlier demo wrote to a folder that is searched.

    Raises:
        CommandError: The output is another of these files.
    """
    if not output.exists():
        return list(files)
    same = [path for path in files if path.samefile(output)]
    if same and (set(same) & set(named) or not _is_sheet(output)):
        raise CommandError(
            f"--output {output}: got one of the images to read, expected another file; name one that does not exist yet"
        )
    return [path for path in files if path not in same]


def write(path: Path, sheet: Image.Image) -> None:
    """Save beside `path`, then rename: a full disk leaves what was there."""
    beside = _beside(path)
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", _MARK)
    try:
        try:
            sheet.save(beside, format="PNG", optimize=True, pnginfo=mark)
            beside.replace(_target(path))
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise CommandError(f"--output {path}: cannot be written ({error.strerror or error})") from None


def _target(path: Path) -> Path:
    return Path(os.path.realpath(path))  # behind a link, which stays


def _beside(path: Path) -> Path:
    return _target(path).with_name(f".fastnorm-{os.getpid()}.part")


def _is_sheet(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return bool(image.info.get("Software") == _MARK)
    except OSError:
        return False
