"""What the compiled kernels hold, for GPUs that are not here: the offline compiler's machine code, counted."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

KERNELS = pathlib.Path(__file__).parent.parent / "kernels"
ARCHS = ("sm_80", "sm_90", "sm_100")
PAIRS = ("fp32,fp32", "bf16,bf16", "fp16,fp16")


@pytest.fixture(scope="module")
def reports():
    """One process without the interpreter compiles every variant."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {"PYTHONPATH": str(KERNELS)}
    command = [sys.executable, "-m", "fastnorm_kernels.offline", "--arch", "80", "90", "100", "--dtypes", *PAIRS]
    listing = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    rows = [json.loads(line) for line in listing.splitlines()]
    return {(row["arch"], row["layout"], row["dtypes"]): row for row in rows}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("arch", ARCHS)
def test_dense_pairs_move_whole_words_and_nothing_else(reports, arch, layout, pair):
    row = reports[arch, layout, pair]
    assert row["kernel"] == "_normalize_dense_kernel"
    assert row["calls"] == 0, "a slow-path call"
    assert row["spills"] == 0
    assert row["shared_bytes"] == 0
    assert row["barriers"] == 0
    assert set(row["stores"]) == {"128"}
    assert set(row["loads"]) == {"32" if pair == "fp32,fp32" else "64"}


@pytest.mark.parametrize(
    ("layout", "pair", "most"),
    [("NHWC", "bf16,bf16", 14), ("NHWC", "fp32,fp32", 15), ("NCHW", "bf16,bf16", 16), ("NCHW", "fp32,fp32", 18)],
)
def test_instructions_per_element_on_sm_90(reports, layout, pair, most):
    """A memory-bound pair has room for about 33 on an H200; fewer leave the schedulers idle, which is the aim."""
    assert reports["sm_90", layout, pair]["instructions_per_element"] <= most
