"""The device a command works on."""

from __future__ import annotations

import torch

from fastnorm.cli._errors import CommandError


def open_device(name: str | None) -> torch.device:
    """The named device, or CUDA where there is one and else the CPU, after a trial allocation."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()  # "meta" can be allocated but holds no values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise CommandError(f"--device {name}: {reason}, expected a device of this machine; try --device cpu") from None
    return device
