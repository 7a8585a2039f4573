"""The parts of torch that are not public and that this library looks at, each with what stands in where it is missing.

torch may move or rename any of these. None of them is needed for a right result of an ordinary call.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, TypeVar, cast

import torch
from torch.utils.data import get_worker_info

Function = TypeVar("Function", bound=Callable[..., Any])


def _module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _openmp(function: str) -> Callable[[int], None] | None:
    """A function of the OpenMP runtime that torch itself uses; None in a build without OpenMP."""
    try:
        return cast("Callable[[int], None]", getattr(ctypes.CDLL(torch._C.__file__), function))
    except (OSError, AttributeError, TypeError):
        return None


_set_openmp_threads = _openmp("omp_set_num_threads")
_guards = _module("torch._C._dynamo.guards")
_functorch = getattr(torch._C, "_functorch", None)
_is_grad_tracking: Callable[[torch.Tensor], bool] = getattr(_functorch, "is_gradtrackingtensor", lambda _: False)
_unpack_dual: Callable[[torch.Tensor], Any] = torch.autograd.forward_ad.unpack_dual  # public, without annotations
_dispatch_modes: Callable[[], int] = getattr(torch._C, "_len_torch_dispatch_stack", lambda: 0)
_is_tracing: Callable[[], bool] = getattr(torch._C, "_is_tracing", lambda: False)
_is_functional: Callable[[torch.Tensor], bool] = getattr(torch, "_is_functional_tensor", lambda _: False)
_is_batched: Callable[[torch.Tensor], bool] = getattr(_functorch, "is_batchedtensor", lambda _: False)


def is_observed(tensor: object) -> bool:
    """Whether something wants to see each operation on `tensor`, so that only an operator of torch's will do.

    That is a tensor subclass, a transform such as `torch.func.functionalize`, a dispatch mode such as fake tensors, or
    `torch.jit.trace`; `torch.compile` and `torch.export` too.
    """
    return (
        torch.compiler.is_compiling()
        or _dispatch_modes() > 0
        or _is_tracing()
        or (isinstance(tensor, torch.Tensor) and (type(tensor) is not torch.Tensor or _is_functional(tensor)))
    )


def is_batched(tensor: torch.Tensor) -> bool:
    """Whether `torch.vmap` shows one part of it at a time."""
    return not torch.compiler.is_compiling() and _is_batched(tensor)


def is_followed_in_steps(tensor: torch.Tensor) -> bool:
    """Whether forward-mode differentiation or `torch.func` follows it, through torch's own operations only."""
    if torch.compiler.is_compiling():
        return False
    return _is_grad_tracking(tensor) or _unpack_dual(tensor).tangent is not None


def allocator(device: str) -> Callable[[tuple[int, ...], tuple[int, ...], torch.dtype], torch.Tensor]:
    """`torch.empty_strided` on the current `device`, the way torch's compiler allocates.

    It parses no arguments anew, which is half of an allocation's time.
    """
    quick = getattr(_guards, f"_empty_strided_{device}", None)
    return quick or (lambda shape, stride, dtype: torch.empty_strided(shape, stride, dtype=dtype, device=device))


def empty_to_send(n_bytes: int) -> torch.Tensor:
    """New uint8 memory for a tensor that a `DataLoader`'s worker sends: shared at once, else the loader copies it."""
    new_shared = getattr(torch.UntypedStorage, "_new_shared", None)
    if new_shared is None or get_worker_info() is None or n_bytes == 0:
        return torch.empty(n_bytes, dtype=torch.uint8, device="cpu")
    return torch.empty(0, dtype=torch.uint8, device="cpu").set_(new_shared(n_bytes))


@contextlib.contextmanager
def on_this_thread_alone() -> Iterator[None]:
    """Keep torch's operations on the calling thread. Only this thread is affected, unlike `torch.set_num_threads`."""
    before = torch.get_num_threads()  # torch sets a new thread up when it is first asked
    if _set_openmp_threads is None or before == 1:
        yield
        return
    _set_openmp_threads(1)
    try:
        yield
    finally:
        _set_openmp_threads(before)


def graph_break(function: Function) -> Function:
    """`torch.compiler.disable`, which imports the compiler; this one imports it when it is first used."""
    lazily = getattr(_module("torch._compile"), "_disable_dynamo", torch.compiler.disable)
    disabled: Function = lazily(function)
    return disabled
