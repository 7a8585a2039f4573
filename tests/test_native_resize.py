"""The native walk over an image's rows: the reference's bits and Pillow's, for everything that the CPU can be asked.

Equality throughout, on every instruction set that this machine has.
"""

import ctypes
import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image

import fastnorm
import fastnorm_native
from fastnorm import reference
from fastnorm.backends.base import TargetJob
from fastnorm.backends.cpu import native, preprocessing, resizing
from fastnorm.backends.cpu.native import Engine
from fastnorm.backends.eager import resize_and_crop
from fastnorm.spec.filters import BICUBIC, BILINEAR, FILTERS, LANCZOS, TORCH_FILTERS, coefficients
from fastnorm.spec.geometry import CropRule, Geometry, PassOrder, Size, Span, geometry
from fastnorm_native import Instructions, arrow, resize
from fastnorm_native.normalize import PreparedNormalization, prepared
from fastnorm_native.resize import Axis
from helpers import (
    DTYPES,
    as_padded_rows,
    as_planar,
    assert_same_bits,
    available_instructions,
    cpu_path,
    dtype_name,
    poisoned,
    random_pixels,
)
from native_driver import compiled

LIBRARY = fastnorm_native.library()
pytestmark = [
    pytest.mark.compat,
    pytest.mark.pillow,
    pytest.mark.skipif(LIBRARY is None, reason=f"no native code here: {fastnorm_native.status()}"),
]
INSTRUCTIONS = [native.INSTRUCTIONS[name] for name in available_instructions()]

every_instruction_set = pytest.mark.parametrize("instructions", INSTRUCTIONS, ids=lambda i: i.name.lower())
# Of both arithmetics, which differ in nothing but the tables.
KERNELS = {**FILTERS, **{f"torch's {name}": kernel for name, kernel in TORCH_FILTERS.items()}}
every_filter = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
every_filter_of_pillow = pytest.mark.parametrize("kernel", FILTERS.values(), ids=FILTERS)


@pytest.fixture
def threads():
    """Sets torch's number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


# --- tables


@st.composite
def axes(draw):
    any_length = st.integers(1, 6) | st.integers(1, 60) | st.integers(1, 2000)
    source = draw(any_length)
    resized = draw(any_length | st.just(source) | st.just(2 * source) | st.just(-(-source // 2)))
    start = draw(st.integers(0, resized - 1))
    return Axis(source, resized, start, draw(st.integers(1, resized - start)))


def as_matrix(axis, kernel):
    """The reference's table, [pixel][source pixel]."""
    table = coefficients(axis.source, axis.resized, kernel)
    matrix = np.zeros((axis.length, axis.source), np.int32)
    for pixel, row in enumerate(matrix, axis.start):
        first, count = table.first[pixel], table.count[pixel]
        row[first : first + count] = table.fixed[pixel, :count]
    return matrix


@every_filter
@given(axis=axes())
@example(axis=Axis(4096, 1, 0, 1))
@example(axis=Axis(1, 300, 0, 300))
@example(axis=Axis(300, 7, 0, 1))  # the largest weight, which torch's fraction bits depend on, is outside of the crop
@example(axis=Axis(70_000, 2, 1, 1))  # 22 fraction bits
@pytest.mark.once
def test_tables_are_the_references(kernel, axis):
    expected = as_matrix(axis, kernel)
    for instructions in {INSTRUCTIONS[0], INSTRUCTIONS[-1]}:  # the two ways to pack weights, where there is VNNI
        rows = resize.rows_table(LIBRARY, instructions, resizing.kernel_of(kernel), axis)
        assert np.array_equal(rows.unpacked(axis.source), expected)
        for mirrored in (False, True):
            columns = resize.columns_table(LIBRARY, instructions, resizing.kernel_of(kernel), axis, mirrored)
            assert np.array_equal(columns.unpacked(axis.source), expected[::-1] if mirrored else expected)


