"""Host time of one small call: from Python to the driver's launch, beside Triton's own launch.

    python benchmarks/host_path.py [--rows FILE] [--quick]

With a GPU the launches are real, and torch.compile, eager torch and torchvision v2 stand beside them. Without one they
go to a driver that does nothing (tests/stub_libcuda.c), so that what is timed is all of the host's work but the
driver's. torch's own calls cannot be launched there: they would compute on the CPU, which is another thing to time.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "kernels"), str(ROOT / "tests")]

import torch  # noqa: E402

from benchmarks import pixels  # noqa: E402
from benchmarks.measure import OURS  # noqa: E402
from benchmarks.rows import Cell, Row, append, row, run_id  # noqa: E402

ROUNDS = 200
CALLS = 50


def measure(rows_file: Path | None, rounds: int) -> None:
    import stub_driver

    gpu = torch.cuda.is_available()
    if not gpu:
        stub_driver.install()

    from benchmarks.cells import BF16, FP32

    for images, dtype in ((1, BF16), (1, FP32), (8, BF16), (8, FP32)) if gpu else ((1, BF16),):
        for memory in ("fresh", "out"):
            rows = measure_cell(images, dtype, memory, rounds, gpu)
            print(f"\n{rows[0].cell}")
            for line in rows:
                ratio = line.p50_ms / rows[0].p50_ms
                print(f"  {line.name:36} {1e3 * line.p50_ms:7.1f} us  x{ratio:5.2f}  {line.note}")
            if rows_file:
                append(rows_file, rows)


def measure_cell(images: int, dtype: torch.dtype, memory: str, rounds: int, gpu: bool) -> list[Row]:
    import triton

    import fastnorm
    from benchmarks.cells import SHORT
    from fastnorm import CLIP, VAE
    from fastnorm_kernels.normalize import choose, plans_of

    device = torch.device("cuda" if gpu else "cpu")
    batch = pixels.batch(images, (224, 224), "NHWC", device)
    outputs = tuple(torch.empty(images, 3, 224, 224, dtype=dtype, device=device) for _ in range(2))
    given = list(outputs) if memory == "out" else None
    launch = choose(batch.permute(0, 3, 1, 2), outputs, plans_of([(VAE.mean, VAE.std), (CLIP.mean, CLIP.std)]))
    calls = {
        (OURS, fastnorm.__version__, "checks, outputs, launch"): lambda: fastnorm.fused_dual_normalize(
            batch, dtype=dtype, out=given
        ),
        ("Triton kernel[grid]", triton.__version__, "launch only"): launch.run,
    }
    if gpu and memory == "fresh":
        calls |= calls_of_peers(batch, dtype)

    seconds: dict[tuple[str, str, str], list[float]] = {who: [] for who in calls}
    for _ in range(rounds + 1):
        for who, call in calls.items():
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            seconds[who].append((time.perf_counter() - start) / CALLS)
            if gpu:
                torch.cuda.synchronize()

    dtypes = f"{SHORT[dtype]}+{SHORT[dtype]}"
    name = f"{images}x224x224 NHWC {dtypes} {memory}"
    cell = Cell("host", name, f"{images}x224x224x3", "NHWC", 2, dtypes, memory, images)
    run = run_id(f"host {'cuda' if gpu else 'no driver'}")
    where = "" if gpu else "; driver that does nothing"
    return [
        row(run, cell, name, version, seconds[name, version, what][1:], device=device, note=what + where)
        for name, version, what in calls
    ]


def calls_of_peers(batch: torch.Tensor, dtype: torch.dtype) -> dict[tuple[str, str, str], Callable[[], object]]:
    from benchmarks.peers import Missing, NormalizeJob, make
    from benchmarks.peers.normalize import COMPILED_AUTO, COMPILED_STATIC, EAGER, TORCHVISION_V2
    from fastnorm import CLIP, VAE

    job = NormalizeJob(batch, "NHWC", (VAE, CLIP), (dtype, dtype))
    calls = {}
    for peer in (COMPILED_STATIC, COMPILED_AUTO, EAGER, TORCHVISION_V2):
        function = make(peer, job)
        if isinstance(function, Missing):
            print(f"{function.name}: not run: {function.reason}")
            continue
        calls[peer.name, peer.version(), "outputs, launch"] = functools.partial(function, batch)
    return calls


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, help="append the measurements to this CSV file")
    parser.add_argument("--quick", action="store_true", help="few rounds")
    options = parser.parse_args()
    if torch.cuda.is_available() or "TRITON_LIBCUDA_PATH" in os.environ:
        measure(options.rows, 20 if options.quick else ROUNDS)
        return 0
    import stub_driver

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, *sys.argv[1:]]
        return subprocess.run(command, env=stub_driver.environment(folder), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
