"""What an encoded row is known by: the SHA-256 of the file's bytes, and the fingerprint of what is done with them."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FunctionType

import torch

_CHUNK = 1 << 20
_SHOWN = 16  # hexadecimal digits of a fingerprint in an id: 64 bits, for settings in one folder


def hash_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def hash_ids(ids: Iterable[str]) -> str:
    """Of a set of ids: their order does not matter."""
    return hash_bytes("\n".join(sorted(ids)).encode())


def fingerprint(settings: Mapping[str, object]) -> str:
    """The same for the same settings, in any process."""
    return hash_bytes(json.dumps(settings, sort_keys=True, separators=(",", ":")).encode())


def item_id(sha256: str, settings: str) -> str:
    return f"{sha256}-{settings[:_SHOWN]}"


def described(value: object) -> object:
    """A target, or a part of one, as JSON has it: every field with its name, nothing left out that has a default.

    Raises:
        TypeError: A part that another process cannot be told, such as a lambda for a size.
    """
    if value is None or (isinstance(value, (bool, int, float, str)) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, (torch.dtype, torch.memory_format)):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: described(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"class": type(value).__name__, **fields}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {"class": type(value).__name__, **{name: described(part) for name, part in value._asdict().items()}}
    if isinstance(value, (tuple, list)):
        return [described(part) for part in value]
    if isinstance(value, FunctionType) and "<" not in value.__qualname__:
        return f"{value.__module__}:{value.__qualname__}"
    raise TypeError(
        f"target: got a {type(value).__name__} in it, which has no fingerprint, expected values such as Sides(...), or "
        f"a function of a module"
    )
