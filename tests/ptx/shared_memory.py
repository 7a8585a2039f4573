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
        self._writer = np.full(programs * size, _NOBODY, np.int32)
        self._reader = np.full(programs * size, _NOBODY, np.int32)

    def load(self, at, width, lanes):
        """Unsigned numbers of `width` bytes, from offset `at` of each lane's program."""
        places, lanes = self._places(at, width, lanes), lanes[:, None].astype(np.int32)
        if not self._held.take(places).all():
            raise Fault("read of uninitialised shared memory")
        writer, reader = self._writer.take(places), self._reader.take(places)
        if ((writer != _NOBODY) & (writer != lanes)).any():
            raise Fault("shared-memory race: read of what another thread has written, without a barrier")
        self._reader[places] = np.where((reader == _NOBODY) | (reader == lanes), lanes, _SEVERAL)
        return self._bytes.take(places).view(f"u{width}")[:, 0]

    def store(self, at, values, width, lanes):
        places, lanes = self._places(at, width, lanes), lanes[:, None].astype(np.int32)
        values = np.broadcast_to(values, len(lanes)).astype(f"u{width}")[:, None].view(np.uint8)
        writer, reader = self._writer.take(places), self._reader.take(places)
        written = (writer != _NOBODY) & (writer != lanes) & (self._bytes.take(places) != values)
        read = (reader == _SEVERAL) | ((reader != _NOBODY) & (reader != lanes))
        self._bytes[places] = values
        if written.any() or read.any() or (self._bytes.take(places) != values).any():
            raise Fault("shared-memory race: written over what another thread has written or read")
        self._writer[places] = lanes
        self._held[places] = True

    def barrier(self, programs):
        for program in programs:
            own = slice(program * self._size, (program + 1) * self._size)
            self._writer[own] = self._reader[own] = _NOBODY

    def _places(self, at, width, lanes):
        """Where each lane's bytes are."""
        at = np.broadcast_to(at, len(lanes))
        if (at % width).any():
            raise Fault(f"misaligned access of {width} bytes of shared memory")
        if (at < 0).any() or (at + width > self._size).any():
            raise Fault("out of bounds of shared memory")
        return (at + lanes // self._threads * self._size)[:, None] + np.arange(width)
