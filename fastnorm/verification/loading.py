"""The real image processor of a configuration, as transformers builds it, from this machine's files alone."""

from __future__ import annotations

import os
from typing import Any

from fastnorm.spec.configs.targets import Backend


def load_processor(source: str | os.PathLike[str], backend: Backend | None = None) -> object:
    """The image processor that transformers' `AutoImageProcessor` makes of a configuration.

    Args:
        source: A `preprocessor_config.json`, its folder, or a model's name on the Hugging Face Hub, which is looked up
            in the local cache and never downloaded.
        backend: "pil" or "torchvision"; None: what transformers takes.

    Raises:
        ModuleNotFoundError: transformers is not installed.
        OSError: No such file, or not in the local cache.
        ValueError: transformers cannot make an image processor of it, or not with this backend.
    """
    from transformers import AutoImageProcessor

    load: Any = AutoImageProcessor  # without annotations
    options = {} if backend is None else {"backend": backend}
    processor: object = load.from_pretrained(source, local_files_only=True, trust_remote_code=False, **options)
    own = getattr(processor, "backend", None)
    if backend is not None and own != backend:
        raise ValueError(
            f"backend: got {backend!r}, expected {own!r}: {type(processor).__name__} is all that transformers has"
        )
    return processor
