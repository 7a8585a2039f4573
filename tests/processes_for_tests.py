"""The one Ray of all tests, and processes that have imported before they start: an import of torch takes seconds."""

import os
import sys
from pathlib import Path
from unittest import mock

from torch import multiprocessing

from fastnorm.integrations.ray.engine import Engine


def spawn(function, args, nprocs=1):
    """`torch.multiprocessing.spawn`, with processes that are forked from one that has imported: Python's forkserver."""
    # Taken by the first call. DistributedDataParallel imports torch._dynamo.
    multiprocessing.set_forkserver_preload(["torch._dynamo", "torchvision", "accelerate", "fastnorm"])
    multiprocessing.start_processes(_forking, (function, *args), nprocs, start_method="forkserver")


def _forking(rank, function, *args):
    multiprocessing.set_start_method("fork", force=True)  # else each worker of a loader imports again
    function(rank, *args)


def start_ray():
    """Of two CPUs, where it does not run yet; it ends with the process of the tests."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    # Workers that have nothing to do stay: Ray would end those beyond the second after a second, and start others.
    stay = {"RAY_num_workers_soft_limit": "64", "RAY_idle_worker_killing_time_threshold_ms": "3600000"}
    with mock.patch.dict(os.environ, stay, PYTHONPATH=path):
        Engine(None, 2).start()