def test_all_filters_and_their_supports_are_known():
    """Another one, of a later version, takes Pillow's path."""
    assert {name: support for name, (_, support) in resize.FILTERS.items()} == {
        f.name: f.support for f in FILTERS.values()
    }
    assert not resize.can_resize(resize.Kernel("another", "pillow"), Axis(2, 1, 0, 1), Axis(2, 1, 0, 1), False)
    assert not resize.can_resize(resize.Kernel("box", "another"), Axis(2, 1, 0, 1), Axis(2, 1, 0, 1), False)


def test_tables_are_made_once_unless_they_are_large():
    axis, large = Axis(1536, 768, 128, 512), Axis(1 << 17, 1 << 16, 0, 1 << 16)
    table = functools.partial(resize.rows_table, LIBRARY, Instructions.PORTABLE)
    pillow, torchs = resizing.kernel_of(BICUBIC), resizing.kernel_of(TORCH_FILTERS["bicubic"])
    assert table(pillow, axis) is table(pillow, axis)
    assert table(pillow, axis) is not table(torchs, axis)
    assert table(pillow, large) is not table(pillow, large)


# --- pixels


def as_columns_of_planes(pixels):
    return pixels.permute(2, 1, 0).contiguous().permute(2, 1, 0)


def as_rgbx(pixels):
    height, width, _ = pixels.shape
    wide = torch.full((height, width, 4), 99, dtype=torch.uint8)
    wide[..., :3] = pixels
    return wide[..., :3]


def as_every_second_pixel(pixels):
    height, width, _ = pixels.shape
    sparse = torch.full((height, 2 * width, 4), 99, dtype=torch.uint8)
    sparse[:, ::2, :3] = pixels
    return sparse[:, ::2, :3]


FORMS = {
    "pil": lambda pixels: Image.fromarray(pixels.numpy()),
    "interleaved": lambda pixels: pixels,
    "planes": as_planar,
    "columns of planes": as_columns_of_planes,
    "transposed": lambda pixels: pixels.transpose(0, 1).contiguous().transpose(0, 1),
    "padded rows": as_padded_rows,
    "rgbx": as_rgbx,
    "every second pixel": as_every_second_pixel,
}


def inside_a_larger_tensor(shape, dtype):
    *lead, height, width = shape
    return poisoned((*lead, height + 3, 2 * width + 3), dtype)[..., 1 : 1 + height, 1 : 1 + 2 * width : 2]


MEMORY = {
    "contiguous": poisoned,
    "channels last": functools.partial(poisoned, memory_format=torch.channels_last),
    "padded rows": lambda shape, dtype: poisoned((*shape[:-1], shape[-1] + 3), dtype)[..., : shape[-1]],
    "every second column": inside_a_larger_tensor,
}


def noise(size, seed):
    """Black, white and everything between: filters that go below zero overshoot at both ends."""
    pixels = random_pixels(*size, 3, seed=seed)
    return torch.where(random_pixels(*size, 1, seed=seed + 1) > 127, pixels, (pixels > 127).to(torch.uint8) * 255)


def checkerboard(size, seed):
    """As far from each other as neighbours can be, in one channel; saturated in the others."""
    rows, columns = torch.arange(size.height)[:, None], torch.arange(size.width)
    board = (((rows + columns + seed) % 2) * 255).to(torch.uint8)
    return torch.stack([board, torch.full_like(board, 255), 255 - board], dim=-1)


CONTENTS = {
    "noise": noise,
    "checkerboard": checkerboard,
    "white": lambda size, _: torch.full((*size, 3), 255, dtype=torch.uint8),
    "two values": lambda size, seed: (random_pixels(*size, 3, seed=seed) > 127).to(torch.uint8) * 255,
}

HOSTILE = fastnorm.Normalization([0.1, 0.2, 0.3], [1.7, 3e-4, 0.123])  # the fast form may not do for all of it


@st.composite
def spans(draw, resized):
    crop = draw(st.integers(1, resized + 6) | st.just(resized))
    centre = st.sampled_from(CropRule).map(lambda rule: rule.span(resized, crop))
    anywhere = st.integers(1 - crop, resized - 1).map(lambda position: Span.at(position, resized, crop))
    span = draw(centre | anywhere)
    return span.mirror() if draw(st.booleans()) else span


