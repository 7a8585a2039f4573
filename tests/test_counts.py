"""What compiled kernels move, counted while they are executed: requests of warps, and sectors of 32 bytes."""

import pytest
import torch

import fastnorm
from fastnorm.spec.filters import BICUBIC, BILINEAR
from fastnorm.spec.geometry import Geometry, Size, Span
from fastnorm_kernels import inverse, resize
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


@pytest.mark.parametrize(("height", "width", "crop"), [(225, 225, 0), (224, 224, 16), (120, 225, 16), (33, 47, 1)])
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


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("target", [None, fastnorm.CLIP], ids=["denormalize", "renormalize"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_way_back_reads_and_writes_each_sector_once(dtype, target, layout, arch):
    """By accesses of 16 bytes for the wider dtype."""
    x = planes(layout, 64, 96, DTYPES[dtype])
    output = planes(layout, 64, 96, torch.uint8 if target is None else DTYPES[dtype])
    target = target and (target.mean, target.std)
    launch, counts = inverse.choose(x, output, (fastnorm.VAE.mean, fastnorm.VAE.std), target), Counts()
    bridge.run_normalizing(launch, arch, counts=counts)
    assert launch.kernel.__name__ == "_inverse_dense_kernel"
    assert counts.sectors("ld") == least(x)
    assert counts.sectors("st") == least(output)
    assert {width for kind, width in counts.accesses if kind == "ld"} == {16}
    assert {width for kind, width in counts.accesses if kind == "st"} == {
        16 * output.element_size() // x.element_size()
    }


@pytest.fixture(scope="module")
def passes(request):
    """What each launch counts for one image of 512 x 512 to the VAE's and CLIP's filters, at half their sizes."""
    found, arch = {}, request.config.option.arch
    for layout in ("NHWC", "NCHW"):
        for dtype in DTYPES:
            image = torch.zeros(512, 512, 3, dtype=torch.uint8)
            image = image if layout == "NHWC" else image.permute(2, 0, 1).contiguous().permute(1, 2, 0)
            source = resize.Source(image.data_ptr(), 512, 512, *image.stride())
            targets = []
            for side, kernel in ((256, BILINEAR), (112, BICUBIC)):
                span = Span(0, side, 0, side)
                plan = Geometry(Size(512, 512), Size(side, side), span, span, False)
                output = torch.empty(1, 3, side, side, dtype=DTYPES[dtype])
                targets.append(resize.ResizeTarget(kernel, None, (0.5,) * 3, (0.5,) * 3, [plan], output))
            launches = bridge.resized([source], targets, arch)
            counts = {launch.kernel.__name__: counts for launch, counts in launches}
            found[layout, dtype] = counts, [target.output for target in targets]
    return found


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_second_pass_stores_no_sector_twice(passes, layout, dtype):
    counts, outputs = passes[layout, dtype]
    counts = counts["_across_lines_kernel"]
    assert counts.sectors("st") == counts.accesses["st", 16].sectors == least(*outputs)
    # Of lines, 16 bytes a lane: whole sectors in float32's tiles, half of each in those that take every other four.
    most = 16 if dtype == "fp32" else 32
    assert counts.accesses["ld", 16].sectors <= most * counts.accesses["ld", 16].requests


@pytest.mark.parametrize(
    ("layout", "most", "in_all"), [("NHWC", {4: 8.5, 8: 6.5}, 0.48e6), ("NCHW", {4: 4.1, 8: 2.6}, 0.34e6)]
)
def test_the_first_pass_reads_what_lies_together(passes, layout, most, in_all):
    """Neighbouring pixels, whose taps begin two or four and a half pixels apart; its own output in whole sectors.

    The loads of 8 bytes are of records, which are one sector each, and of coefficients, which are 8; and of interleaved
    pixels, where they touch the same sectors as loads of 4, half as often.
    """
    counts, _ = passes[layout, "fp32"]
    counts = counts["_along_lines_kernel"]
    for (kind, width), access in counts.accesses.items():
        assert access.sectors <= (most[width] if kind == "ld" else 4) * access.requests
    assert sum(access.sectors for access in counts.accesses.values()) <= in_all


@pytest.mark.parametrize(("layout", "most"), [("NHWC", 0.885e6), ("NCHW", 0.855e6)])
def test_warp_instructions_of_the_first_pass(passes, layout, most):
    """Of PTX: the machine code's are held in test_offline_resize, by loop."""
    counts, _ = passes[layout, "bf16"]
    assert counts["_along_lines_kernel"].warps.total() <= most
