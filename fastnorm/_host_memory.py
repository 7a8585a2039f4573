"""Memory for large CPU outputs: huge pages, used again once the tensors that held them are gone.

First touches of new memory dominate a call on the CPU: the kernel finds and zeroes 24 576 pages of 4 KiB for 100 MB,
which takes longer than the arithmetic. torch keeps a cache of freed blocks for CUDA, not for the CPU; here a block
returns to a small pool when the last tensor on it dies, and the next output of its size takes it, unzeroed.
"""

from __future__ import annotations

import collections
import math
import mmap
import weakref

import numpy as np
import torch

# Below this, malloc has memory at hand that has been touched before.
SMALLEST = 8 << 20
# What may lie idle in one process. More than this is given back to the system.
MOST_IDLE = 512 << 20

_idle: collections.OrderedDict[int, collections.deque[mmap.mmap]] = collections.OrderedDict()


class _Lease(np.ndarray):
    """A view of a block whose end can be observed; the tensor keeps it alive as long as its storage lives."""


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """An uninitialised contiguous CPU tensor, like torch.empty."""
    count = math.prod(shape)
    size = count * dtype.itemsize
    if size < SMALLEST or not hasattr(mmap, "MAP_ANONYMOUS"):
        return torch.empty(shape, dtype=dtype, device="cpu")
    block = _take(size)
    lease = np.frombuffer(block, dtype=np.uint8).view(_Lease)
    weakref.finalize(lease, _give_back, block).atexit = False
    return torch.from_numpy(lease).view(dtype).view(shape)


def idle_bytes() -> int:
    """What the pool holds for later."""
    return sum(size * len(blocks) for size, blocks in list(_idle.items()))


def release() -> None:
    """Give all idle memory back to the system."""
    _idle.clear()


def _take(size: int) -> mmap.mmap:
    try:
        _idle.move_to_end(size)
        return _idle[size].pop()  # the last one in is the likeliest to be in a cache
    except (KeyError, IndexError):  # none of this size, or another thread took it
        pass
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        block.madvise(mmap.MADV_HUGEPAGE)  # advice: where it means nothing, nothing changes
    return block


def _give_back(block: mmap.mmap) -> None:
    # Runs wherever the last reference dies, in any thread and within any other code, this module's included: no locks,
    # single steps only. Whatever gets in the way, the block is dropped, and the system has it back.
    size = len(block)
    try:
        while idle_bytes() + size > MOST_IDLE:
            longest_unused = next(iter(_idle))
            blocks = _idle[longest_unused]
            if blocks:
                blocks.popleft()
            else:
                del _idle[longest_unused]
        _idle.setdefault(size, collections.deque()).append(block)
    except (KeyError, IndexError, StopIteration, RuntimeError):
        return
