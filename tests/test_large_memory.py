"""Offsets around 2^31 and past it: chosen programs of the compiled kernels, on memory that is never filled."""

import dataclasses
import mmap

import numpy as np
import pytest
import torch

import fastnorm
from fastnorm.backends import eager
from fastnorm.backends.eager import resize_and_crop
from fastnorm.spec.filters import BILINEAR
from fastnorm.spec.geometry import Geometry, Size, Span
from fastnorm_kernels import planning, resize
from fastnorm_kernels._resize_kernels import Pixels, Weight
from fastnorm_kernels.normalize import MAX_CODES, STRIDED_TILE, _parts, choose, plans_of
from helpers import assert_same_bits, random_pixels
from ptx import Fault, Memory, bridge

pytestmark = pytest.mark.compiled

MAP_NORESERVE = 0x4000  # Linux's; Python has a name for it from 3.13 on

TARGETS = (fastnorm.VAE, fastnorm.CLIP)


def lazy(*shape, dtype=torch.uint8):
    """Memory of which only the pages that are touched exist."""
    size = int(np.prod(shape)) * dtype.itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    return torch.frombuffer(mmap.mmap(-1, size, flags=flags), dtype=dtype).view(shape)


def add(memory, name, tensor, **options):
    for channel in range(3):  # which may lie gigabytes apart
        memory.add_tensor(f"{name}, channel {channel}", tensor[channel], **options)


def check(x, outputs, program, image, first, arch):
    """One program's tile of 1,024 pixels of an image, or what is left of it from `first` on; returns the launch."""
    (part,) = _parts(x, tuple(outputs))
    launch = choose(*part, plans_of([(t.mean, t.std) for t in TARGETS[: len(outputs)]]))
    tile = slice(first, first + STRIDED_TILE)
    pixels = x.flatten(2)[image, :, tile]
    pixels.copy_(random_pixels(*pixels.shape))
    values = [output.flatten(2)[image, :, tile] for output in outputs]
    memory = Memory()
    add(memory, "pixels", pixels)
    for index, value in enumerate(values):
        add(memory, f"output {index}", value, writable=True, due=True)
    bridge.run(launch, arch, memory, (launch.x, launch.outputs, *launch.sizes), programs=[program])
    memory.check_written()
    wanted = eager.normalized(pixels.unsqueeze(1), TARGETS[: len(outputs)], [output.dtype for output in outputs])
    for value, want in zip(values, wanted, strict=True):
        assert_same_bits(value.contiguous(), want.squeeze(1))
    return launch


