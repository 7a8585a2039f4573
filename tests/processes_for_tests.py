"""The one Ray of all tests, and processes that have imported before they start: an import of torch takes seconds."""

import functools
import os
import sys
from pathlib import Path
from unittest import mock

from torch import multiprocessing

from fastnorm.integrations.ray.engine import Engine

# Python imports these once, into a process of its own, and forks the others from it. DistributedDataParallel imports
# torch._dynamo.
multiprocessing.set_forkserver_preload(["torch._dynamo", "torchvision", "accelerate", "fastnorm"])

# `torch.multiprocessing.spawn` with such processes.
spawn = functools.partial(multiprocessing.start_processes, start_method="forkserver")


def start_ray():
    """Of two CPUs, where it does not run yet; it ends with the process of the tests."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with mock.patch.dict(os.environ, PYTHONPATH=path):  # of the workers
        Engine(None, 2).start()
