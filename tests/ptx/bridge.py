"""From a launch to its compiled variant, and the memory that it may touch.

`install(arch)` makes every launch of this process run on the interpreter of PTX, with CPU tensors.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import torch

from ptx.interpreter import Counts, Kernel
from ptx.memory import Memory

# Bytes. The first resizing pass reads aligned words, of which images hold a part; of interleaved pixels two at a time.
WORD, TWO_WORDS = 4, 8


def compile_to_ptx_only():
    """Leave ptxas out of this process's compilations, which are kept in a folder beside Triton's own."""
    import triton
    from triton.backends.nvidia.compiler import CUDABackend

    triton.knobs.propagate_env = False  # child processes that want machine code keep to Triton's own folder
    triton.knobs.cache.dir += "-ptx-only"
    CUDABackend.make_cubin = lambda *_: b"not made: PTX only"


@functools.cache
def _kernel(ptx, shared_bytes):
    return Kernel(ptx, shared_bytes)


def compiled_kernel(launch, arch):
    """What a launch runs on an architecture of `offline.ARCHS`: Triton's compiled kernel, and ours to execute."""
    from fastnorm_kernels.inspection.compiling import ARCHS, compile_launch

    compiled = compile_launch(launch, ARCHS[arch])
    assert not compiled.metadata.global_scratch_size
    return compiled, _kernel(compiled.asm["ptx"], compiled.metadata.shared)


def run(launch, arch, memory, positional, **options):
    """Execute a launch with these arguments; options are those of `Kernel.launch`."""
    compiled, kernel = compiled_kernel(launch, arch)
    names = [parameter.name for parameter in launch.kernel.params]
    values = dict(zip(names, positional, strict=False)) | launch.constants
    arguments = [
        _argument(kind, value)
        for name, kinds in compiled.src.signature.items()
        for kind, value in _flat(kinds, values[name])
    ]
    scratch = [np.zeros(1, np.uint64)] * (len(kernel.module.parameters) - len(arguments))
    grid = (*launch.grid, 1, 1)[:3]
    kernel.launch(grid, arguments + scratch, memory, **options)


def _flat(kinds, values):
    if isinstance(kinds, (tuple, list)):
        for kind, value in zip(kinds, values, strict=True):
            yield from _flat(kind, value)
    elif kinds != "constexpr":
        yield kinds, values


def _argument(kind, value):
    if kind.startswith("*"):
        return np.array([value.data_ptr()], np.uint64)
    if kind == "fp32":
        return np.array([value], np.float32).view(np.uint32)
    bits = int(kind[1:])
    return np.array([int(value) & ((1 << bits) - 1)], f"u{bits // 8}")


def run_normalizing(launch, arch, **options):
    """A launch of the normalising kernels, in all programs unless told otherwise."""
    memory = Memory()
    memory.add_tensor("x", launch.x)
    for index, output in enumerate(launch.outputs):
        memory.add_tensor(f"output {index}", output, writable=True, due=True)
    run(launch, arch, memory, (launch.x, launch.outputs, *launch.sizes), **options)
    if options.get("programs") is None:
        memory.check_written()


class Resizing:
    """The memory of one call of `fastnorm_kernels.resize.preprocess`, told from its arguments and records."""

    def __init__(self, sources=(), targets=()):
        self.memory = Memory()
        self.launches = 0
        for index, source in enumerate(sources):
            steps = (
                (source.height - 1) * source.row_stride,
                (source.width - 1) * source.pixel_stride,
                2 * source.channel_stride,
            )
            low, high = (sum(limit(0, step) for step in steps) for limit in (min, max))
            slack = TWO_WORDS if source.pixel_stride == 3 else WORD
            self.memory.add(f"image {index}", source.address + low, high - low + 1, slack=slack)
        for index, target in enumerate(targets):
            for part in _written(target):
                self.memory.add_tensor(f"output {index}", part, writable=True, due=True)

    def run(self, launch, arch, **options):
        from fastnorm_kernels import planning, resize

        memory, kernel = self.memory, launch.kernel.__name__
        self.launches += 1
        self._add_once("records", launch.jobs.data_ptr(), 8 * launch.jobs.numel())
        if kernel == "_tables_kernel":
            for job in itertools.starmap(resize.TableJob, launch.jobs.tolist()):
                size = planning.table_bytes(job.pitch, job.taps, job.split)
                self._add_once("table", job.table, size, writable=True)
        else:
            intermediate = launch.tensors[0]
            if intermediate.data_ptr() not in memory:
                intermediate.random_(-(2**31), 2**31 - 1)
                # A pair of taps may reach past an image's last line, with a coefficient of zero.
                size = 4 * intermediate.numel()
                memory.add("intermediate", intermediate.data_ptr(), size, writable=True, undefined=True)
        if kernel == "_along_lines_kernel":
            for job in itertools.starmap(resize.LineJob, launch.jobs.tolist()):
                split = launch.constants["PIXELS"] != planning.Pixels.STRIDED
                self._add_once("uploaded table", job.table, planning.table_bytes(job.pitch, job.taps, split))
        if kernel == "_across_lines_kernel":
            values = launch.tensors[1]
            for job in itertools.starmap(resize.OutputJob, launch.jobs.tolist()):
                self._add_once("uploaded table", job.table, planning.table_bytes(job.table_pitch, job.taps, False))
                size = values.element_size()
                self._add_once("values", values.data_ptr() + job.values * size, 3 * 256 * size)
        run(launch, arch, memory, (launch.jobs, *launch.tensors), **options)

    def _add_once(self, name, address, size, **options):
        if address not in self.memory:
            self.memory.add(name, address, size, **options)


def _written(target):
    """What the launches write of a target's output, all of which they have to: not borders that stay as they are."""
    from fastnorm_kernels.planning import _leaves_borders

    if not any(map(_leaves_borders, target.geometries)):
        return [target.output]
    parts = []
    for output, geometry in zip(target.output, target.geometries, strict=True):
        rows, columns = (
            slice(span.offset, span.offset + span.count) if _leaves_borders(geometry) else slice(None)
            for span in (geometry.rows, geometry.columns)
        )
        parts.append(output[:, rows, columns])
    return parts


def install(arch):
    """Run all launches of this process on what they compile to for `arch`, with every check."""
    from fastnorm_kernels import launching, resize

    launches = resize.launches
    current = [None]  # what the launches that follow belong to

    def checked_launches(sources, targets, device, keep_plan=False):
        call = Resizing(sources, targets)
        for launch in launches(sources, targets, device, keep_plan):
            current[0] = call
            yield launch
            current[0] = None
        if call.launches:
            call.memory.check_written()

    resize.launches = checked_launches
    resize.PassLaunch.run = lambda launch: (current[0] or Resizing()).run(launch, arch)
    launching.Launch.run = lambda launch: run_normalizing(launch, arch)


def resized(sources, targets, arch):
    """Execute the launches of a call of `fastnorm_kernels.preprocess`, each when it is asked for: (launch, counts)."""
    from fastnorm_kernels import resize

    call = Resizing(sources, targets)
    for launch in resize.launches(sources, targets, torch.device("cpu")):
        counts = Counts()
        call.run(launch, arch, counts=counts)
        yield launch, counts
    call.memory.check_written()
