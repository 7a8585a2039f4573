"""Runs a kernel: all lanes of many programs at once, a register being an array with an element a lane.

Registers hold bits; one that is the same for all lanes has length 1. Lanes that part at a branch wait as groups. The
group with the lowest instruction runs first and takes in those that it meets.
"""

from __future__ import annotations

import collections
import copy
import dataclasses

import numpy as np

from ptx.memory import Fault
from ptx.parsing import Module
from ptx.shared_memory import SharedMemory
from ptx.translation import Translator

WARP = 32
SECTOR = 32  # bytes, the least that moves between L2 and DRAM
MOST_STEPS = 1_000_000  # of the programs that run at once


@dataclasses.dataclass
class Requests:
    """One kind of access to global memory: what warps ask for, and the sectors that each touches, summed."""

    requests: int = 0
    sectors: int = 0


class Counts:
    """What launches have executed, where something is counted."""

    def __init__(self):
        self.warps = collections.Counter()  # warp instructions by the instruction's name
        self.accesses = collections.defaultdict(Requests)  # by ("ld" or "st", bytes a lane)
        self._touched = {"ld": [], "st": []}

    def access(self, kind, address, width, warps):
        address, warps = np.broadcast_arrays(address, warps)
        sectors = address // np.uint64(SECTOR)  # an access of up to 16 aligned bytes lies in one
        own = warps.astype(np.uint64) * (sectors.max() - sectors.min() + np.uint64(1)) + sectors - sectors.min()
        entry = self.accesses[kind, width]
        entry.requests += len(np.unique(warps))
        entry.sectors += len(np.unique(own))
        self._touched[kind].append(np.unique(sectors))

    def sectors(self, kind):
        """How many different sectors have been loaded or stored at all."""
        return len(np.unique(np.concatenate(self._touched[kind]))) if self._touched[kind] else 0


class Kernel:
    """A module's kernel, each of its instructions made a function.

    Args:
        ptx: The module's text.
        shared_bytes: Shared memory of a program; Triton gives it with the launch.
    """

    def __init__(self, ptx, shared_bytes=0):
        self.module = Module(ptx)
        self.shared_bytes = shared_bytes
        self._translator = Translator(self.module)
        self.instructions = self.module.instructions
        self.functions = [self._translator.translate(instruction) for instruction in self.instructions]
        self.guards = [i.guard and self._translator.slot(i.guard) for i in self.instructions]

    def changed(self, position, instruction):
        """The same kernel with another instruction in one position."""
        kernel = copy.copy(self)
        kernel.instructions, kernel.functions = list(self.instructions), list(self.functions)
        kernel.instructions[position] = instruction
        kernel.functions[position] = self._translator.translate(instruction)
        return kernel

    def launch(self, grid, arguments, memory, *, programs=None, counts=None, together=128):
        """Run a grid, or some programs of it, `together` at once.

        Args:
            grid: Programs along x, y and z.
            arguments: One array of one unsigned number per parameter.
            memory: What may be touched.
            programs: Their numbers, along x first; None means all.
            counts: A `Counts` to add to.
            together: How many programs to run at once.
        """
        if len(arguments) != len(self.module.parameters):
            raise Fault(f"{self.module.name}: {len(arguments)} arguments for {len(self.module.parameters)} parameters")
        memory.forget_writes()
        programs = np.arange(grid[0] * grid[1] * grid[2]) if programs is None else np.asarray(programs)
        with np.errstate(all="ignore"):  # overflow and NaN are as the hardware has them
            for first in range(0, len(programs), together):
                State(self, grid, programs[first : first + together], arguments, memory, counts).run()


