"""Launches the resizing kernels: which pass of which job takes which way.

All jobs of a call share its launches: at most one per kind of line memory for the first pass, and one or two per output
dtype for the second. Their number depends on the kinds that occur, not on how many images there are or on their sizes.
One upload, of records of some 170 bytes a job, says everything. What depends on sizes and strides alone is planned once
and kept, with its tables on the device: a call with sizes seen before only adds the addresses.
"""

from __future__ import annotations

import collections
import contextlib
import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import triton

from . import _resize_kernels as kernels
from .jobs import LineJob, OutputJob, Pixels, TableJob
from .launching import OPTIONS
from .planning import (
    LINES,
    MAX_JOBS,
    TILE,
    Jobs,
    Records,
    ResizeTarget,
    Source,
    Words,
    axes_of,
    chunks,
    extent,
    records_of,
    runs,
    values_of,
    vector_of,
)

TABLE_TAPS = 16  # of a tile of a table
# First-pass programs to aim for: several rounds of what a large GPU holds at once, so that the last one counts little.
PROGRAMS = 8192
# Plans that are kept, each with its tables on the device: some 20 KB for images of one size, 2 MB for 32 of them.
MAX_PLANS = 32


@dataclass(frozen=True)
class PassLaunch:
    """One launch: the kernel, its grid, the records of the jobs along the grid's last axis, and the other arguments."""

    kernel: Any
    grid: tuple[int, int, int]
    jobs: torch.Tensor
    tensors: tuple[torch.Tensor, ...]
    constants: dict[str, int]

    def run(self) -> None:
        self.kernel[self.grid](self.jobs, *self.tensors, **self.constants, **OPTIONS)

    def compile(self) -> Any:  # noqa: ANN401 - a CompiledKernel, whose class moves between Triton releases
        """Compile for the active driver's current device, without launching."""
        return self.kernel.warmup(self.jobs, *self.tensors, grid=self.grid, **self.constants, **OPTIONS)


def preprocess(
    sources: Sequence[Source], targets: Sequence[ResizeTarget], device: torch.device, keep_plan: bool = False
) -> None:
    """Resize, crop and normalise every image for every target, into the targets' outputs.

    Args:
        sources: N images on `device`, each uint8, of three channels. Their memory has to last until the work is done.
        targets: What to make of them.
        device: Where everything lies. Work goes to its current stream.
        keep_plan: Whether to keep the plan for calls with the same `geometries` objects, sizes and strides, of which
            the last MAX_PLANS stay.

    Raises:
        RuntimeError: The device's current stream is being captured into a CUDA graph.

    Nothing else is checked here, and the host waits for nothing. Its launches are as many for any number of images, as
    long as the intermediate stays within MAX_PIXELS.
    """
    with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                "preprocess: got a call under CUDA-graph capture, expected one outside of it: a call uploads the "
                "addresses of its images, which a replay would find stale; preprocess into out= tensors first, then "
                "capture what reads them"
            )
        for launch in launches(sources, targets, device, keep_plan):
            launch.run()


def bytes_moved(targets: Sequence[ResizeTarget]) -> int:
    """Every source pixel that some target needs read once, every output written once: the least that has to be moved.

    An image's pixels are counted as the smallest rectangle that holds what its targets read of it.
    """
    read = 0
    for geometries in zip(*(target.geometries for target in targets), strict=True):
        axes = [axes_of(geometry, target) for geometry, target in zip(geometries, targets, strict=True)]
        read += 3 * math.prod(extent(axis) for axis in zip(*axes, strict=True))
    return read + sum(target.output.numel() * target.output.element_size() for target in targets)


def launches(
    sources: Sequence[Source], targets: Sequence[ResizeTarget], device: torch.device, keep_plan: bool = False
) -> Iterator[PassLaunch]:
    """What `preprocess` launches, in order."""
    if not sources:
        return
    plan: _Plan = yield from (_kept_plan if keep_plan else _make_plan)(sources, targets, device)
    yield from plan.launches(sources, targets)


@dataclass(frozen=True)
class _Pass:
    """One launch of one pass, up to the addresses: its kernel, grid and constants, and the jobs it does."""

    kernel: Any
    grid: tuple[int, int, int]
    jobs: slice
    constants: dict[str, int]
    values_dtype: torch.dtype | None  # of the second pass

    def launch(self, records: torch.Tensor, intermediate: torch.Tensor, memory: torch.Tensor) -> PassLaunch:
        tensors = (intermediate,) if self.values_dtype is None else (intermediate, memory.view(self.values_dtype))
        return PassLaunch(self.kernel, self.grid, records[self.jobs], tensors, self.constants)


