"""The other ways to get the same tensors, each written as its users write it, from its own package.

A peer prepares once for a job and gives a function from one batch to one tensor per target. One that cannot run, in
this environment or for this job, says why and is listed with its reason.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.gpu_timing import Timing
from benchmarks.rows import version_of
from fastnorm import Normalization, Target

Function = Callable[[Any], Sequence[Any]]


class CannotRun(Exception):  # noqa: N818  # a finding, not a fault
    """Why a peer has no answer to a job."""


@dataclass(frozen=True)
class NormalizeJob:
    """uint8 batches of one size to one normalised NCHW tensor per target."""

    example: torch.Tensor  # a batch as the function will get them, on its device
    layout: str  # of the batches: "NHWC", "NCHW", or "NCHW view": (N, 3, H, W) with the strides of NHWC memory
    targets: tuple[Normalization, ...]
    dtypes: tuple[torch.dtype, ...]

    @property
    def device(self) -> torch.device:
        return self.example.device


@dataclass(frozen=True)
class PreprocessJob:
    """Pictures of any sizes to one resized, cropped and normalised tensor per target."""

    # Pictures as the function will get them: PIL images; on CUDA a batch (N, H, W, 3) or a list of tensors (H, W, 3).
    example: Sequence[Any] | torch.Tensor
    targets: tuple[Target, ...]  # fastnorm.VAE_512 and CLIP_224: what the published chains compute
    device: torch.device


@dataclass(frozen=True)
class Peer:
    name: str
    distributions: tuple[str, ...]  # the first that is installed gives the version
    make: Callable[[Any], Function]
    # How its work on a GPU can be timed; see gpu_timing.
    timing: Timing = Timing.EVENTS

    def version(self) -> str:
        return version_of(*self.distributions)


@dataclass(frozen=True)
class Missing:
    """A peer without a measurement, and why: listed, never dropped."""

    name: str
    reason: str
    broken: bool = False  # it is installed and takes the job, but is not called as it wants to be


def make(peer: Peer, job: Any) -> Function | Missing:
    """The peer's function after one call on the job's example, or why there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other packages' warnings are theirs
            function = peer.make(job)
            function(job.example)
    except CannotRun as why:
        return Missing(peer.name, str(why))
    except ModuleNotFoundError as error:
        return Missing(peer.name, f"{error.name} is not installed")
    except Exception as error:  # whatever a package raises here is the reason why its row is empty
        text = (str(error).strip().splitlines() or [""])[0]
        environment = isinstance(error, (ImportError, RuntimeError, OSError))  # no compiler, no memory, no driver
        return Missing(peer.name, f"{type(error).__name__}: {text[:200]}", broken=not environment)
    return function


def as_tensors(result: Sequence[Any]) -> list[torch.Tensor]:
    """A call's result as torch tensors: numpy arrays are shared, DALI's tensor lists copied."""
    tensors = []
    for r in result:
        if isinstance(r, torch.Tensor):
            tensors.append(r)
        elif hasattr(r, "as_cpu"):  # DALI, whose lists on a GPU have no array of their own
            tensors.append(torch.from_numpy(r.as_cpu().as_array()))
        elif hasattr(r, "as_array"):
            tensors.append(torch.from_numpy(r.as_array()))
        else:
            tensors.append(torch.as_tensor(r))
    return tensors


def mismatches(result: Sequence[Any], expected: Sequence[torch.Tensor]) -> int:
    """How many values differ from the contract's; a missing or misshapen tensor is an error."""
    tensors = as_tensors(result)
    count = 0
    for got, want in zip(tensors, expected, strict=True):
        if got.shape != want.shape or got.dtype is not want.dtype:
            raise ValueError(f"got {got.dtype} {tuple(got.shape)}, wanted {want.dtype} {tuple(want.shape)}")
        # An image at a time: a comparison of the whole batch would hold another copy of it.
        count += sum(int((g.to(w.device) != w).sum()) for g, w in zip(got, want, strict=True))
    return count
