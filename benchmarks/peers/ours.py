"""This library with something chosen for it: its path on the CPU, as FASTNORM_CPU has it, or the number of threads."""

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from unittest import mock

import torch

import fastnorm
from benchmarks.peers import CannotRun, Function, Job, Peer
from benchmarks.rows import OURS
from fastnorm.backends.cpu import native


@contextlib.contextmanager
def _chosen(path: str = native.AUTO, threads: int = 0) -> Iterator[None]:
    before = torch.get_num_threads()
    with mock.patch.dict(os.environ, {native.VARIABLE: path}):
        native.engine.cache_clear()
        torch.set_num_threads(threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            native.engine.cache_clear()  # what is chosen next time is read from the environment again


def _call(job: Job) -> Function:
    try:
        native.engine()
    except (RuntimeError, ValueError) as why:  # no native code, or a processor without these instructions
        raise CannotRun(str(why)) from None
    if isinstance(job.targets[0], fastnorm.Target):
        return partial(fastnorm.fused_preprocess, targets=job.targets)
    call = partial(fastnorm.fused_normalize, normalizations=job.targets, dtype=job.dtypes)
    return partial(call, out=call(job.example) if job.memory == "out" else None)


def _peer(name: str, **choices) -> Peer:
    return Peer(f"{OURS}, {name}", ("fastnorm-triton",), _call, within=partial(_chosen, **choices), device="cpu")


TORCH_PATH, AVX2, VNNI = _peer("torch path", path="torch"), _peer("AVX2", path="avx2"), _peer("VNNI", path="vnni")
TWO_THREADS = _peer("2 threads", threads=2)
