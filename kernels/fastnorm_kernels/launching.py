"""Launching a Triton kernel: the ordinary way, and again, without Triton's own work per call.

An ordinary `kernel[grid](...)` binds and classifies every argument each time, which takes longer than small kernels
run. A `Launch` that was made once can be repeated on other memory through the compiled kernel's own launcher, as long
as everything that Triton specialises on is the same: the caller keeps one `Repeatable` per shape, dtype, strides,
device and pointer alignment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import triton
from triton import knobs

# Contractions are placed by hand (see _normalize_kernels); four warps keep 32 to 40 registers a thread resident.
OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}

# A knob that is set from Python becomes an entry of its group's dictionary. Those that come from the environment do
# not; Triton has read them when the first launch was compiled.
_KNOBS_AT_IMPORT = (dict(knobs.runtime.__dict__), dict(knobs.compilation.__dict__))


@dataclass(frozen=True)
class Launch:
    """One launch: the kernel, its grid, the tensors, and the rest of its arguments in order."""

    kernel: Any
    grid: tuple[int]
    x: torch.Tensor
    outputs: tuple[torch.Tensor, ...]
    sizes: tuple[Any, ...]
    constants: dict[str, Any]

    def run(self) -> None:
        self.kernel[self.grid](self.x, self.outputs, *self.sizes, **self.constants, **OPTIONS)

    def compile(self) -> Any:  # noqa: ANN401 - a CompiledKernel, whose class moves between Triton releases
        """Compile for the active driver's current device, without launching."""
        return self.kernel.warmup(self.x, self.outputs, *self.sizes, grid=self.grid, **self.constants, **OPTIONS)


class Repeatable:
    """A launch that can be made again with other tensors of the same shapes, strides, dtypes, device and alignment."""

    __slots__ = ("_arguments", "_compiled", "_device", "_function", "_grid", "_kernel", "_metadata", "_run")

    def __init__(self, launch: Launch, compiled: Any, device: int) -> None:  # noqa: ANN401
        self._kernel = launch.kernel
        self._device = device
        self._grid = launch.grid[0]
        self._arguments = (*launch.sizes, *launch.constants.values())
        self._compiled = compiled  # which unloads the function's module when nobody holds it any more
        # `run` loads the module on first use, so it comes before `function`.
        self._run: Callable[..., None] = compiled.run
        self._function = compiled.function
        self._metadata = compiled.packed_metadata

    def launch(self, x: torch.Tensor, outputs: tuple[torch.Tensor, ...]) -> bool:
        """Launch on the current stream; False, with nothing done, if Triton's ordinary way has to be taken."""
        driver = triton.runtime.driver.active
        if driver.get_current_device() != self._device or _is_observed() or self._kernel.pre_run_hooks:
            return False
        stream = driver.get_current_stream(self._device)
        self._run(
            self._grid, 1, 1, stream, self._function, self._metadata, None, None, None, x, outputs, *self._arguments
        )
        return True


def repeatable(launch: Launch) -> Repeatable | None:
    """A way to repeat `launch` on the current device, or None where there is none: then it is run the ordinary way."""
    if knobs.runtime.interpret or _is_observed():
        return None
    compiled = launch.compile()
    needed = ("run", "function", "packed_metadata")
    if not all(hasattr(compiled, name) for name in needed):
        return None  # a Triton release that launches otherwise
    return Repeatable(launch, compiled, triton.runtime.driver.active.get_current_device())


def _is_observed() -> bool:
    """Whether a profiler's hook or a knob set from Python asks to see launches, or to change them."""
    runtime = knobs.runtime
    return (
        runtime.__dict__ != _KNOBS_AT_IMPORT[0]
        or knobs.compilation.__dict__ != _KNOBS_AT_IMPORT[1]
        or bool(runtime.launch_enter_hook.calls)
        or bool(runtime.launch_exit_hook.calls)
    )
