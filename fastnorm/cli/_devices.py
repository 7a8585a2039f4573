"""The device a command works on, and what would make it faster."""

from __future__ import annotations

import torch

from fastnorm.backends.select import path_name, what_would_help
from fastnorm.cli._errors import CommandError
from fastnorm.cli._text import paragraph


def open_device(name: str | None) -> torch.device:
    """The named device, or CUDA where there is one and else the CPU, after a trial allocation."""
    device = _device(name)
    try:
        path_name(device)
    except (ValueError, RuntimeError) as error:  # what FASTNORM_CPU asks for
        raise CommandError(str(error)) from None
    return device


def print_advice(device: torch.device) -> None:
    """What would make `device` faster, if there is anything."""
    advice = what_would_help(device)
    if advice:
        print(paragraph(f"not as fast as it could be: {advice}"))


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()  # "meta" can be allocated but holds no values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise CommandError(f"--device {name}: {reason}, expected a device of this machine; try --device cpu") from None
    return device
