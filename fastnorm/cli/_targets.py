"""From a name, a configuration or numbers on the command line to a `Normalization`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from fastnorm._normalization import PRESETS, Normalization
from fastnorm.cli._errors import CommandError


def by_name(text: str) -> Normalization:
    """A preset, or else the configuration file or folder of that path; `./clip` means a path."""
    preset = PRESETS.get(text.lower())
    if preset is not None:
        return preset
    if _exists(text):
        return from_config(Path(text))
    close = difflib.get_close_matches(text.lower(), PRESETS, n=1)
    hint = f"did you mean {close[0]}?" if close else "check the spelling or the path"
    raise CommandError(
        f"{text}: neither a preset nor a file; wanted one of {', '.join(PRESETS)}, or a preprocessor_config.json or "
        f"its folder; {hint}"
    )


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # too long to be one
        return False


def from_config(path: Path) -> Normalization:
    try:
        return Normalization.from_config(path)
    except OSError as error:
        raise CommandError(f"{path}: cannot be read ({error.strerror})" if error.strerror else str(error)) from None
    except (TypeError, ValueError) as error:
        text = str(error)
        raise CommandError(text if str(path) in text else f"{path}: {text}") from None


def from_numbers(mean: Sequence[float] | None, std: Sequence[float] | None) -> Normalization:
    if mean is None or std is None:
        given, missing = ("--mean", "--std") if std is None else ("--std", "--mean")
        raise CommandError(f"got {given} alone, wanted both; add {missing}, with one number or three (R G B)")
    try:
        return Normalization(mean, std, name="custom")
    except ValueError as error:
        raise CommandError(f"--mean, --std: {error}") from None


def same_preset(target: Normalization) -> str | None:
    """The preset that computes the same, if one does."""
    return next((name for name, preset in PRESETS.items() if preset == target), None)