@st.composite
def jobs(draw, source):
    """A target of one image of any size and kind, and the targets that show the same pixels."""
    any_length = st.integers(1, 3) | st.integers(1, 40) | st.integers(1, 150)
    resized = Size(draw(any_length | st.just(source.height)), draw(any_length | st.just(source.width)))
    plan = Geometry(source, resized, draw(spans(resized.height)), draw(spans(resized.width)), draw(st.booleans()))
    kernel = draw(st.sampled_from(list(KERNELS.values())))
    targets = st.sampled_from([fastnorm.VAE, fastnorm.CLIP, fastnorm.IMAGENET, HOSTILE])
    outputs = [
        (draw(targets), draw(st.sampled_from(DTYPES)), draw(st.sampled_from(sorted(MEMORY))))
        for _ in range(draw(st.integers(1, 2)))
    ]
    return [
        TargetJob(target, kernel, (plan,), MEMORY[memory]((1, 3, *plan.output), dtype))
        for target, dtype, memory in outputs
    ]


@st.composite
def calls(draw):
    any_length = st.integers(1, 3) | st.integers(1, 40) | st.integers(1, 200) | st.integers(1, 12).map(lambda n: 16 * n)
    source = Size(draw(any_length), draw(any_length))
    contents, form = draw(st.sampled_from(sorted(CONTENTS))), draw(st.sampled_from(sorted(FORMS)))
    pixels = CONTENTS[contents](source, draw(st.integers(0, 1000)))
    groups = [draw(jobs(source)) for _ in range(draw(st.integers(1, 3)))]
    return pixels, form, [job for group in groups for job in group]


def expected(pixels, job):
    return expected_of_each([pixels], job)[0]


def expected_of_each(images, job):
    """The images are resized as one that has all their channels: steps are as many as the window has taps."""
    codes = resize_and_crop(torch.cat(images, dim=-1), job.geometries[0], job.resample)
    return [
        reference.normalize(one[None], [job.normalization], dtype=job.output.dtype, layout="NHWC")[0]
        for one in codes.split(3, dim=-1)
    ]


def write(instructions, image, wanted):
    for job in wanted:
        job.output.fill_(float("nan"))
    resizing.preprocess(Engine(LIBRARY, instructions), [image], wanted)


def assert_written(image, wanted, values):
    """Every instruction set writes these values of the targets."""
    for instructions in INSTRUCTIONS:
        write(instructions, image, wanted)
        for one, value in zip(wanted, values, strict=True):
            assert_same_bits(one.output, value)


def job(source, size, kernel=BILINEAR, target=fastnorm.VAE, crop=None, vertical_first=False, output=None):
    rows, columns = (Span(0, n, 0, n) for n in size) if crop is None else crop
    plan = Geometry(source, size, rows, columns, vertical_first)
    memory = poisoned((1, 3, *plan.output), torch.float32) if output is None else output
    return TargetJob(target, kernel, (plan,), memory)


@given(call=calls())
def test_every_value_is_the_references(call):
    """Any sizes, filters, crops, mirrors, padding and pass orders, any memory on both sides, one target or several."""
    pixels, form, wanted = call
    image, before = FORMS[form](pixels.clone()), pixels.clone()
    assert all(resizing.suits(one) and resizing.takes(one, 0) for one in wanted)  # others would be right as well
    assert_written(image, wanted, [expected(pixels, one) for one in wanted])
    assert np.array_equal(np.asarray(image), before.numpy())


@every_filter
@pytest.mark.parametrize(
    ("source", "size"),
    [
        (Size(1, 4000), Size(1, 3)),  # windows of thousands of taps
        (Size(4000, 1), Size(3, 1)),
        (Size(1, 1), Size(70, 90)),
        (Size(3, 70), Size(90, 2)),
        (Size(127, 129), Size(1, 1)),  # weights just above half a unit of the high limb, each of which counts as one
        (Size(64, 64), Size(63, 65)),
    ],
    ids=lambda size: f"{size.width}x{size.height}",
)
@pytest.mark.parametrize("vertical_first", [False, True], ids=["horizontal first", "vertical first"])
@pytest.mark.once
def test_values_where_sums_and_windows_are_largest(kernel, source, size, vertical_first):
    images = [contents(source, 0) for contents in CONTENTS.values()]
    one = job(source, size, kernel, vertical_first=vertical_first)
    for pixels, values in zip(images, expected_of_each(images, one), strict=True):
        assert_written(pixels, [one], [values])


