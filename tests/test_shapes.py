"""Any shape, stride and output memory gives the reference's bits, and every element is written."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fastnorm
from fastnorm import CLIP, DINOV2, SIGLIP, VAE
from fastnorm.backends.cpu import torch_normalization
from helpers import DTYPES, PATHS, assert_same_bits, poisoned, random_pixels

pytestmark = pytest.mark.compat

TARGETS = (VAE, CLIP, DINOV2, SIGLIP)

# Sizes around every boundary of the paths: one pixel, less than a word, odd, a tile and one more.
SIZES = [(1, 1), (1, 2), (2, 1), (1, 3), (2, 2), (3, 5), (7, 9), (1, 64), (64, 1), (4, 8), (31, 33), (32, 32), (33, 32)]


def check(path, batch, layout="auto", dtypes=(torch.float32, torch.bfloat16), memory_format=torch.contiguous_format):
    targets = TARGETS[: len(dtypes)]
    expected = fastnorm.reference.normalize(batch, targets, dtype=dtypes, layout=layout)
    outputs = [poisoned(e.shape, e.dtype, batch.device, memory_format) for e in expected]
    PATHS[path](batch, targets, outputs, layout)
    for output, value in zip(outputs, expected, strict=True):
        assert_same_bits(output, value)


@pytest.mark.parametrize("dtypes", [(torch.float32,) * 2, (torch.float16,) * 2, DTYPES], ids=["fp32", "fp16", "mixed"])
@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("path", PATHS)
def test_sizes(path, layout, size, dtypes, device):
    shape = (3, *size, 3) if layout == "NHWC" else (3, 3, *size)
    check(path, random_pixels(*shape, device=device), layout, dtypes)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("view", "layout"),
    [
        (lambda p: p(5, 6, 8, 3), "NHWC"),
        (lambda p: p(6, 8, 3), "NHWC"),
        (lambda p: p(3, 6, 8), "NCHW"),
        (lambda p: p(2, 3, 6, 8, 3), "NHWC"),
        (lambda p: p(2, 2, 3, 6, 8), "NCHW"),
        (lambda p: p(2, 2, 2, 3, 4, 4), "NCHW"),
        (lambda p: p(4, 6, 8, 3).permute(0, 3, 1, 2), "NCHW"),
        (lambda p: p(4, 3, 6, 8).permute(0, 2, 3, 1), "NHWC"),
        (lambda p: p(2, 20, 24, 3)[:, 3:15, 2:21], "NHWC"),
        (lambda p: p(2, 3, 20, 24)[:, :, 3:15, 2:21], "NCHW"),
        (lambda p: p(6, 8, 8, 3)[::2], "NHWC"),
        (lambda p: p(2, 8, 8, 3)[:, ::2, ::3], "NHWC"),
        (lambda p: p(1, 6, 8, 3).expand(3, 6, 8, 3), "NHWC"),
        (lambda p: p(2, 6, 8, 1).expand(2, 6, 8, 3), "NHWC"),
        (lambda p: p(2, 1, 1, 3).expand(2, 6, 8, 3), "NHWC"),
        (lambda p: p(2, 6, 8, 4)[..., :3], "NHWC"),
        (lambda p: p(2, 6, 8, 3).transpose(1, 2), "NHWC"),
        (lambda p: p(4, 4, 6, 8, 3)[::2, 1:3], "NHWC"),
        (lambda p: p(2, 3, 5, 6, 8).transpose(1, 2), "NCHW"),
        (lambda p: p(1 + 2 * 8 * 8 * 3)[1:].view(2, 8, 8, 3), "NHWC"),
        (lambda p: p(3 + 2 * 8 * 8 * 3)[3:].view(2, 3, 8, 8), "NCHW"),
    ],
    ids=[
        "batch", "HWC", "CHW", "video NHWC", "video NCHW", "two leading axes", "NCHW view of NHWC", "NHWC view of NCHW",
        "crop of NHWC", "crop of NCHW", "every second image", "every second row", "expanded batch", "expanded gray",
        "expanded pixel", "RGB of RGBA", "transposed", "clips of a longer video", "channels before frames",
        "misaligned NHWC", "misaligned NCHW",
    ],
)  # fmt: skip
def test_views(path, view, layout, memory_format, device):
    check(path, view(lambda *shape: random_pixels(*shape, device=device)), layout, memory_format=memory_format)


@pytest.mark.once
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_a_tile_may_end_after_any_row(layout, memory_format, dtype, device):
    """Crops, whose tiles hold 16 short rows: three images of 6 to 21 rows end after any, in one width or another."""
    for rows, width in ((1, 48), *((rows, (33, 48, 64)[rows % 3]) for rows in range(6, 22)), (1, 1025), (2, 1025)):
        if layout == "NHWC":
            batch = random_pixels(3, rows + 1, width + 1, 3, device=device)[:, 1:, 1:]
        else:
            batch = random_pixels(3, 3, rows + 1, width + 1, device=device)[..., 1:, 1:]
        check("kernel", batch, layout, (dtype,) * 2, memory_format)


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (2, 0, 8, 3), (2, 8, 0, 3), (0, 3, 8, 8), (2, 0, 4, 4, 3), (0, 0, 3)])
def test_empty_batches_give_empty_outputs(shape, device):
    batch = torch.empty(shape, dtype=torch.uint8, device=device)
    vae, clip = fastnorm.fused_dual_normalize(batch, dtype=(torch.float32, torch.float16))
    expected = fastnorm.reference.normalize(batch, [VAE])[0].shape
    assert vae.shape == clip.shape == expected
    assert 0 in vae.shape
    assert (vae.dtype, clip.dtype) == (torch.float32, torch.float16)
    assert vae.device == batch.device


def interleaved_slices(shape, device):
    buffer = poisoned((shape[0], 6, *shape[2:]), torch.float32, device)
    return [buffer[:, :3], buffer[:, 3:]], buffer


def rows_of_a_larger_buffer(shape, device):
    buffer = poisoned((shape[0] + 4, *shape[1:]), torch.float32, device)
    return [buffer[1 : shape[0] + 1], poisoned(shape, torch.float32, device)], buffer


def columns_of_a_larger_buffer(shape, device):
    buffer = poisoned((*shape[:3], 2 * shape[3]), torch.float32, device)
    return [buffer[..., : shape[3]], buffer[..., shape[3] :]], buffer


def every_second_column(shape, device):
    buffer = poisoned((*shape[:3], 2 * shape[3]), torch.float32, device)
    return [buffer[..., ::2], buffer[..., 1::2]], buffer


def one_format_each(shape, device):
    return [
        poisoned(shape, torch.float32, device, torch.channels_last),
        poisoned(shape, torch.float32, device, torch.contiguous_format),
    ], None


def misaligned(shape, device):
    count = int(np.prod(shape))
    buffer = poisoned((2 * count + 1,), torch.float32, device)
    return [buffer[1 : count + 1].view(shape), buffer[count + 1 :].view(shape)], buffer


OUTS = [
    interleaved_slices,
    rows_of_a_larger_buffer,
    columns_of_a_larger_buffer,
    every_second_column,
    one_format_each,
    misaligned,
]


@pytest.mark.parametrize("make", OUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("path", PATHS)
def test_out_takes_any_memory_and_leaves_the_rest_alone(path, layout, make, device):
    batch = random_pixels(*((3, 8, 12, 3) if layout == "NHWC" else (3, 3, 8, 12)), device=device)
    outputs, buffer = make((3, 3, 8, 12), device)
    PATHS[path](batch, [CLIP, VAE], outputs)
    expected = fastnorm.reference.normalize(batch, [CLIP, VAE])
    for output, value in zip(outputs, expected, strict=True):
        assert_same_bits(output, value)
    if buffer is not None:
        inside = [o for o in outputs if o.untyped_storage().data_ptr() == buffer.untyped_storage().data_ptr()]
        untouched = int(buffer.isnan().sum())
        assert untouched == buffer.numel() - sum(o.numel() for o in inside)


def test_out_is_returned_itself():
    outputs = (torch.empty(2, 3, 4, 4), torch.empty(2, 3, 4, 4, dtype=torch.float16))
    returned = fastnorm.fused_dual_normalize(random_pixels(2, 4, 4, 3), out=outputs)
    assert returned.vae is outputs[0]
    assert returned.clip is outputs[1]


def test_memory_formats_of_new_outputs():
    batch = random_pixels(2, 8, 8, 3)
    vae, clip = fastnorm.fused_dual_normalize(batch, memory_format=(torch.contiguous_format, torch.channels_last))
    assert vae.is_contiguous()
    assert clip.is_contiguous(memory_format=torch.channels_last)
    assert_same_bits(clip, fastnorm.reference.normalize(batch, [CLIP])[0])


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a,
        lambda a: a[:, ::-1],
        lambda a: a[..., ::-1],
        lambda a: a[:, 1:5, ::2],
        lambda a: np.asfortranarray(a),
        lambda a: np.ascontiguousarray(np.moveaxis(a, -1, 1)),
    ],
    ids=["plain", "upside down", "BGR", "strided", "fortran", "NCHW"],
)
def test_numpy_arrays(view):
    array = view(random_pixels(2, 6, 8, 3).numpy())
    before = array.copy()
    got = fastnorm.fused_dual_normalize(array)
    expected = fastnorm.reference.normalize(torch.from_numpy(before), [VAE, CLIP])
    for output, value in zip(got, expected, strict=True):
        assert_same_bits(output, value)
    assert np.array_equal(array, before)


def test_read_only_arrays_are_read_in_place_without_a_warning():
    array = random_pixels(2, 6, 8, 3).numpy()
    array.flags.writeable = False
    tensor = fastnorm.images.layout.as_planes(array)
    assert tensor.data_ptr() == array.ctypes.data
    assert_same_bits(fastnorm.fused_normalize(array, [CLIP])[0], fastnorm.reference.normalize(array.copy(), [CLIP])[0])


def test_an_array_outlives_the_caller_s_reference():
    def planes():
        array = random_pixels(64, 64, 3).numpy().copy()
        array.flags.writeable = False
        return fastnorm.images.layout.as_planes(array)

    assert torch.equal(planes(), random_pixels(64, 64, 3).movedim(-1, 0))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 300, 400, 3), (5, 130, 170, 3), (7, 3, 40, 50), (2, 3, 700, 300)])
def test_threads_and_pieces_of_the_torch_path(shape, threads, monkeypatch):
    """Small pieces, so that groups of images, bands of rows and their remainders all occur."""
    monkeypatch.setattr(torch_normalization, "PIECE", 1 << 14)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for memory_format in (torch.contiguous_format, torch.channels_last):
            check("torch", random_pixels(*shape), dtypes=DTYPES, memory_format=memory_format)
    finally:
        torch.set_num_threads(before)


def test_default_dtype_and_device_settings_do_not_matter():
    batch = random_pixels(2, 8, 8, 3)
    expected = fastnorm.reference.normalize(batch, [VAE, CLIP])
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            got = fastnorm.fused_dual_normalize(batch)
    finally:
        torch.set_default_dtype(torch.float32)
    for output, value in zip(got, expected, strict=True):
        assert_same_bits(output, value)


@given(
    n=st.integers(1, 4),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    layout=st.sampled_from(["NHWC", "NCHW"]),
    dtypes=st.lists(st.sampled_from(DTYPES), min_size=1, max_size=4),
    seed=st.integers(0, 2**16),
    path=st.sampled_from(sorted(PATHS)),
    channels_last=st.booleans(),
)
def test_random_calls(n, height, width, layout, dtypes, seed, path, channels_last):
    shape = (n, height, width, 3) if layout == "NHWC" else (n, 3, height, width)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    check(path, random_pixels(*shape, seed=seed), layout, dtypes, memory_format)


def test_constants_made_in_inference_mode_serve_outside_of_it():
    batch = random_pixels(2, 8, 8, 3)
    with torch.inference_mode():
        inside = fastnorm.fused_dual_normalize(batch)
    outside = fastnorm.fused_dual_normalize(batch)
    for a, b in zip(inside, outside, strict=True):
        assert_same_bits(a, b)
    (outside.clip.requires_grad_() * 2).sum().backward()
