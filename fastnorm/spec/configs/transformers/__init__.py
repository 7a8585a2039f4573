"""What transformers' image processors do to an image, as the arguments of a `Target`.

`loading` turns what was passed into a processor object of one of the library's own classes, whose attributes are the
settings with all defaults filled in; `own_classes` does so for a class of a user's. `classes` is the allowlist: the
classes whose pixels `docs/conformance.md` proves, each with the function that reads its settings. `readers` and
`patches` are these functions, made of what many share, `values` and `geometry`; `sizes` are the size rules that single
models have. A setting that a reader did not ask for is refused by `settings`.
"""

from __future__ import annotations

from typing import Any

from fastnorm.spec.configs.transformers.classes import reader_of
from fastnorm.spec.configs.transformers.loading import load


def read(source: object, name: str, backend: str | None) -> dict[str, Any]:
    settings = load(source, name, backend)
    arguments = reader_of(settings.kind, settings.name)(settings)
    settings.refuse_the_rest()
    return arguments