@every_filter_of_pillow
@given(data=st.data())
def test_pixels_are_the_installed_pillows(kernel, data):
    """Through no code of ours but the walk. Pillow resizes an axis a call, so that its order does not matter."""
    length = st.integers(1, 40) | st.integers(1, 400)
    source, size = (Size(data.draw(length), data.draw(length)) for _ in range(2))
    vertical_first = data.draw(st.booleans())
    image = FORMS["pil"](noise(source, data.draw(st.integers(0, 1000))))
    between = (source.width, size.height) if vertical_first else (size.width, source.height)
    filter_of_pillow = Image.Resampling[kernel.name.upper()]
    resized = image.resize(between, filter_of_pillow).resize((size.width, size.height), filter_of_pillow)
    one = job(source, size, kernel, vertical_first=vertical_first)
    codes = torch.from_numpy(np.array(resized)).permute(2, 0, 1)
    assert_written(image, [one], [((codes / 255.0 - 0.5) / 0.5)[None]])


# --- images that Pillow has in several blocks of memory, or does not lend


@pytest.fixture
def small_blocks():
    """Pillow's blocks of 4 KiB instead of 16 MiB: a few rows each."""
    before = Image.core.get_block_size()
    Image.core.set_block_size(4096)
    yield
    Image.core.set_block_size(before)


def tall_and_wide(source):
    """A target in either pass order, cropped so that strips begin inside the image."""
    rows, columns = Span(5, 50, 2, 55), Span(9, 40, 0, 40).mirror()
    return [
        job(source, Size(70, 60), kernel, crop=(rows, columns), vertical_first=vertical_first)
        for kernel, vertical_first in ((BICUBIC, False), (LANCZOS, True))
    ]


@every_instruction_set
@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("lends", [True, False], ids=["pillow lends", "pillow copies"])
@pytest.mark.parametrize("strip", [1, 3000, 1 << 20], ids="{} bytes a strip".format)
@pytest.mark.parametrize("number", [1, 3], ids="{} threads".format)
def test_images_in_several_blocks(instructions, lends, strip, number, threads, monkeypatch):
    threads(number)
    monkeypatch.setattr(resizing, "BAND_PIXELS", 1000)
    monkeypatch.setattr(resizing, "STRIP_BYTES", strip)
    source = Size(203, 150)
    pixels, wanted = noise(source, 3), tall_and_wide(source)
    image = FORMS["pil"](pixels)
    assert arrow.lent_bytes(image) is None
    if not lends:
        monkeypatch.setattr(arrow, "lent_bytes", lambda _: None)
    write(instructions, image, wanted)
    for one in wanted:
        assert_same_bits(one.output, expected(pixels, one))


def test_an_image_in_one_block_is_read_where_it_is(monkeypatch):
    if not hasattr(Image.Image, "__arrow_c_array__"):
        pytest.skip("Pillow lends its memory since 11.2")
    monkeypatch.setattr(resizing, "_write_by_strips", None)
    source = Size(60, 50)
    wanted, pixels = tall_and_wide(source), noise(source, 1)
    write(INSTRUCTIONS[-1], FORMS["pil"](pixels), wanted)
    for one in wanted:
        assert_same_bits(one.output, expected(pixels, one))


# --- threads


@pytest.mark.parametrize("number", [1, 2, 5, 64], ids="{} threads".format)
@pytest.mark.once
def test_bands_of_one_image(number, threads, monkeypatch):
    threads(number)
    monkeypatch.setattr(resizing, "BAND_PIXELS", 1)
    source = Size(90, 70)
    pixels = noise(source, 5)
    crops = [(Span(3, 40, 2, 47), Span(0, 30, 0, 30)), (Span(3, 40, 2, 47).mirror(), Span(0, 30, 4, 40).mirror())]
    wanted = [job(source, Size(50, 30), BICUBIC, crop=crop, vertical_first=v) for crop in crops for v in (False, True)]
    wanted += [job(source, Size(6, 5), LANCZOS)]  # fewer rows than there are threads
    assert_written(pixels, wanted, [expected(pixels, one) for one in wanted])


