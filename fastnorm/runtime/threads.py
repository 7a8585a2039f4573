"""Independent pieces of work on as many threads as torch uses: one in a DataLoader's worker."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from fastnorm.runtime.torch_internals import on_this_thread_alone

Result = TypeVar("Result")


def run(jobs: Sequence[Callable[[], Result]]) -> list[Result]:
    """Each job's result, in order.

    Jobs begin in order. When one raises, no further job begins; those that have begun are finished, and the exception
    of the first of them that failed is raised: the same one in every run. Ctrl-C ends the call in the same way.

    The calling thread takes part, and the others live as long as the call: nothing is left behind that a fork would
    break, and where no thread can be started, as while the interpreter shuts down, the caller does everything. Threads
    help where jobs release the interpreter's lock, as torch's operations and Pillow's decoders and filters do.
    """
    waiting = collections.deque(enumerate(jobs))
    results: dict[int, Result] = {}
    failures: dict[int, BaseException] = {}
    inference = torch.is_inference_mode_enabled()  # each thread has its own, and new threads begin outside of it

    def work() -> None:
        while True:
            try:
                index, job = waiting.popleft()
            except IndexError:
                return
            try:
                results[index] = job()
            except BaseException as error:
                waiting.clear()
                failures[index] = error

    def work_elsewhere() -> None:
        with torch.inference_mode(inference), on_this_thread_alone():
            work()

    if min(torch.get_num_threads(), len(jobs)) < 2:
        return [job() for job in jobs]
    helpers = []
    try:
        for _ in range(min(torch.get_num_threads(), len(jobs)) - 1):
            thread = threading.Thread(target=work_elsewhere, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter shuts down
                break
            helpers.append(thread)
        with on_this_thread_alone():
            work()
    finally:
        waiting.clear()
        for thread in helpers:
            thread.join()
    if failures:
        raise failures[min(failures)]
    return [results[index] for index in range(len(jobs))]
