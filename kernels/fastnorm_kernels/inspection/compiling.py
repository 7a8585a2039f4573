"""Compiling a launch for a named architecture, without a GPU.

A launch is compiled exactly as it would be run: the launcher picks the variant from the tensors (CPU or meta tensors
do), and Triton specialises on them. Triton's interpreter must be off in this process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import CompiledKernel

LAYOUTS = ("NHWC", "NCHW")

ARCHS = {f"sm_{number}": GPUTarget("cuda", number, 32) for number in (75, 80, 86, 89, 90, 100, 120)} | {
    "gfx90a": GPUTarget("hip", "gfx90a", 64),
    "gfx942": GPUTarget("hip", "gfx942", 64),
    "gfx1100": GPUTarget("hip", "gfx1100", 32),
}


class _OfflineDriver:
    """As much of a Triton driver as compiling needs: it names the target and never runs anything."""

    def __init__(self, target: GPUTarget) -> None:
        self._target = target

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> str:
        return f"offline-{self._target.backend}-{self._target.arch}"  # Triton keeps one cache of kernels per device

    def get_current_stream(self, device: object) -> int:
        del device
        return 0


@contextlib.contextmanager
def compiling_for(target: GPUTarget) -> Iterator[None]:
    driver = triton.runtime.driver
    previous = driver._active
    driver.set_active(_OfflineDriver(target))
    try:
        yield
    finally:
        driver._active = previous


class Compilable(Protocol):
    """A launch of one of this package's kernels."""

    def compile(self) -> Any: ...  # noqa: ANN401 - a CompiledKernel, whose class moves between Triton releases


def compile_launch(launch: Compilable, target: GPUTarget) -> CompiledKernel:
    """Compile what `launch` would run, for `target`, and return Triton's compiled kernel."""
    if triton.knobs.runtime.interpret:
        raise RuntimeError("offline compilation: Triton's interpreter is on; run without TRITON_INTERPRET=1")
    with compiling_for(target):
        return launch.compile()
