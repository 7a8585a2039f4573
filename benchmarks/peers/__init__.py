"""Other packages' ways to the same tensors, each written as its users write it.

A peer prepares once for a job and gives a function from one batch to one tensor per target. One that cannot run, in
this environment or for this job, is listed with its reason.
"""

import contextlib
import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

Function = Callable[[Any], Sequence[Any]]


class Timing(enum.Enum):
    """How a function's work on a GPU is timed; the text is the rows' note. See timing.py."""

    GRAPH = "graph replay"
    EVENTS = "events"
    QUEUED = "events, all calls queued ahead"
    WALL = "wall clock"
    HOST = "host"  # by the clock, without waiting for a device


class CannotRun(Exception):  # noqa: N818  # an expected outcome
    """Why a peer cannot do a job."""


class Job(NamedTuple):
    """uint8 images to one tensor per target."""

    example: Any  # images as the function will get them: a batch, PIL images, on CUDA a batch or a list of (H, W, 3)
    targets: tuple[Any, ...]  # Normalizations of a batch's pixels, or fastnorm.VAE_512 and CLIP_224 of images
    device: torch.device
    layout: str = "NHWC"  # of batches: also "NCHW", or "NCHW view": (N, 3, H, W) with the strides of NHWC memory
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float32)
    memory: str = "fresh"  # "out": whoever can writes into the tensors of an earlier call


@dataclass(frozen=True)
class Peer:
    name: str
    distributions: tuple[str, ...]  # the first that is installed gives the version
    make: Callable[[Job], Function]
    timing: Timing = Timing.EVENTS
    note: str = ""  # why its row is what it is
    device: str = ""  # the only kind that it is measured on
    within: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext  # where it is called
    compared: bool = True  # else its results are not the contract's tensors


class Missing(NamedTuple):
    """A peer without a measurement, and why: listed, never dropped."""

    name: str
    reason: str
    broken: bool = False  # installed, and it takes the job, but the call is wrong


def make(peer: Peer, job: Job) -> Function | Missing:
    """The peer's function after one call on the job's example, or why there is none."""
    if peer.device not in ("", job.device.type):
        without_gpu = "measured beside GPU peers" if torch.cuda.is_available() else "needs a GPU"
        return Missing(peer.name, "works on the CPU only" if peer.device == "cpu" else without_gpu)
    try:
        with peer.within():
            function = peer.make(job)
            function(job.example)
        return function
    except CannotRun as why:
        return Missing(peer.name, str(why))
    except ModuleNotFoundError as error:
        return Missing(peer.name, f"{error.name} is not installed")
    except Exception as error:  # whatever a package raises here is the reason why its row is empty
        text = (str(error).strip().splitlines() or [""])[0]
        environment = isinstance(error, (ImportError, RuntimeError, OSError))  # no compiler, no memory, no driver
        return Missing(peer.name, f"{type(error).__name__}: {text[:200]}", broken=not environment)


def mismatches(result: Sequence[Any], expected: Sequence[torch.Tensor]) -> int:
    """How many values differ from the contract's; a missing or misshapen tensor is an error."""
    count = 0
    for got, right in zip(result, expected, strict=True):
        got = got.as_cpu() if hasattr(got, "as_cpu") else got  # DALI's lists of tensors: on a GPU they have no array
        got = torch.as_tensor(got.as_array() if hasattr(got, "as_array") else got)
        if got.shape != right.shape or got.dtype is not right.dtype:
            raise ValueError(f"got {got.dtype} {tuple(got.shape)}, expected {right.dtype} {tuple(right.shape)}")
        # An image at a time: a comparison of the whole batch would hold another copy of it.
        count += sum(int((g.to(r.device) != r).sum()) for g, r in zip(got, right, strict=True))
    return count
