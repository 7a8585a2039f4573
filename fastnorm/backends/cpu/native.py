"""Which code computes on the CPU: the native engine with some instruction set, or Pillow and torch.

The choice is made once in a process, on its first call: the best instructions that the processor has, or what the
environment variable FASTNORM_CPU asks for.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.autograd.graph import increment_version

from fastnorm.spec.normalization import Normalization
from fastnorm_native import Instructions, Library, inverse, library, normalize, status

VARIABLE = "FASTNORM_CPU"
AUTO, TORCH = "auto", "torch"
INSTRUCTIONS = {instructions.name.lower(): instructions for instructions in reversed(Instructions)}
CHOICES = (AUTO, *INSTRUCTIONS, TORCH)


@dataclass(frozen=True)
class Engine:
    """The native code, and the instructions to use."""

    library: Library
    instructions: Instructions

    @property
    def name(self) -> str:
        return self.instructions.name.lower()

    def can_normalize(self, planes: torch.Tensor, outputs: Sequence[torch.Tensor]) -> bool:
        """Whether `normalize` takes these tensors; others take the torch path."""
        return normalize.can_normalize(planes, outputs)

    def normalize(
        self, planes: torch.Tensor, targets: Sequence[Normalization], outputs: Sequence[torch.Tensor]
    ) -> None:
        """Fill every output from a uint8 view (N, 3, H, W)."""
        prepared = [normalize.prepared(self.library, target.mean, target.std, target.order) for target in targets]
        normalize.normalize(self.library, self.instructions, planes, prepared, outputs, torch.get_num_threads())
        increment_version(outputs)  # autograd learns of a write that torch has not seen

    def can_invert(self, values: torch.Tensor, output: torch.Tensor) -> bool:
        """Whether `denormalize` and `renormalize` take these tensors; others take the torch path."""
        return inverse.can_invert(values, output)

    def denormalize(self, values: torch.Tensor, source: Normalization, output: torch.Tensor) -> None:
        """Fill a uint8 or float output from normalised values (N, 3, H, W)."""
        self._invert(values, source, None, output)

    def renormalize(
        self, values: torch.Tensor, source: Normalization, target: Normalization, output: torch.Tensor
    ) -> None:
        """Fill a float output from values (N, 3, H, W) of another normalisation."""
        self._invert(values, source, inverse.Constants(target.mean, target.std), output)

    def _invert(
        self, values: torch.Tensor, source: Normalization, target: inverse.Constants | None, output: torch.Tensor
    ) -> None:
        constants = inverse.Constants(source.mean, source.std)
        inverse.invert(self.library, self.instructions, values, constants, target, output, torch.get_num_threads())
        increment_version([output])  # autograd learns of a write that torch has not seen


@functools.cache
def engine() -> Engine | None:
    """The native engine; None where Pillow and torch compute.

    Raises:
        ValueError: FASTNORM_CPU is none of the known words, or asks for instructions that the processor lacks.
        RuntimeError: It asks for native code, and there is none.
    """
    choice = os.environ.get(VARIABLE) or AUTO
    if choice not in CHOICES:
        raise ValueError(f"{VARIABLE}: got {choice!r}, expected one of {', '.join(CHOICES)}")
    if choice == TORCH:
        return None
    found = library()
    if choice == AUTO:
        return None if found is None else Engine(found, found.best)
    if found is None:
        raise RuntimeError(f"{VARIABLE}: got {choice!r}, and there is no native code: {status()}")
    if INSTRUCTIONS[choice] > found.best:
        has = [name for name, instructions in INSTRUCTIONS.items() if instructions <= found.best]
        raise ValueError(f"{VARIABLE}: got {choice!r}, which this processor lacks; expected one of {', '.join(has)}")
    return Engine(found, INSTRUCTIONS[choice])


def path_name() -> str:
    """For reports: "native code (vnni)", or "torch"."""
    chosen = engine()
    return "torch" if chosen is None else f"native code ({chosen.name})"


def what_would_help() -> str:
    """What would make the CPU faster; "" where the native code is in use."""
    if engine() is not None:
        return ""
    if os.environ.get(VARIABLE) == TORCH:
        return f"{VARIABLE}=torch switches the native code off"
    return status()
