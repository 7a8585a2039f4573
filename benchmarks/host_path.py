"""Host time of one small call: from Python to the driver's launch, beside Triton's own launch and torch.compile's.

    python benchmarks/host_path.py [--rows FILE]

With a GPU the launches are real. Without one they go to a driver that does nothing (tests/stub_libcuda.c), so that
what is timed is all of the host's work but the driver's; torch.compile then compiles for the CPU and runs on 8 x 8
pixels, so that its call, too, is nearly all host work.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "kernels"), str(ROOT / "tests")]

import torch  # noqa: E402

ROUNDS = 200
CALLS = 50


def measure(rows_file: Path | None) -> None:
    import triton

    import stub_driver

    gpu = torch.cuda.is_available()
    if not gpu:
        stub_driver.install()

    import fastnorm
    from benchmarks.peers import eager_branches
    from benchmarks.rows import append, row
    from fastnorm import CLIP, VAE
    from fastnorm_kernels.normalize import choose, plans_of

    device = "cuda" if gpu else "cpu"
    batch = torch.zeros(1, 224, 224, 3, dtype=torch.uint8, device=device)
    outputs = tuple(torch.empty(1, 3, 224, 224, dtype=torch.bfloat16, device=device) for _ in range(2))
    launch = choose(batch.permute(0, 3, 1, 2), outputs, plans_of([(VAE.mean, VAE.std), (CLIP.mean, CLIP.std)]))
    small = batch if gpu else torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    compiled = torch.compile(eager_branches(small.device, dtype=torch.bfloat16))

    calls = {
        ("fastnorm: checks, outputs, launch", fastnorm.__version__): lambda: fastnorm.fused_dual_normalize(
            batch, dtype=torch.bfloat16
        ),
        ("kernel[grid]: launch only", triton.__version__): launch.run,
        (f"torch.compile on {small.device.type}: outputs, launch", torch.__version__): lambda: compiled(small),
    }
    seconds = {who: [] for who in calls}
    for _ in range(ROUNDS + 1):
        for who, call in calls.items():
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            seconds[who].append((time.perf_counter() - start) / CALLS)
            if gpu:
                torch.cuda.synchronize()

    run = f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%dT%H%M%S} host {'GPU' if gpu else 'no driver'}"
    rows = [
        row(run, name, version, batch, times[1:], 0, 0, dtypes="bf16+bf16")
        for (name, version), times in seconds.items()
    ]
    for line in rows:
        print(f"{line.name:48} {1e3 * line.p50_ms:7.1f} us  x{line.p50_ms / rows[0].p50_ms:5.2f}")
    if rows_file:
        append(rows_file, rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, help="append the measurements to this CSV file")
    options = parser.parse_args()
    if torch.cuda.is_available() or "TRITON_LIBCUDA_PATH" in os.environ:
        measure(options.rows)
        return 0
    import stub_driver

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, *sys.argv[1:]]
        return subprocess.run(command, env=stub_driver.environment(folder), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
