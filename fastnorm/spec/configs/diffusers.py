"""What diffusers's configurations say, as the arguments of a Target."""

from __future__ import annotations

from typing import Any


def read(source: object, name: str, backend: str | None) -> dict[str, Any]:
    raise NotImplementedError
