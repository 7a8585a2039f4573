"""The shared memory of programs that run at once, in which no two threads may meet without a barrier between them."""

from __future__ import annotations

import numpy as np

from ptx.memory import Fault

_NOBODY, _SEVERAL = -1, -2


class SharedMemory:
    """`size` bytes for each program, of `threads` lanes."""

    def __init__(self, size, programs, threads):
        self._size, self._threads = size, threads
        self._bytes = np.full(programs * size, 0xA5, np.uint8)
        self._held = np.zeros(programs * size, bool)
        # Which lane has written or read a byte since its program's last barrier.
        self._writer = np.full(programs * size, _NOBODY, np.int64)
        self._reader = np.full(programs * size, _NOBODY, np.int64)

    def load(self, at, width, lanes):
        """Unsigned numbers of `width` bytes, from offset `at` of each lane's program."""
        at = self._place(at, width, lanes)
        loaded = np.zeros(len(at), np.uint64)
        for byte in range(width):
            place = at + byte
            if not self._held[place].all():
                raise Fault("read of uninitialised shared memory")
            writer, reader = self._writer[place], self._reader[place]
            if ((writer != _NOBODY) & (writer != lanes)).any():
                raise Fault("shared-memory race: read of what another thread has written, without a barrier")
            self._reader[place] = np.where((reader == _NOBODY) | (reader == lanes), lanes, _SEVERAL)
            loaded |= self._bytes[place].astype(np.uint64) << np.uint64(8 * byte)
        return loaded.astype(f"u{width}")

    def store(self, at, values, width, lanes):
        at = self._place(at, width, lanes)
        values = np.broadcast_to(values, len(at)).astype(np.uint64)
        for byte in range(width):
            place = at + byte
            value = ((values >> np.uint64(8 * byte)) & np.uint64(255)).astype(np.uint8)
            writer, reader = self._writer[place], self._reader[place]
            written = (writer != _NOBODY) & (writer != lanes) & (self._bytes[place] != value)
            read = (reader == _SEVERAL) | ((reader != _NOBODY) & (reader != lanes))
            self._bytes[place] = value
            if written.any() or read.any() or (self._bytes[place] != value).any():
                raise Fault("shared-memory race: written over what another thread has written or read")
            self._writer[place] = lanes
            self._held[place] = True

    def barrier(self, programs):
        for program in programs:
            own = slice(program * self._size, (program + 1) * self._size)
            self._writer[own] = self._reader[own] = _NOBODY

    def _place(self, at, width, lanes):
        at = np.broadcast_to(at, len(lanes))
        if (at % width).any():
            raise Fault(f"misaligned access of {width} bytes of shared memory")
        if (at < 0).any() or (at + width > self._size).any():
            raise Fault("out of bounds of shared memory")
        return at + lanes // self._threads * self._size
