"""Independent pieces of work on as many threads as torch uses: one in a DataLoader's worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Result = TypeVar("Result")


def run(jobs: Sequence[Callable[[], Result]]) -> list[Result]:
    """Each job's result, in order; the first job's exception if some raise.

    Threads live as long as the call: nothing is left behind that a fork would break. They help where jobs release the
    interpreter's lock, as Pillow's decoders and filters do.
    """
    workers = min(torch.get_num_threads(), len(jobs))
    if workers < 2:
        return [job() for job in jobs]
    with ThreadPoolExecutor(workers) as pool:
        return [future.result() for future in [pool.submit(job) for job in jobs]]