def test_a_small_image_starts_no_thread(threads, monkeypatch):
    threads(8)
    bands = []
    monkeypatch.setattr(resize, "resize", lambda *arguments: bands.append(arguments[-1]))
    for source in (Size(100, 100), Size(1024, 1024), Size(4096, 4096)):
        resizing.preprocess(Engine(LIBRARY, INSTRUCTIONS[0]), [random_pixels(*source, 3)], [job(source, Size(8, 8))])
    assert bands == [1, 4, 8]


def test_images_and_targets_of_a_batch(threads):
    """Ragged images, one of them twice; two targets of the same pixels; outputs inside a larger tensor."""
    threads(3)
    sources = [Size(60, 90), Size(90, 60), Size(1, 70), Size(210, 9), Size(60, 90)]
    images = [noise(source, seed) for seed, source in enumerate(sources)]
    plans = tuple(geometry(s, 32, Size(32, 32), CropRule.TORCHVISION, PassOrder.of_pillow()) for s in sources)
    around = poisoned((2 * len(sources), 3, 40, 40), torch.float32)
    outputs = [around[::2, :, 3:35, 4:36], poisoned((len(sources), 3, 32, 32), torch.bfloat16)]
    wanted = [
        TargetJob(target, BICUBIC, plans, output)
        for target, output in zip((fastnorm.VAE, fastnorm.CLIP), outputs, strict=True)
    ]
    resizing.preprocess(Engine(LIBRARY, INSTRUCTIONS[-1]), images, wanted)
    for one in wanted:
        for index, image in enumerate(images):
            part = TargetJob(one.normalization, one.resample, plans[index : index + 1], one.output[index : index + 1])
            assert_same_bits(part.output, expected(image, part))
    assert int(around.isfinite().sum()) == outputs[0].numel()


# --- what goes elsewhere


@pytest.fixture
def left_to_pillow(monkeypatch):
    """The images that Pillow's path has been given."""
    taken, original = [], preprocessing.preprocess

    def watched(images, wanted):
        taken.extend(images)
        original(images, wanted)

    monkeypatch.setattr(preprocessing, "preprocess", watched)
    return taken


TOO_TALL = Size(2048, 1)  # for a crop of 3000 columns and one row


@pytest.mark.once
def test_windows_too_long_for_the_ring_go_to_pillow(left_to_pillow):
    """Thousands of rows become one: the rows between the passes would take more memory than the walk gives them."""
    pixels, one = random_pixels(*TOO_TALL, 3), job(TOO_TALL, Size(1, 3000))
    assert not resizing.takes(one, 0)
    write(INSTRUCTIONS[-1], pixels, [one])
    assert len(left_to_pillow) == 1
    assert_same_bits(one.output, expected(pixels, one))


def test_the_native_code_refuses_such_windows_too():
    """Whoever calls it without asking first gets an error, and nothing is written."""
    rows, columns, output = Axis(1 << 19, 1, 0, 1), Axis(1, 1, 0, 1), poisoned((3, 1, 1), torch.float32)
    kernel = resizing.kernel_of(BILINEAR)
    assert not resize.can_resize(kernel, columns, rows, False)
    instructions, pixels = INSTRUCTIONS[-1], random_pixels(1 << 19, 1, 3)
    crop = resize.Crop(
        resize.columns_table(LIBRARY, instructions, kernel, columns),
        resize.rows_table(LIBRARY, instructions, kernel, rows),
        False, False, 0, 1, 0, 1,
        [resize.Output(output.data_ptr(), prepared(LIBRARY, (0.0,) * 3, (1.0,) * 3), 0, 0, 1, 1, 1)],
    )  # fmt: skip
    place = resize.Pixels(pixels.data_ptr(), 3, 3, 1, 0, 1 << 19, 0, 1)
    with pytest.raises(ValueError, match="can_resize"):
        resize.resize(LIBRARY, instructions, place, [crop])
    assert output.isnan().all()


