"""Host time of one small call: from Python to the driver's launch, beside Triton's own launch.

With a GPU the launches are real, and torch.compile, eager torch and torchvision v2 are measured too. Without one they
go to a driver that does nothing (tests/stub_libcuda.c), so that what is timed is all of the host's work but the
driver's. torch's own calls cannot be launched there: they would compute on the CPU, which is another thing to time.
"""

import functools
import os
import subprocess
import sys

import pytest
import torch
import triton

import fastnorm
from benchmarks import pixels
from benchmarks.cells import BF16, FP32, NormalizeCell
from benchmarks.peers import Job, Missing, Timing, make, normalize
from benchmarks.rows import OURS
from benchmarks.timing import Candidate
from fastnorm import CLIP, VAE
from fastnorm_kernels.normalize import choose, plans_of
from tests import stub_driver

CALLS = 50  # in one round
HAS_GPU = torch.cuda.is_available()
PEERS = (normalize.COMPILED_STATIC, normalize.COMPILED_AUTO, normalize.EAGER, normalize.TORCHVISION_V2)
CELLS = [
    NormalizeCell(images, ((224, 224),), (dtype, dtype), memory=memory, peers=PEERS, rounds=200, quick=True)
    for images, dtype in (((1, BF16), (1, FP32), (8, BF16), (8, FP32)) if HAS_GPU else ((1, BF16),))
    for memory in ("fresh", "out")
]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"host: {cell.columns().cell}")
def test_host_time(suite, request, tmp_path, cell):
    if not HAS_GPU:
        if "TRITON_LIBCUDA_PATH" not in os.environ:  # the driver has to be there when a process starts
            arguments = ["--quick"] * suite.quick + ["--verify-only"] * suite.verify_only
            arguments += [f"--rows={suite.rows}"] * bool(suite.rows)
            command = [sys.executable, "-m", "pytest", "-q", "-s", *arguments, request.node.nodeid]
            subprocess.run(command, env=stub_driver.environment(tmp_path), cwd=request.config.rootpath, check=True)
            return
        stub_driver.install()
    device, dtype = torch.device("cuda" if HAS_GPU else "cpu"), cell.dtypes[0]
    batch = pixels.batch(cell.images, (224, 224), "NHWC", device)
    planes = batch.permute(0, 3, 1, 2)
    outputs = tuple(torch.empty(planes.shape, dtype=dtype, device=device) for _ in range(2))
    launch = choose(planes, outputs, plans_of([(target.mean, target.std) for target in (VAE, CLIP)]))
    given = list(outputs) if cell.memory == "out" else None
    where = "" if HAS_GPU else "; driver that does nothing"
    ours = functools.partial(fastnorm.fused_dual_normalize, batch, dtype=dtype, out=given)
    timed = functools.partial(Candidate, timing=Timing.HOST, repeats=CALLS)
    entries = [
        timed(OURS, fastnorm.__version__, ours, note="checks, outputs, launch" + where),
        timed("Triton kernel[grid]", triton.__version__, launch.run, note="launch only" + where),
    ]
    job = Job(batch, (VAE, CLIP), device, dtypes=cell.dtypes)
    for peer in cell.peers if HAS_GPU and cell.memory == "fresh" else ():
        made = make(peer, job)
        if not isinstance(made, Missing):
            made = timed(peer.name, peer.version(), functools.partial(made, batch), note="outputs, launch")
        entries.append(made)
    suite.compare(cell.columns()._replace(suite="host", bytes_moved=None), entries, cell.rounds, device)