@dataclass(frozen=True)
class _Plan:
    """What a set of sizes, strides and targets takes, up to the addresses of images and outputs."""

    device: torch.device
    geometries: tuple[Sequence[Any], ...]  # by whose identities the plan is found: kept, so that they stay theirs
    lines: Records
    outputs: Records
    line_images: Words  # which image each of the lines' records is about
    output_images: Words
    output_targets: Words
    passes: Sequence[_Pass]  # in order; the first pass's take the lines' records, the second's the outputs'
    pixels: int  # of the intermediate
    memory: torch.Tensor  # int64, on the device: the values, and the tables
    ready: torch.cuda.Event | None  # when the memory holds them
    stream: int  # that has to wait for nothing

    def launches(self, sources: Sequence[Source], targets: Sequence[ResizeTarget]) -> Iterator[PassLaunch]:
        """The passes of one call."""
        self._await_memory()
        lines, outputs = self.lines.copy(), self.outputs.copy()
        lines["source"] += np.array([source.address for source in sources])[self.line_images]
        first = np.array([target.output.data_ptr() for target in targets])
        step = np.array([target.output.stride(0) * target.output.element_size() for target in targets])
        outputs["output"] += first[self.output_targets] + step[self.output_targets] * self.output_images
        line_records, output_records = _upload([lines, outputs], self.device)
        intermediate = torch.empty(self.pixels, dtype=torch.int32, device=self.device)
        for part in self.passes:
            records = line_records if part.values_dtype is None else output_records
            yield part.launch(records, intermediate, self.memory)

    def _await_memory(self) -> None:
        """Order this call's stream after the work that made the tables, and keep the memory until it is done."""
        if self.ready is None:
            return
        stream = torch.cuda.current_stream(self.device)
        if stream.cuda_stream != self.stream:
            stream.wait_event(self.ready)
            self.memory.record_stream(stream)


_plans: collections.OrderedDict[tuple[Any, ...], _Plan] = collections.OrderedDict()


def _kept_plan(
    sources: Sequence[Source], targets: Sequence[ResizeTarget], device: torch.device
) -> Generator[PassLaunch, None, _Plan]:
    """The plan of a call, after the launches that make its tables where it is a new one."""
    key = (
        device,
        tuple([source[1:] for source in sources]),
        tuple(
            [
                (
                    id(target.geometries),
                    target.filter.name,
                    target.filter.arithmetic,
                    target.mean,
                    target.std,
                    target.order,
                    target.is_bgr,
                    target.output.dtype,
                    target.output.stride(),
                    vector_of(target.output),
                )
                for target in targets
            ]
        ),
    )
    plan = _plans.get(key)
    if plan is None:
        plan = yield from _make_plan(sources, targets, device)
        _plans[key] = plan
        if len(_plans) > MAX_PLANS:
            with contextlib.suppress(KeyError):  # another thread was first
                _plans.popitem(last=False)
    else:
        with contextlib.suppress(KeyError):
            _plans.move_to_end(key)
    return plan


def forget_plans() -> None:
    """Drop all plans, and their tables on the devices."""
    _plans.clear()