class ErasedWhenFreed(PreparedNormalization):
    def __del__(self):
        ctypes.memset(self.address, 0xFF, ctypes.sizeof(self.record))


@pytest.mark.parametrize("blocks", [1, 2], ids=["in one block", "by strips"])
def test_constants_live_as_long_as_the_walk(monkeypatch, blocks):
    """The cache may not keep them: of two threads that prepare the same constants, one is given its own copy."""
    monkeypatch.setattr(resizing, "prepared", ErasedWhenFreed)
    if blocks == 2:
        monkeypatch.setattr(resizing.arrow, "lent_bytes", lambda _: None)
    pixels, one = random_pixels(40, 30, 3), job(Size(40, 30), Size(20, 15))
    write(INSTRUCTIONS[-1], Image.fromarray(pixels.numpy()), [one])
    assert_same_bits(one.output, expected(pixels, one))


def test_axes_beyond_32_bit_arithmetic_go_to_pillow():
    """Only an axis that keeps its size can be so long."""
    long = resize.MAX_SIDE + 1
    assert resizing.takes(job(Size(1, long - 1), Size(1, long - 1), crop=(Span(0, 1, 0, 1), Span(0, 9, 0, 9))), 0)
    assert not resizing.takes(job(Size(1, long), Size(1, long), crop=(Span(0, 1, 0, 1), Span(0, 9, 0, 9))), 0)


def test_outputs_that_are_not_aligned_go_to_pillow(left_to_pillow):
    source, size = Size(30, 20), Size(8, 9)
    memory = torch.zeros(4 * 3 * 8 * 9 + 1, dtype=torch.uint8)
    output = torch.frombuffer(memory.numpy(), dtype=torch.float32, offset=1, count=3 * 8 * 9).view(1, 3, 8, 9)
    pixels, one = noise(source, 0), job(source, size, output=output)
    write(INSTRUCTIONS[-1], pixels, [one])
    assert len(left_to_pillow) == 1
    assert_same_bits(one.output, expected(pixels, one))


@pytest.mark.once
def test_the_others_of_a_batch_stay(left_to_pillow):
    sources = [Size(40, 30), TOO_TALL, Size(20, 50)]
    images = [random_pixels(*source, 3, seed=seed) for seed, source in enumerate(sources)]
    plans = tuple(Geometry(s, Size(1, 3000), Span(0, 1, 0, 1), Span(0, 3000, 0, 3000), False) for s in sources)
    one = TargetJob(fastnorm.CLIP, BILINEAR, plans, poisoned((3, 3, 1, 3000), torch.float32))
    resizing.preprocess(Engine(LIBRARY, INSTRUCTIONS[-1]), images, [one])
    assert len(left_to_pillow) == 1
    for index, image in enumerate(images):
        part = TargetJob(one.normalization, BILINEAR, plans[index : index + 1], one.output[index : index + 1])
        assert_same_bits(part.output, expected(image, part))


@given(axis=axes(), other=axes(), kernel=st.sampled_from(list(KERNELS.values())), vertical_first=st.booleans())
@pytest.mark.once
def test_what_the_host_lets_through_the_native_code_takes(axis, other, kernel, vertical_first):
    """can_resize is a bound on what src/walk.c allocates; few of these sizes lie beyond it."""
    instructions, kernel = INSTRUCTIONS[-1], resizing.kernel_of(kernel)
    assume(resize.can_resize(kernel, axis, other, vertical_first))
    output = resize.Output(0, prepared(LIBRARY, (0.0,) * 3, (1.0,) * 3), 0, 0, 0, 0, 0)
    crop = resize.Crop(
        resize.columns_table(LIBRARY, instructions, kernel, axis),
        resize.rows_table(LIBRARY, instructions, kernel, other),
        vertical_first, False, 0, other.length, 0, axis.length, [output],
    )  # fmt: skip
    with resize.Walk(LIBRARY, instructions, [crop]) as walk:
        first, end, left, right = walk.extent
    assert 0 <= first < end <= other.source + 3
    assert first % resize.STEP == end % resize.STEP == 0
    assert 0 <= left < right <= axis.source


