"""Memory that a launch may touch: real bytes of this process, and for each byte what may be done with it."""

from __future__ import annotations

import bisect
import ctypes
import functools

import numpy as np

# What is known of a byte.
READABLE, WRITABLE = 1, 2  # it belongs to an element that may be read, or written
HELD = 4  # something is in it
NEW = 8  # this launch has written it
DUE = 16  # it has to be written in the end

GRANULE = 64  # bytes; views of all widths are made from addresses that are multiples of this


class Fault(Exception):  # noqa: N818 - the word for what hardware raises
    """A launch did what no correct kernel does."""


class Allocation:
    """Consecutive bytes.

    Args:
        name: For messages.
        address: Of the first byte.
        size: In bytes.
        elements: Which bytes belong to elements, as a bool array; None means all.
        writable: Else the bytes are only read, and all of them hold something.
        due: Whether all elements have to be written in the end.
        undefined: Whether bytes that nothing has been written to may be read all the same.
        slack: Reads may touch the rest of the aligned words of so many bytes that the memory begins and ends in.
    """

    def __init__(self, name, address, size, *, elements=None, writable=False, due=False, undefined=False, slack=1):
        self.name, self.undefined, self.slack = name, undefined, slack
        self.first, self.end = address, address + size
        self.low, self.high = address & -slack, (address + size + slack - 1) & -slack
        self.start = address & -GRANULE
        length = ((self.high + GRANULE - 1) & -GRANULE) - self.start
        self._bytes = np.frombuffer((ctypes.c_uint8 * length).from_address(self.start), dtype=np.uint8)
        self._views = {}
        self.state = None  # of each byte; None: all may be read, and nothing else
        if writable or elements is not None:
            self.state = np.zeros(length, np.uint8)
            inside = self.state[address - self.start : address - self.start + size]
            state = READABLE | (WRITABLE if writable else HELD) | (DUE if due else 0)
            inside[slice(None) if elements is None else elements] = state

    def view(self, width):
        """The bytes as unsigned numbers of `width` bytes."""
        if width not in self._views:
            self._views[width] = self._bytes.view(f"u{width}")
        return self._views[width]

    def states(self, width):
        """The states as numbers of `width` bytes; `_each` makes what to compare them with."""
        return self.state.view(f"u{width}")

    def unwritten(self):
        """How many bytes are due that nothing has been written to."""
        return 0 if self.state is None else int(((self.state & (DUE | HELD)) == DUE).sum())

    def forget_writes(self):
        if self.state is not None:
            self.state &= 0xFF ^ NEW


@functools.cache
def _each(state, width):
    """A state in each byte of a number."""
    return np.dtype(f"u{width}").type(int.from_bytes(bytes([state]) * width, "little"))


def _together(one, two):
    """Two allocations as one: views of one buffer, whose elements may lie between each other's."""
    address, end = min(one.first, two.first), max(one.end, two.end)
    name = f"{one.name} and {two.name}"
    slack = max(one.slack, two.slack)
    if one.state is None and two.state is None:
        return Allocation(name, address, end - address, slack=slack)
    if slack > 1:
        raise Fault(f"{one.name} shares memory with {two.name}")
    both = Allocation(name, address, end - address, writable=True)
    both.state[:] = 0
    for part in (one, two):
        inside = slice(part.first - both.start, part.end - both.start)
        own = slice(part.first - part.start, part.end - part.start)
        both.state[inside] |= READABLE | HELD if part.state is None else part.state[own]
    return both


