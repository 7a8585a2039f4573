"""Which kernel serves which tensors, and how calls past 32 bits are divided; decided on the host, without memory."""

import pytest
import torch

from fastnorm_kernels.normalize import MAX_CODES, _parts, choose, plans_of

pytestmark = pytest.mark.compat

PLANS = plans_of([((0.5,) * 3, (0.5,) * 3)])
FP32, BF16 = torch.float32, torch.bfloat16


def memory(layout, n, h, w, dtype=torch.uint8, offset=0):
    """A view of memory that exists in name only; `offset` bytes past an aligned address."""
    if offset:
        flat = torch.zeros(n * h * w * 3 + offset, dtype=dtype)[offset:]
        return flat.view(n, h, w, 3).permute(0, 3, 1, 2) if layout == "NHWC" else flat.view(n, 3, h, w)
    if layout == "NHWC":
        return torch.empty(n, h, w, 3, dtype=dtype, device="meta").permute(0, 3, 1, 2)
    return torch.empty(n, 3, h, w, dtype=dtype, device="meta")


@pytest.mark.parametrize(
    ("kernel", "x", "outputs"),
    [
        ("dense", memory("NHWC", 2, 8, 8), [memory("NCHW", 2, 8, 8, FP32)]),
        ("dense", memory("NCHW", 2, 8, 8), [memory("NCHW", 2, 8, 8, BF16)]),
        ("dense", memory("NHWC", 1, 1, 8), [memory("NCHW", 1, 1, 8, BF16)]),
        ("dense", memory("NHWC", 1, 2, 2), [memory("NCHW", 1, 2, 2, FP32)]),
        ("flat", memory("NHWC", 2, 8, 8), [memory("NHWC", 2, 8, 8, FP32)]),
        ("flat", memory("NHWC", 8, 5, 7), [memory("NHWC", 8, 5, 7, BF16)]),
        ("strided", memory("NHWC", 1, 2, 2), [memory("NCHW", 1, 2, 2, BF16)]),  # planes of half a word
        ("strided", memory("NHWC", 1, 5, 7), [memory("NHWC", 1, 5, 7, BF16)]),  # a rest of 1 code
        ("strided", memory("NCHW", 2, 5, 7), [memory("NCHW", 2, 5, 7, FP32)]),
        ("strided", memory("NCHW", 2, 8, 8), [memory("NHWC", 2, 8, 8, FP32)]),
        ("strided", memory("NHWC", 2, 8, 8), [memory("NHWC", 2, 8, 8, FP32), memory("NCHW", 2, 8, 8, FP32)]),
        ("strided", memory("NHWC", 2, 9, 8)[:, :, 1:], [memory("NCHW", 2, 8, 8, FP32)]),
        ("strided", memory("NHWC", 2, 8, 8, offset=1), [memory("NCHW", 2, 8, 8, FP32)]),
        ("dense", memory("NHWC", 2, 8, 8, offset=4), [memory("NCHW", 2, 8, 8, FP32)]),
        ("strided", memory("NHWC", 2, 8, 8, offset=4), [memory("NCHW", 2, 8, 8, BF16)]),
        ("strided", memory("NHWC", 2, 8, 8), [memory("NCHW", 2, 8, 8, FP32, offset=1)]),
    ],
)
def test_choice(kernel, x, outputs):
    assert choose(x, tuple(outputs), PLANS).kernel.__name__ == f"_normalize_{kernel}_kernel"


def test_offsets_are_64_bits_wide_where_strides_reach_that_far():
    def wide(x, output):
        return choose(x, (output,), PLANS).constants["WIDE"]

    assert not wide(memory("NHWC", 2, 9, 9), memory("NCHW", 2, 9, 9, FP32))
    every_other_clip = memory("NHWC", 400, 1024, 1024)[::2, :, :1023]
    assert not wide(every_other_clip[:100], memory("NCHW", 100, 1023, 1024, FP32))
    far_apart = torch.empty(2, 3, 8, 9, 2**28, dtype=torch.uint8, device="meta")[..., 0]
    assert wide(far_apart, memory("NCHW", 2, 8, 9, FP32))


def test_batches_past_2_31_codes_are_launched_in_parts():
    x, output = memory("NHWC", 1500, 1024, 1024), memory("NCHW", 1500, 1024, 1024, FP32)
    parts = _parts(x, (output,))
    assert sum(images.shape[0] for images, _ in parts) == 1500
    assert len(parts) == 3
    for images, (result,) in parts:
        assert images.shape == result.shape
        assert images.numel() <= MAX_CODES
        assert choose(images, (result,), PLANS).kernel.__name__ == "_normalize_dense_kernel"


def test_leading_axes_are_one_launch_where_they_can_be():
    video, out = torch.empty(4, 5, 3, 8, 8, dtype=torch.uint8), torch.empty(4, 5, 3, 8, 8)
    assert len(_parts(video, (out,))) == 1
    assert len(_parts(video[:, ::2], (out[:, ::2],))) == 4  # one for each clip
    assert len(_parts(video[0, 0], (out[0, 0],))) == 1