@pytest.mark.parametrize("frames", [517, 518, 1035, 1036])
def test_planes_of_a_long_video_lie_far_apart(frames, arch):
    """(3, T, H, W) seen as T images: 2^30 to 2^31 bytes, and more, from plane to plane."""
    video = lazy(3, frames, 1080, 1920)
    x = video[:, :2].permute(1, 0, 2, 3)
    assert x.stride(1) == frames * 1080 * 1920
    output = lazy(2, 3, 1080, 1920, dtype=torch.float32)
    last = 1080 * 1920 - 1024
    for image, first in ((0, 0), (1, 0), (1, last)):
        launch = check(x, [output], (image * (last + 1024) + first) // 1024, image, first, arch)
        assert launch.kernel.__name__ == "_normalize_strided_kernel"


@pytest.mark.parametrize("dtypes", [(torch.bfloat16,), (torch.bfloat16, torch.float32)], ids=["one", "two"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("side", [18919, 32768], ids=["planes of 358 million", "planes of 2^30"])
def test_one_image_of_more_than_two_to_the_thirty_codes(side, layout, dtypes, arch):
    pixels = side * side
    x = lazy(1, 3, side, side) if layout == "NCHW" else lazy(1, side, side, 3).permute(0, 3, 1, 2)
    outputs = [lazy(1, 3, side, side, dtype=dtype) for dtype in dtypes]
    for program in (0, pixels // 1024 // 2, -(-pixels // 1024) - 1):
        check(x, outputs, program, 0, 1024 * program, arch)


@pytest.mark.parametrize("width", [2**31 - 1024, 2**31 - 1023, 2**31 - 1])
def test_rows_of_nearly_two_to_the_thirty_first_pixels(width, arch):
    x, output = lazy(1, 3, 1, width), lazy(1, 3, 1, width, dtype=torch.bfloat16)
    for program in (0, width // 1024 // 2, -(-width // 1024) - 1):
        check(x, [output], program, 0, 1024 * program, arch)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_batch_of_nearly_two_to_the_thirty_first_codes(memory_format, dtype, arch):
    """The largest that the kernels of whole words take: its last programs."""
    n, h, w = MAX_CODES // (3 * 1024 * 1024), 1024, 1024
    x = lazy(n, h, w, 3).permute(0, 3, 1, 2)
    if memory_format is torch.contiguous_format:
        output = lazy(n, 3, h, w, dtype=dtype)
    else:
        output = lazy(n, h, w, 3, dtype=dtype).permute(0, 3, 1, 2)
    launch = choose(x, (output,), plans_of([(fastnorm.CLIP.mean, fastnorm.CLIP.std)]))
    assert launch.kernel.__name__ != "_normalize_strided_kernel"
    assert x.numel() > 2**31 - 2**22
    last = x[-1:, :, -8:]
    last.copy_(random_pixels(*last.shape))
    programs = np.arange(launch.grid[0])[-(last.numel() * launch.grid[0] // x.numel()) :]
    memory = Memory()
    add(memory, "pixels", last[0])
    add(memory, "output", output[-1, :, -8:], writable=True, due=True)
    bridge.run(launch, arch, memory, (launch.x, launch.outputs, *launch.sizes), programs=programs)
    memory.check_written()
    assert_same_bits(output[-1:, :, -8:].contiguous(), eager.normalized(last, [fastnorm.CLIP], [dtype])[0])


# --- resizing


def targets_of(plan, outputs):
    """Bilinear, to outputs of one image each."""
    return [
        resize.ResizeTarget(BILINEAR, None, fastnorm.CLIP.mean, fastnorm.CLIP.std, [plan], output) for output in outputs
    ]


def whole(source, resized):
    return Geometry(source, resized, *(Span(0, length, 0, length) for length in resized), False)


def source_of(image):
    return resize.Source(image.data_ptr(), *image.shape[:2], *image.stride())


@pytest.mark.parametrize("places", [(0, 2**31), (0, 2**32 + 64), (2**31, 0), (2**33, 16)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_outputs_lie_anywhere(places, dtype, arch):
    """Gigabytes apart, and the second below the first."""
    image, memory = random_pixels(40, 50, 3), lazy(max(places) + 2**20)
    outputs = [memory[at : at + 3 * 32 * 24 * dtype.itemsize].view(dtype).view(1, 3, 24, 32) for at in places]
    plan = whole(Size(40, 50), Size(24, 32))
    for _ in bridge.resized([source_of(image)], targets_of(plan, outputs), arch):
        pass
    codes = resize_and_crop(image, plan, BILINEAR).movedim(-1, 0)
    for output in outputs:
        assert_same_bits(output[0], eager.normalized(codes, [fastnorm.CLIP], [dtype])[0])


@pytest.mark.parametrize(
    ("row", "pixel", "channel"),
    [
        (2**28 + 12, 3, 1),  # by words, a row's offset up to 2^33
        (2**29 - 1, 3, 1),  # the last step of which four are multiplied as 32 bits
        (2**29 - 1, 1, 2**34 + 1),
        (2**29, 3, 1),
        (2**32 + 12, 3, 1),
        (60, 1, 5 * 2**30),
        (2**31 - 1, 1, 2**36),
        (2**30 + 7, 2**31 + 3, 1),  # pixels apart, too
    ],
)
@pytest.mark.parametrize("vertical_first", [False, True], ids=["rows first", "columns first"])
def test_images_with_rows_pixels_or_planes_gigabytes_apart(row, pixel, channel, vertical_first, arch):
    pixels = random_pixels(20, 16, 3)
    image = lazy(19 * row + 15 * pixel + 2 * channel + 1).as_strided((20, 16, 3), (row, pixel, channel))
    image.copy_(pixels)
    output = torch.full((1, 3, 9, 12), float("nan"))
    plan = dataclasses.replace(whole(Size(20, 16), Size(9, 12)), vertical_first=vertical_first)
    for _ in bridge.resized([source_of(image)], targets_of(plan, [output]), arch):
        pass
    codes = resize_and_crop(pixels, plan, BILINEAR).movedim(-1, 0)
    assert_same_bits(output[0], eager.normalized(codes, [fastnorm.CLIP], [torch.float32])[0])


@pytest.mark.parametrize("vertical", [True, False], ids=["column", "row"])
def test_a_line_of_more_than_two_million_pixels(vertical, arch):
    """As many tiles as an axis of a grid may have, and one more: the last tile, made by what it needs."""
    length = 65535 * resize.TILE + 5
    size = Size(length, 1) if vertical else Size(1, length)
    image, output = random_pixels(*size, 3), torch.full((1, 3, *size), float("nan"))
    source, targets = source_of(image), targets_of(whole(size, size), [output])
    call = bridge.Resizing([source], targets)
    for launch in resize.launches([source], targets, torch.device("cpu")):
        x, y, jobs = launch.grid
        assert max(y, jobs) <= 65535
        blocks = -(-length // resize.LINES) if vertical else 1
        last = {
            "_tables_kernel": [0, x - 1, x * y, x * y + x - 1],  # the first and the last tile of both tables
            "_along_lines_kernel": [x * ((blocks - 1) % y) + x - 1],
            "_across_lines_kernel": [x * y - 1],
        }
        call.run(launch, arch, programs=last[launch.kernel.__name__])
    wanted = eager.normalized(image.movedim(-1, 0), [fastnorm.CLIP], [torch.float32])[0]
    end = (..., slice(-5, None), slice(None)) if vertical else (..., slice(-5, None))
    assert_same_bits(output[0][end], wanted[end])


PITCH, TAPS = 2**24, 140  # a table of more than 2^31 numbers


@pytest.mark.parametrize("split", [False, True], ids=["pairs", "split"])
def test_tables_of_more_than_two_to_the_thirty_first_numbers_are_made(split, arch):
    table = lazy(planning.table_bytes(PITCH, TAPS, split) // 4, dtype=torch.int32)
    job = resize.TableJob(table.data_ptr(), PITCH, TAPS, 35 * PITCH, PITCH, Weight.BICUBIC, 0, 1, 0, PITCH - 1, split)
    records = planning.records_of(resize.TableJob, [job])
    launch = resize._make_tables(records, torch.from_numpy(records.view(np.int64)).view(1, -1))
    tiles = PITCH // resize.TILE
    pairs = table[PITCH:][: TAPS * PITCH].view(-1, PITCH, 2)
    eights = table[PITCH:].view(tiles, -1, 3, 2 * resize.TILE) if split else None
    memory = Memory()
    memory.add_tensor("records", launch.jobs)
    for tile in (0, tiles - 1):
        pixels = slice(tile * resize.TILE, (tile + 1) * resize.TILE)
        memory.add_tensor("starts", table[:PITCH][pixels], writable=True, due=True)
        for number, taps in enumerate(eights[tile] if split else pairs[:, pixels]):
            memory.add_tensor(
                f"taps, part {number}", taps, writable=True, due=not split
            )  # not the first four of eights
    bridge.run(launch, arch, memory, (launch.jobs,), programs=[0, launch.grid[0] - 1])
    memory.check_written()
    for pixel in (0, 17, PITCH - 1):
        if split:
            tile, column = divmod(pixel, resize.TILE)
            low = eights[tile, :, :2].view(torch.int16).view(-1, 2, resize.TILE, 4)[:, :, column].reshape(-1)[4:]
            high = eights[tile, :, 2].view(torch.int8).view(-1, resize.TILE, 8)[:, column].reshape(-1)[4:]
            fixed = (low.int() & 0xFFFF) + (high.int() << 16)
        else:
            fixed = pairs[:, pixel]
        assert abs(int(fixed.sum()) - 2**22) < TAPS
        assert int(table[pixel]) == min(max(35 * pixel - 52, 0), 35 * PITCH - TAPS)


def test_tables_of_more_than_two_to_the_thirty_first_numbers_are_read(arch):
    """By a first pass of single bytes, for a table that picks the last tap."""
    table, lines = lazy(PITCH * (TAPS + 1), dtype=torch.int32), lazy(PITCH, dtype=torch.int32)
    image = random_pixels(TAPS, 4)
    tile = slice(-resize.TILE, None)
    pairs = table[PITCH:].view(TAPS // 2, PITCH, 2)
    pairs[-1, tile, 1] = 2**22
    job = resize.LineJob(image.data_ptr(), 4, image.numel(), 1, 1, table.data_ptr(), TAPS, PITCH, 0)
    records = planning.records_of(resize.LineJob, [job])
    jobs = torch.from_numpy(records.view(np.int64)).view(1, -1)
    launch = resize._along_lines(Pixels.STRIDED, records, slice(None)).launch(jobs, lines, lines)
    memory = Memory()
    for name, tensor in (("records", jobs), ("image", image), ("starts", table[:PITCH][tile])):
        memory.add_tensor(name, tensor)
    for pair in range(TAPS // 2):
        memory.add_tensor(f"taps {2 * pair} and the next", pairs[pair, tile])
    memory.add_tensor("lines", lines[tile], writable=True, due=True)
    bridge.run(launch, arch, memory, (jobs, lines), programs=[launch.grid[0] - 1])
    r, g, b = image[-1, :3].tolist()
    assert lines[tile].tolist() == [r | g << 8 | b << 16] * resize.TILE


@pytest.mark.parametrize("kind", [Pixels.INTERLEAVED, Pixels.PLANAR], ids=lambda kind: kind.name)
def test_lines_as_long_as_words_take(kind, arch):
    """The last tile of the longest lines of which four steps are multiplied as 32 bits; the table copies pixels."""
    pitch, lines, last = 2**27 - resize.TILE, 17, slice(-resize.TILE, None)
    table = lazy(planning.table_bytes(pitch, 4, split=True) // 4, dtype=torch.int32)
    target = lazy(lines, pitch, dtype=torch.int32)
    image = random_pixels(lines, resize.TILE + 3, 3)
    pixels = image if kind is Pixels.INTERLEAVED else image.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    row, pixel, channel = pixels.stride()
    starts, tile = table[:pitch][last], table[-24 * resize.TILE // 4 :]
    starts.copy_(torch.arange(resize.TILE))
    tile.zero_()
    tile[4 * resize.TILE :].view(torch.int8).view(resize.TILE, 8)[:, 4] = 2**22 >> 16
    job = resize.LineJob(pixels.data_ptr(), pixel, row, channel, lines, table.data_ptr(), 4, pitch, 0)
    records = planning.records_of(resize.LineJob, [job])
    jobs = torch.from_numpy(records.view(np.int64)).view(1, -1)
    launch = resize._along_lines(kind, records, slice(None)).launch(jobs, target, target)
    x, y, _ = launch.grid
    memory = Memory()
    for name, tensor in (("records", jobs), ("starts", starts), ("coefficients", tile)):
        memory.add_tensor(name, tensor)
    memory.add("image", pixels.data_ptr(), image.numel(), slack=4)
    for line in range(lines):
        memory.add_tensor(f"line {line}", target[line, last], writable=True, due=True)
    bridge.run(launch, arch, memory, (jobs, target), programs=[x * (block + 1) - 1 for block in range(y)])
    memory.check_written()
    r, g, b = image[:, : resize.TILE].int().unbind(2)
    assert torch.equal(target[:, last], r | g << 8 | b << 16)


def test_a_read_past_the_end_would_be_seen(arch):
    """What these tests rest on: only the tile that is registered may be touched."""
    x, output = lazy(1, 3, 1024, 1024), lazy(1, 3, 1024, 1024, dtype=torch.float32)
    with pytest.raises(Fault, match="out of bounds"):
        check(x[:, :, :, :1000], [output[:, :, :, :1000]], 0, 0, 3, arch)
