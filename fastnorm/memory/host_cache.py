"""Memory for large CPU outputs: huge pages, used again once the tensors that held them are gone.

First touches of new memory dominate a call on the CPU: the kernel finds and zeroes 24 576 pages of 4 KiB for 100 MB,
which takes ten times as long as the arithmetic. torch keeps a cache of freed blocks for CUDA, not for the CPU; here a
block returns to a small pool when the last tensor on it dies, and the next output of its size takes it, unzeroed.
"""

from __future__ import annotations

import collections
import contextlib
import math
import mmap
import os
import weakref

import numpy as np
import torch
from torch.utils.data import get_worker_info

# Below this, malloc has memory at hand that has been touched before.
SMALLEST = 8 << 20
DEFAULT_LIMIT = 512 << 20

_limit = DEFAULT_LIMIT
_limit_set_in: int | None = None  # the process, since forked ones inherit it
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


def set_host_cache_limit(n_bytes: int = DEFAULT_LIMIT) -> None:
    """Bound the CPU memory that this process keeps of freed outputs for later ones; 0 keeps none.

    Outputs of 8 MiB or more on the CPU take memory that earlier ones have left. Each process has a cache of its own. A
    `DataLoader`'s workers keep none, unless they set a limit themselves.

    Example:
        >>> loader = DataLoader(..., worker_init_fn=lambda _: fastnorm.set_host_cache_limit(64 << 20))

    Args:
        n_bytes: How much may lie idle in this process, 512 MiB by default. What is idle beyond it is freed at once.

    Raises:
        TypeError, ValueError: Not a whole number of bytes, or a negative one.
    """
    global _limit, _limit_set_in
    if isinstance(n_bytes, bool) or not isinstance(n_bytes, int):
        raise TypeError(f"n_bytes: got {n_bytes!r}, expected a whole number of bytes, such as 64 << 20")
    if n_bytes < 0:
        raise ValueError(f"n_bytes: got {n_bytes}, expected 0 (keep none) or more")
    _limit, _limit_set_in = n_bytes, os.getpid()
    _make_room(0)


def empty_host_cache() -> None:
    """Free all CPU memory that is kept for later outputs, as `torch.cuda.empty_cache()` does for CUDA.

    Example:
        >>> fastnorm.empty_host_cache()
    """
    _idle.clear()


def _current_limit() -> int:
    if get_worker_info() is not None and _limit_set_in != os.getpid():
        return 0  # there are many of them, and what they return is copied to shared memory
    return _limit


def _take(size: int) -> mmap.mmap:
    try:
        _idle.move_to_end(size)
        return _idle[size].pop()  # the last one in is the likeliest to be in a cache
    except (KeyError, IndexError):  # none of this size, or another thread took it
        pass
    try:
        block = _allocate(size)
    except OSError:
        empty_host_cache()
        try:
            block = _allocate(size)
        except OSError as error:
            raise RuntimeError(f"cannot allocate {size:,} bytes of CPU memory for an output: {error}") from error
    return block


def _allocate(size: int) -> mmap.mmap:
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # advice, which kernels without huge pages refuse to hear
            block.madvise(mmap.MADV_HUGEPAGE)
    return block


def _give_back(block: mmap.mmap) -> None:
    # Runs wherever the last reference dies, in any thread and within any other code, this module's included: no locks,
    # single steps only. Whatever gets in the way, the block is dropped, and the system has it back.
    size = len(block)
    if size <= _current_limit() and _make_room(size):
        _idle.setdefault(size, collections.deque()).append(block)


def _make_room(size: int) -> bool:
    """Drop what has been idle longest until `size` bytes more fit; False if another thread was at it too."""
    try:
        while idle_bytes() + size > _current_limit():
            longest_unused = next(iter(_idle))
            blocks = _idle[longest_unused]
            if blocks:
                blocks.popleft()
            else:
                del _idle[longest_unused]
    except (KeyError, IndexError, StopIteration, RuntimeError):
        return False
    return True


if hasattr(os, "register_at_fork"):
    # What lies idle belongs to the parent: to write to it, the child would copy it page by page.
    os.register_at_fork(after_in_child=_idle.clear)