# --- the public call


@pytest.mark.parametrize("path", [*available_instructions(), native.TORCH])
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
def test_the_public_call_on_every_path(path, dtype):
    """Ragged PIL images, a batch, video, packed images: the same values as the reference has."""
    images = [FORMS["pil"](noise(size, seed)) for seed, size in enumerate([Size(96, 144), Size(331, 60), Size(30, 40)])]
    with cpu_path("torch"):
        want = fastnorm.fused_dual_preprocess(images, dtype=dtype, flip=[True, False, True])
    with cpu_path(path):
        got = fastnorm.fused_dual_preprocess(images, dtype=dtype, flip=[True, False, True])
        packed = fastnorm.PackedImages.pack(images)
        again = fastnorm.fused_dual_preprocess(packed, dtype=dtype, flip=[True, False, True])
        clip = random_pixels(2, 3, 3, 40, 50)
        video = fastnorm.fused_preprocess(clip, [fastnorm.CLIP_224], layout="NCHW", dtype=dtype)[0]
    for pair in (got, again):
        for one, other in zip(pair, want, strict=True):
            assert_same_bits(one, other)
    with cpu_path("torch"):
        assert_same_bits(video, fastnorm.fused_preprocess(clip, [fastnorm.CLIP_224], layout="NCHW", dtype=dtype)[0])


def test_autograd_learns_of_the_write():
    out = [torch.empty(1, 3, 512, 512), torch.empty(1, 3, 224, 224)]
    with cpu_path("auto"):
        fastnorm.fused_dual_preprocess([random_pixels(60, 50, 3)], out=out)
    assert all(tensor._version > 0 for tensor in out)


def test_subnormal_numbers_are_kept():
    """torch.set_flush_denormal changes how the calling thread computes; the contract's values do not change."""
    source, tiny = Size(9, 9), fastnorm.Normalization([0.5] * 3, [3e38] * 3, allow_unusual=True)
    pixels, one = noise(source, 2), job(source, Size(5, 5), BICUBIC, tiny)
    want = expected(pixels, one)
    assert (want != 0).any()
    assert float(want.abs().max()) < torch.finfo(torch.float32).tiny
    torch.set_flush_denormal(True)
    try:
        for instructions in INSTRUCTIONS:
            write(instructions, pixels, [one])
            assert torch.equal(one.output.view(torch.int32), want.view(torch.int32))
    finally:
        torch.set_flush_denormal(False)


# --- memory


@pytest.mark.once
def test_nothing_is_read_or_written_beyond_the_memory_of_images_and_outputs():
    """Images and outputs between pages that nobody may touch; the images' own pages may only be read."""
    script = Path(__file__).with_name("native_resize_at_page_ends.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    count, *lines = done.stdout.split()
    assert lines == ["same"] * len(INSTRUCTIONS) * int(count)


@pytest.mark.parametrize(("sanitizer", "walks"), [("address,undefined", 300), ("thread", 20)])
@pytest.mark.once
def test_sanitizers_find_nothing(sanitizer, walks, tmp_path):
    """Walks in memory of exactly the size that is needed, on every instruction set, in several bands."""
    driver = compiled("native_resize_driver.c", tmp_path, sanitizer)
    done = subprocess.run([str(driver), str(walks)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{walks * len(INSTRUCTIONS)} walks\n"


@pytest.mark.once
def test_every_allocation_may_fail(tmp_path):
    """Each in its turn: the call says so, has written nothing, and leaves nothing behind."""
    wrapped = [f"-Wl,--wrap={name}" for name in ("malloc", "calloc", "aligned_alloc")]
    driver = compiled("native_resize_driver.c", tmp_path, "address,undefined", "-DFAIL", *wrapped)
    done = subprocess.run([str(driver), "3"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout.split()[0]) > 30