def _make_plan(
    sources: Sequence[Source], targets: Sequence[ResizeTarget], device: torch.device
) -> Generator[PassLaunch, None, _Plan]:
    """A new plan, after the launches that make its tables."""
    jobs = Jobs(targets)
    which = np.array(
        [
            jobs.number(index, source, target.geometries[image])
            for image, source in enumerate(sources)
            for index, target in enumerate(targets)
        ]
    )
    lines, outputs = records_of(LineJob, jobs.lines)[which], records_of(OutputJob, jobs.outputs)[which]
    chunk, begin, pixels = chunks(np.array(jobs.pixels)[which])
    lines["intermediate"] += begin
    outputs["intermediate"] += begin
    line_order, line_runs = runs(chunk, np.array(jobs.line_kinds)[which])
    output_order, output_runs = runs(chunk, np.array(jobs.output_kinds)[which])
    lines, outputs, tables = lines[line_order], outputs[output_order], records_of(TableJob, jobs.tables)

    memory, table_records = _make_memory(jobs, tables, lines, outputs, device)
    for first in range(0, len(tables), MAX_JOBS):
        part = slice(first, first + MAX_JOBS)
        yield _make_tables(tables[part], table_records[part])
    on_cuda = device.type == "cuda"
    stream = torch.cuda.current_stream(device) if on_cuda else None
    passes = [(part, 1, _along_lines(Pixels(kind), lines, records)) for part, kind, records in line_runs]
    passes += [(part, 2, _across_lines(*jobs.stores[kind], outputs, records)) for part, kind, records in output_runs]
    return _Plan(
        device=device,
        geometries=tuple(target.geometries for target in targets),
        lines=lines,
        outputs=outputs,
        line_images=line_order // len(targets),
        output_images=output_order // len(targets),
        output_targets=output_order % len(targets),
        passes=[launch for _, _, launch in sorted(passes, key=lambda step: step[:2])],
        pixels=pixels,
        memory=memory,
        ready=None if stream is None else stream.record_event(),
        stream=0 if stream is None else stream.cuda_stream,
    )


def _make_memory(
    jobs: Jobs, tables: Records, lines: Records, outputs: Records, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """The memory for values and tables, with those that the host makes; the records take the places of all of them.

    Returns it, and the records of the tables that the device makes.
    """
    values = [values_of(target.mean, target.std, target.output.dtype, target.order) for target in jobs.targets]
    uploaded = [*values, *jobs.given.values()]
    numbers = [*jobs.given, *tables["table"].tolist()]
    made = [jobs.table_words[number] for number in tables["table"]]
    ends = np.cumsum([*(part.size for part in uploaded), *made])
    memory = torch.empty(int(ends[-1]), dtype=torch.int64, device=device)

    begins = np.concatenate(([0], ends[:-1]))
    table_begins = np.empty(len(numbers), dtype=np.int64)
    table_begins[numbers] = begins[len(values) :]
    for part in (tables, lines, outputs):
        part["table"] = memory.data_ptr() + 8 * table_begins[part["table"]]
    elements = [8 // target.output.element_size() for target in jobs.targets]
    outputs["values"] = (begins[: len(values)] * elements)[outputs["values"]]

    records, *constants = _upload([tables, *uploaded], device)
    torch.cat([part.view(-1) for part in constants], out=memory[: sum(part.size for part in uploaded)])
    return memory, records


def _upload(parts: Sequence[Records | Words], device: torch.device) -> list[torch.Tensor]:
    """Each array on the device as int64, records as rows, in one copy."""
    words = [part.view(np.int64).ravel() for part in parts]
    host = torch.empty(sum(map(len, words)), dtype=torch.int64, device="cpu", pin_memory=device.type == "cuda")
    np.concatenate(words, out=host.numpy())
    there = host.to(device, non_blocking=True) if device.type != "cpu" else host
    pieces = torch.split(there, [len(part) for part in words])
    return [piece.view(len(part), part.itemsize // 8) for piece, part in zip(pieces, parts, strict=True)]


def _make_tables(tables: Records, jobs: torch.Tensor) -> PassLaunch:
    grid = (int(tables["pitch"].max()) // TILE, 1, len(tables))
    return PassLaunch(kernels._tables_kernel, grid, jobs, (), {"PIXELS": TILE, "TAPS": TABLE_TAPS})


def _along_lines(kind: Pixels, lines: Records, jobs: slice) -> _Pass:
    mine = lines[jobs]
    columns = int(mine["pitch"].max()) // TILE
    most = triton.cdiv(int(mine["lines"].max()), LINES)
    programs = min(most, triton.cdiv(PROGRAMS, columns * len(mine)))
    constants = {"PIXELS": int(kind), "LINES": LINES, "COLS": TILE}
    return _Pass(kernels._along_lines_kernel, (columns, programs, len(mine)), jobs, constants, None)


def _across_lines(dtype: torch.dtype, vector: int, outputs: Records, jobs: slice) -> _Pass:
    mine = outputs[jobs]
    tiles = int((-(-mine["along"] // TILE) * -(-mine["across"] // TILE)).max())
    constants = {"VECTOR": vector, "ROWS": TILE, "COLS": TILE}
    return _Pass(kernels._across_lines_kernel, (tiles, 1, len(mine)), jobs, constants, dtype)