class State:
    """Registers and lanes of some programs of a launch."""

    def __init__(self, kernel, grid, programs, arguments, memory, counts):
        threads = kernel.module.threads
        self.kernel, self.arguments, self.memory, self.counts = kernel, arguments, memory, counts
        self.everyone = self.lanes = np.arange(len(programs) * threads)
        self._program = self.everyone // threads
        self.some = None  # the active lanes, unless all are
        self._steps = 0
        self.registers = [None] * len(kernel.module.registers)
        self._alive = np.ones(len(self.everyone), bool)
        self._shared = SharedMemory(kernel.shared_bytes, len(programs), threads) if kernel.shared_bytes else None
        places = np.unravel_index(programs, tuple(reversed(grid)))
        self.special = {"%tid.x": np.tile(np.arange(threads), len(programs)), "%ntid.x": np.array([threads])}
        for axis, size, place in zip("xyz", grid, reversed(places), strict=True):
            self.special[f"%ctaid.{axis}"] = np.repeat(place, threads)
            self.special[f"%nctaid.{axis}"] = np.array([size])
        self.special = {name: _scalar_if_same(values) for name, values in self.special.items()}

    # --- what instructions do

    def active(self, values):
        return values if self.some is None or len(values) == 1 else values[self.some]

    def read(self, slot):
        values = self.registers[slot]
        if values is None:
            raise Fault("read of a register that nothing has been written to")
        return values if self.some is None or len(values) == 1 else values[self.some]

    def write(self, slot, values):
        if self.some is not None:
            everywhere = np.zeros(len(self.everyone), values.dtype)
            if self.registers[slot] is not None:
                everywhere[:] = self.registers[slot]
            everywhere[self.some] = values
            values = everywhere
        self.registers[slot] = values

    def load(self, space, address, width, count):
        if space == "shared":
            at = address.astype(np.int64)
            return [self._shared.load(at + index * width, width, self.lanes) for index in range(count)]
        self._count_access("ld", address, width * count)
        return self.memory.load(address, width, count)

    def store(self, space, address, values, width):
        if space == "shared":
            at = address.astype(np.int64)
            for index, value in enumerate(values):
                self._shared.store(at + index * width, value, width, self.lanes)
            return
        self._count_access("st", address, width * len(values))
        self.memory.store(np.broadcast_to(address, len(self.lanes)), values, width)

    def check_whole_warps(self):
        warps = self.lanes.reshape(-1, WARP) if len(self.lanes) % WARP == 0 else None
        if warps is None or (warps[:, 0] % WARP).any() or (np.diff(warps) != 1).any():
            raise Fault("only some threads of a warp take part")

    def _count_access(self, kind, address, width):
        if self.counts is not None:
            self.counts.access(kind, address, width, self.lanes // WARP)

    # --- the order in which they do

    def run(self):
        pending, waiting = {0: [self.everyone]}, {}  # groups of lanes by their next instruction
        while pending or waiting:
            if not pending:
                self._release(waiting, pending)
            position = min(pending)
            groups = pending.pop(position)
            lanes = groups[0] if len(groups) == 1 else np.sort(np.concatenate(groups))
            self._advance(position, lanes, pending, waiting)

    def _advance(self, position, lanes, pending, waiting):
        """Run a group until it branches, ends, waits, or meets another."""
        kernel, meeting = self.kernel, min(pending, default=None)
        warps = len(np.unique(lanes // WARP)) if self.counts is not None else 0
        self._activate(lanes)
        try:
            while self._steps < MOST_STEPS:
                self._steps += 1
                instruction, function = kernel.instructions[position], kernel.functions[position]
                if self.counts is not None:
                    self.counts.warps[instruction.name] += warps
                taken, rest = lanes, ()
                if kernel.guards[position] is not None:
                    taken, rest = self._by_guard(position, lanes)
                if function is None:
                    position = self._control(instruction, position, taken, rest, pending, waiting)
                    if position is None:
                        return
                else:
                    if not len(rest):
                        function(self)
                    elif len(taken):
                        self._activate(taken)
                        function(self)
                        self._activate(lanes)
                    position += 1
                if position == meeting:
                    pending[position].append(lanes)
                    return
        except Fault as fault:
            raise Fault(f"{kernel.module.name}: {fault}; {instruction.text}") from None
        raise Fault(f"{kernel.module.name}: does not end")

    def _control(self, instruction, position, taken, rest, pending, waiting):
        """Where the group goes on, or None if it has been put elsewhere."""
        operation = instruction.operation[0]
        target = self.kernel.module.labels[instruction.operands[-1]] if operation == "bra" else None
        if operation == "ret":
            self._alive[taken] = False
        elif operation != "bra":
            if len(rest):
                raise Fault("divergent barrier: only some threads of a group wait")
            waiting.setdefault(position, []).append(taken)
        elif not len(rest) and not pending:
            return target
        elif len(taken):
            pending.setdefault(target, []).append(taken)
        if len(rest):
            pending.setdefault(position + 1, []).append(rest)
        return None

    def _activate(self, lanes):
        self.lanes = lanes
        self.some = None if len(lanes) == len(self.everyone) else lanes

    def _by_guard(self, position, lanes):
        """The lanes that carry an instruction out, and the rest."""
        holds = self.read(self.kernel.guards[position]) ^ self.kernel.instructions[position].negated
        if holds.all():
            return lanes, lanes[:0]
        return (lanes[holds], lanes[~holds]) if len(holds) == len(lanes) else (lanes[:0], lanes)

    def _release(self, waiting, pending):
        """All lanes wait or have ended: let those go on whose program waits at one barrier."""
        threads = self.kernel.module.threads
        living = self._alive.reshape(-1, threads).sum(axis=1)
        for position, groups in waiting.items():
            lanes = np.sort(np.concatenate(groups))
            programs, here = np.unique(self._program[lanes], return_counts=True)
            if (here != living[programs]).any():
                raise Fault(f"{self.kernel.module.name}: divergent barrier: threads of a program wait at others")
            if self._shared is not None:
                self._shared.barrier(programs)
            pending[position + 1] = [lanes]
        waiting.clear()


def _scalar_if_same(values):
    values = values.astype(np.uint32)
    return values[:1] if (values == values[0]).all() else values
