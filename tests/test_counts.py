"""What compiled kernels move, counted while they are executed: requests of warps, and sectors of 32 bytes."""

import pytest
import torch

import fastnorm
from fastnorm_kernels.normalize import choose, plans_of
from ptx import Counts, bridge

pytestmark = pytest.mark.compiled

PLANS = plans_of([(target.mean, target.std) for target in (fastnorm.VAE, fastnorm.CLIP)])
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def planes(layout, height, width, dtype=torch.uint8, crop=0):
    """Two images as (N, 3, H, W), of memory with so many pixels more on each side."""
    height, width = height + 2 * crop, width + 2 * crop
    if layout == "NHWC":
        whole = torch.zeros(2, height, width, 3, dtype=dtype).permute(0, 3, 1, 2)
    else:
        whole = torch.zeros(2, 3, height, width, dtype=dtype)
    return whole[:, :, crop : height - crop, crop : width - crop]


def counted(x, outputs, arch):
    launch, counts = choose(x, outputs, PLANS), Counts()
    bridge.run_normalizing(launch, arch, counts=counts)
    return launch.kernel.__name__, counts


def least(*tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) // 32


@pytest.mark.parametrize(("layout", "out"), [("NHWC", "NCHW"), ("NCHW", "NCHW"), ("NHWC", "NHWC")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_whole_words_move_no_sector_that_need_not_move(layout, out, dtype, arch):
    x = planes(layout, 64, 96)
    outputs = tuple(planes(out, 64, 96, DTYPES[dtype]) for _ in range(2))
    kernel, counts = counted(x, outputs, arch)
    assert kernel in ("_normalize_dense_kernel", "_normalize_flat_kernel")
    assert counts.sectors("ld") == least(x)
    assert counts.sectors("st") == least(*outputs)
    assert sum(access.sectors for (kind, _), access in counts.accesses.items() if kind == "st") == least(*outputs)
    assert {width for kind, width in counts.accesses if kind == "st"} == {16}


@pytest.mark.parametrize(("height", "width", "crop"), [(225, 225, 0), (480, 480, 16), (120, 225, 16), (33, 47, 1)])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(("dtype", "per_store"), [("fp32", 5), ("bf16", 3)])
def test_warps_of_the_strided_kernel_store_what_lies_together(layout, height, width, crop, dtype, per_store, arch):
    """32 neighbours of 4 or 2 bytes fill 4 or 2 sectors, and touch one more where rows begin anywhere."""
    x = planes(layout, height, width, crop=crop)
    outputs = tuple(planes("NCHW", height, width, DTYPES[dtype]) for _ in range(2))
    kernel, counts = counted(x, outputs, arch)
    assert kernel == "_normalize_strided_kernel"
    for (kind, _), access in counts.accesses.items():
        assert access.sectors <= (per_store if kind == "st" else 5) * access.requests
    assert counts.sectors("st") <= 1.1 * least(*outputs)
