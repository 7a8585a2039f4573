"""Arguments of the offline tools: what cannot work is one line and exit status 2."""

from __future__ import annotations

import argparse
import json
import math
from typing import NoReturn

import torch

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

Triple = tuple[float, float, float]
Targets = tuple[tuple[Triple, Triple], ...]


class Parser(argparse.ArgumentParser):
    """Without argparse's lines of usage, of which these tools have many."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def positive(text: str) -> int:
    """A whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number of at least 1")
    return value


def dtype_names(text: str) -> list[str]:
    """One name per target, as in `fp32,bf16`."""
    names = text.split(",")
    if not set(names) <= set(DTYPES):
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected dtypes of {', '.join(DTYPES)}, one per target, such as fp32,bf16"
        )
    return names


def targets(text: str) -> Targets:
    """Mean and std of each target, from JSON."""
    try:
        found = tuple((_triple(mean), _triple(std)) for mean, std in json.loads(text))
        good = bool(found) and all(value > 0 for _, std in found for value in std)
    except (TypeError, ValueError, OverflowError, RecursionError):
        good = False
    if not good:
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected JSON such as [[[0.5,0.5,0.5],[0.5,0.5,0.5]]]: for each target three means and "
            f"three positive standard deviations"
        )
    return found


def _triple(values: list[float]) -> Triple:
    r, g, b = map(float, values)
    if not all(map(math.isfinite, (r, g, b))):
        raise ValueError(values)
    return r, g, b