class Memory:
    """All memory that a launch may touch."""

    def __init__(self):
        self.allocations = []
        self._lows = []

    def add(self, *args, **options):
        """Let a launch touch an `Allocation` of these arguments."""
        added = Allocation(*args, **options)
        if added.first == added.end:
            return
        for other in [a for a in self.allocations if a.low < added.high and added.low < a.high]:
            at = self.allocations.index(other)
            del self.allocations[at], self._lows[at]
            added = _together(other, added)
        at = bisect.bisect(self._lows, added.low)
        self._lows.insert(at, added.low)
        self.allocations.insert(at, added)

    def add_tensor(self, name, tensor, **options):
        """Let a launch touch a tensor's elements, and nothing that lies between them."""
        if tensor.numel() == 0:
            return
        places = np.zeros(1, np.int64)
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
            places = (places[:, None] + np.arange(size) * stride).ravel()
        elements = np.zeros(int(places.max()) + 1, bool)
        elements[places] = True
        elements = np.repeat(elements, tensor.element_size())
        options["elements"] = None if elements.all() else elements
        self.add(name, tensor.data_ptr(), len(elements), **options)

    def __contains__(self, address):
        at = bisect.bisect(self._lows, address) - 1
        return at >= 0 and address < self.allocations[at].high

    def forget_writes(self):
        """A new launch begins, which sees what earlier ones have written."""
        for allocation in self.allocations:
            allocation.forget_writes()

    def check_written(self):
        for allocation in self.allocations:
            if allocation.unwritten():
                raise Fault(f"{allocation.name}: {allocation.unwritten()} bytes of elements are not written")

    def load(self, address, width, count):
        """`count` arrays of unsigned numbers of `width` bytes, from each address on."""
        parts = self._parts(address, width * count)
        loaded = [np.empty(address.shape, f"u{width}") for _ in range(count)]
        for allocation, lanes in parts:
            at = ((address[lanes] - np.uint64(allocation.start)) // np.uint64(width)).astype(np.int64)
            for index, values in enumerate(loaded):
                if allocation.state is not None:
                    self._check_load(allocation, allocation.states(width)[at + index], width)
                values[lanes] = allocation.view(width)[at + index]
        return loaded

    @staticmethod
    def _check_load(allocation, states, width):
        def lacks(state):
            return ((states & _each(state, width)) != _each(state, width)).any()

        if (states & _each(READABLE | HELD | NEW, width) == _each(READABLE | HELD, width)).all():
            return

        if lacks(READABLE):
            raise Fault(f"read between the elements of {allocation.name}")
        if (states & _each(NEW, width)).any():
            raise Fault(f"race: read of what this launch has written to {allocation.name}")
        if lacks(HELD) and not allocation.undefined:
            raise Fault(f"read of uninitialised bytes of {allocation.name}")

    def store(self, address, values, width):
        """Write arrays of unsigned numbers of `width` bytes, one after the other, from each address on."""
        for allocation, lanes in self._parts(address, width * len(values)):
            if allocation.state is None:
                raise Fault(f"write to {allocation.name}, which is only read")
            at = ((address[lanes] - np.uint64(allocation.start)) // np.uint64(width)).astype(np.int64)
            view, states = allocation.view(width), allocation.states(width)
            for value in values:
                value = np.broadcast_to(value, address.shape)[lanes]
                before = states[at]
                if ((before & _each(WRITABLE, width)) != _each(WRITABLE, width)).any():
                    raise Fault(f"write between the elements of {allocation.name}")
                again = (before & _each(NEW, width)) != 0
                if again.any() and (view[at] != value)[again].any():
                    raise Fault(f"race: {allocation.name} is written again, with other bytes")
                view[at] = value
                if (view[at] != value).any():
                    raise Fault(f"race: lanes write different bytes to the same place of {allocation.name}")
                states[at] = before | _each(NEW | HELD, width)
                at = at + 1

    def _parts(self, address, width):
        """Which allocation each lane's address lies in: pairs of an allocation and lanes."""
        if (address & np.uint64(width - 1)).any():
            raise Fault(f"misaligned access of {width} bytes")
        low, high = int(address.min()), int(address.max()) + width
        at = bisect.bisect(self._lows, low) - 1
        if at >= 0 and high <= self.allocations[at].high:
            return [(self.allocations[at], slice(None))]
        which = np.searchsorted(np.array(self._lows, np.uint64), address, side="right").astype(np.int64) - 1
        ends = np.array([a.high for a in self.allocations], np.uint64)
        outside = (which < 0) | (address + np.uint64(width) > ends[which])
        if outside.any():
            lane = int(np.flatnonzero(outside)[0])
            nearest = self.allocations[max(int(which[lane]), 0)]
            raise Fault(
                f"out of bounds: {int(outside.sum())} of {outside.size} lanes; lane {lane} is at byte "
                f"{int(address[lane]) - nearest.first} of {nearest.name}, which has {nearest.end - nearest.first}"
            )
        return [(self.allocations[i], np.flatnonzero(which == i)) for i in np.unique(which)]
