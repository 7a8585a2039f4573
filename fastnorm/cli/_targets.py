"""From a name, a configuration or numbers on the command line to a `Normalization`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from fastnorm.cli._errors import CommandError
from fastnorm.spec.constants import cached
from fastnorm.spec.normalization import PRESETS, Normalization

CONFIG_FILE = "preprocessor_config.json"


def by_name(text: str) -> Normalization:
    """A preset, or else the configuration file or folder of that path; `./clip` means a path."""
    preset = PRESETS.get(text.lower())
    if preset is not None:
        return preset
    if _exists(text) or _is_cached(text):
        return from_config(text)
    name = Path(text).name.lower()
    if name in PRESETS:
        raise CommandError(f"{text}: no such file; the preset is: fastnorm explain {name}")
    if is_model_id(text):
        raise CommandError(f"{text}: no such file; {how_to_download(text)}")
    close = difflib.get_close_matches(text.lower(), PRESETS, n=1)
    hint = f"did you mean {close[0]}?" if close else "check the spelling or the path"
    raise CommandError(
        f"{text}: got neither a preset nor a file, expected one of {', '.join(PRESETS)}, or a preprocessor_config.json "
        f"or its folder; {hint}"
    )


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # too long to be one
        return False


def _is_cached(text: str) -> bool:
    """Whether a configuration of this model lies in the local Hugging Face cache."""
    try:
        return is_model_id(text) and bool(cached(text))
    except FileNotFoundError:
        return False


def from_config(text: str) -> Normalization:
    """The configuration file or folder of that path."""
    try:
        return Normalization.from_config(Path(text))
    except FileNotFoundError as error:
        if Path(text).is_dir():
            raise CommandError(f"{text}: {_without_configuration(text) or error}") from None
        hint = f"{text}: no such file; {how_to_download(text)}" if is_model_id(text) else str(error)
        raise CommandError(hint) from None
    except OSError as error:
        raise CommandError(f"{text}: cannot be read ({error.strerror})" if error.strerror else str(error)) from None
    except (TypeError, ValueError) as error:
        reason = str(error)
        raise CommandError(reason if str(Path(text)) in reason else f"{text}: {reason}") from None


def is_model_id(text: str) -> bool:
    """Whether this could be a model's name on the Hugging Face Hub, as openai/clip-vit-large-patch14."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", text) is not None


def how_to_download(model: str) -> str:
    return (
        f"nothing is downloaded here; if this is a model on the Hugging Face Hub, this prints the path to give: "
        f"hf download {model} {CONFIG_FILE}"
    )


def _without_configuration(folder: str) -> str:
    """What can be explained below a folder without an image configuration; empty where nothing can."""
    path = Path(folder)
    below = sorted(part.parent for part in path.glob(f"*/{CONFIG_FILE}"))
    commands = ", ".join(f"fastnorm explain {part}" for part in below)
    if (path / "model_index.json").is_file():
        more = f"; below it: {commands}" if below else ""
        return f"a diffusers pipeline; for its VAE: fastnorm explain vae{more}"
    return f"no image configuration in this folder; below it: {commands}" if below else ""


def from_numbers(mean: Sequence[float] | None, std: Sequence[float] | None) -> Normalization:
    if mean is None or std is None:
        given, missing = ("--mean", "--std") if std is None else ("--std", "--mean")
        raise CommandError(f"got {given} alone, expected both; add {missing}, with one number or three (R G B)")
    try:
        return Normalization(mean, std, name="custom")
    except ValueError as error:
        raise CommandError(f"--mean, --std: {error}") from None


def same_preset(target: Normalization) -> str | None:
    """The preset that computes the same, if one does."""
    return next((name for name, preset in PRESETS.items() if preset == target), None)
