"""What the readers of configurations share: checks of the call and of keys, with the words for what is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# An object of a library that may not be installed: known by its class's name, and read by its attributes.
Published = Any


def check_backend(backend: object, library: str) -> None:
    """Refuse what is no backend, and tensors where the library prepares PIL images."""
    if backend not in (None, "pil", "torchvision"):
        raise ValueError(f"backend: got {backend!r}, expected 'pil', 'torchvision' or None")
    if backend == "torchvision" and library:
        raise ValueError(
            f"backend: got 'torchvision' for a configuration of {library}, which prepares PIL images, expected 'pil' "
            f"or None; for torch's pixels all the same: from_config(..., arithmetic='torch')"
        )


def check_keys(values: Mapping[str, Any], known: Iterable[str], source: str) -> None:
    """Refuse keys that nothing is known about: they might change the pixels."""
    unknown = sorted(set(map(str, values)) - set(known))
    if unknown:
        raise ValueError(
            f"{source}: got the unknown {'keys' if len(unknown) > 1 else 'key'} {', '.join(map(repr, unknown))}, "
            f"expected none; leave out what does not change the pixels, and write what does as arguments of a Target"
        )


def check_flag(values: Mapping[str, Any], key: str, default: bool, source: str) -> bool:
    value = values.get(key, default)
    if not isinstance(value, bool):
        raise ValueError(f"{source}: {key} is {value!r}, expected true or false")
    return value
