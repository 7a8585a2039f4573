"""The resizing kernels, against the reference and against Pillow."""

import contextlib
import dataclasses
import functools

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

import fastnorm
from fastnorm.backends import eager
from fastnorm.backends.eager import resize_and_crop
from fastnorm.spec.filters import BICUBIC, BILINEAR, BOX, FILTERS, HAMMING, LANCZOS, Filter, coefficients
from fastnorm.spec.geometry import CropRule, Geometry, PassOrder, Size, Span, geometry
from helpers import DTYPES, assert_same_bits, dtype_name, poisoned, preprocess_by_kernel, random_pixels

pytestmark = pytest.mark.compat

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

every_filter = pytest.mark.parametrize("kernel", FILTERS.values(), ids=FILTERS)


@dataclasses.dataclass(frozen=True)
class Target:
    """What to make of images: where they go to, and what they are normalised for."""

    place: object  # a function from an image's size to its geometry
    kernel: Filter = BICUBIC
    normalization: fastnorm.Normalization = fastnorm.CLIP
    dtype: torch.dtype = torch.float32
    memory_format: torch.memory_format = torch.contiguous_format


def centre(size, crop=None, rule=CropRule.TORCHVISION, order=PassOrder.HORIZONTAL_FIRST):
    """The short side resized to `size`, then cropped in the intermediate."""
    square = Size(*crop) if crop else Size(size, size)
    return lambda source: geometry(source, size, square, rule, order)


def whole(height, width, vertical_first=False):
    """All of an image, resized to exactly this size."""
    spans = Span(0, height, 0, height), Span(0, width, 0, width)
    return lambda source: Geometry(source, Size(height, width), *spans, vertical_first)


def size_of(image):
    return Size(*image.shape[:2])


def expected(image, plan, target):
    """The reference's bits, computed on the CPU."""
    codes = resize_and_crop(image.cpu(), plan, target.kernel).movedim(-1, 0)
    return eager.normalized(codes, [target.normalization], [target.dtype])[0]


def run(images, targets, plans, outputs):
    """Launch for uint8 images (H, W, 3), of any strides, on DEVICE."""
    import fastnorm_kernels

    sources = [fastnorm_kernels.Source(image.data_ptr(), *size_of(image), *image.stride()) for image in images]
    resize_targets = [
        fastnorm_kernels.ResizeTarget(
            filter=target.kernel,
            coefficients=functools.partial(coefficients, resample=target.kernel),
            mean=target.normalization.mean,
            std=target.normalization.std,
            geometries=plan,
            output=output,
        )
        for target, plan, output in zip(targets, plans, outputs, strict=True)
    ]
    fastnorm_kernels.preprocess(sources, resize_targets, DEVICE)
    return resize_targets


def check(images, *targets):
    """Every bit of every output, in memory that was NaN before."""
    plans = [[target.place(size_of(image)) for image in images] for target in targets]
    outputs = [
        poisoned((len(images), 3, *plan[0].output), target.dtype, DEVICE, target.memory_format)
        for target, plan in zip(targets, plans, strict=True)
    ]
    run(images, targets, plans, outputs)
    for target, plan, output in zip(targets, plans, outputs, strict=True):
        wanted = [expected(image, geometry, target) for image, geometry in zip(images, plan, strict=True)]
        assert_same_bits(output, torch.stack(wanted))
    return outputs


# --- how images lie in memory


def interleaved(pixels):
    return pixels


def padded_rows(pixels):
    height, width, _ = pixels.shape
    memory = torch.zeros(height, 3 * width + 5, dtype=torch.uint8, device=pixels.device)
    view = memory.as_strided(pixels.shape, (3 * width + 5, 3, 1), 2)
    return view.copy_(pixels)


def planar(pixels):
    return pixels.permute(2, 0, 1).contiguous().permute(1, 2, 0)


def odd_planes(pixels):
    """Planes, rows and the image itself begin at any byte, and each plane's rows at other ones."""
    height, width, _ = pixels.shape
    memory = torch.zeros(3, height + 1, width + 3, dtype=torch.uint8, device=pixels.device)
    view = memory[:, 1:, 3:].permute(1, 2, 0)
    return view.copy_(pixels)


def four_bytes_a_pixel(pixels):
    memory = torch.zeros(*pixels.shape[:2], 4, dtype=torch.uint8, device=pixels.device)
    return memory[..., :3].copy_(pixels)


def one_row(pixels):
    """The first row again and again, without a step between rows."""
    return pixels[:1].expand(pixels.shape)


def one_channel(pixels):
    return pixels[..., :1].expand(pixels.shape)


LAYOUTS = (interleaved, padded_rows, planar, odd_planes, four_bytes_a_pixel, one_row, one_channel)


def noise(height, width, seed=0):
    return random_pixels(height, width, 3, device=DEVICE, seed=seed)


def saturated(height, width, seed=0):
    """Black and white only, which filters that go below zero overshoot at both ends."""
    return (noise(height, width, seed) > 127).to(torch.uint8) * 255


def packed(*sizes):
    """Images of different sizes, one right after the other, so that they begin at any byte."""
    buffer = torch.empty(sum(3 * h * w for h, w in sizes) + 1, dtype=torch.uint8, device=DEVICE)
    images, first = [], 1
    for seed, (height, width) in enumerate(sizes):
        image = buffer[first : first + 3 * height * width].view(height, width, 3)
        images.append(image.copy_(noise(height, width, seed)))
        first += image.numel()
    return images


# --- equality


def pillow(image, plan, kernel):
    """The real thing: resized in two calls, so that the order of the axes is the one asked for."""
    pil_image = Image.fromarray(image.cpu().contiguous().numpy())
    (source_h, source_w), (height, width) = plan.source, plan.resized
    between = (source_w, height) if plan.vertical_first else (width, source_h)
    for size in (between, (width, height)):
        pil_image = pil_image.resize(size, Image.Resampling[kernel.name.upper()])
    codes = torch.from_numpy(np.array(pil_image))
    shown = codes[plan.rows.start : plan.rows.stop, plan.columns.start : plan.columns.stop]
    crop = torch.zeros(*plan.output, 3, dtype=torch.uint8)
    rows, columns = plan.rows, plan.columns
    crop[rows.offset : rows.offset + rows.count, columns.offset : columns.offset + columns.count] = shown
    return crop


@every_filter
@pytest.mark.parametrize("vertical_first", [False, True], ids=["rows first", "columns first"])
@pytest.mark.parametrize("size", [(10, 17), (31, 27), (19, 10)], ids=["smaller", "larger", "one of each"])
def test_pixels_are_pillows(kernel, size, vertical_first):
    image = saturated(23, 21)
    target = Target(whole(*size, vertical_first), kernel)
    (output,) = check([image], target)
    codes = pillow(image, target.place(size_of(image)), kernel).movedim(-1, 0)
    assert_same_bits(output[0], eager.normalized(codes, [fastnorm.CLIP], [torch.float32])[0])


RAGGED = [(40, 60), (60, 40), (33, 35), (24, 24), (23, 50), (75, 31), (50, 19), (9, 13), (3, 5), (1, 1), (2, 60)]


@pytest.mark.parametrize(
    ("kernel", "rule"),
    [*((kernel, CropRule.TORCHVISION) for kernel in FILTERS.values()), (BICUBIC, CropRule.TRANSFORMERS)],
    ids=lambda choice: getattr(choice, "value", None) or choice.name,
)
def test_ragged_images_packed_into_one_buffer(kernel, rule):
    """Some smaller than a group of taps, some cropped and some padded, at every alignment."""
    images = packed(*RAGGED)
    assert {image.data_ptr() % 4 for image in images} == {0, 1, 2, 3}
    check(images, Target(centre(24, (26, 28), rule), kernel))


@pytest.mark.parametrize("order", PassOrder, ids=lambda order: order.name.lower())
def test_either_axis_first(order):
    images = packed((120, 1), (205, 2), (90, 30), (30, 90))
    check(images, Target(centre(16, order=order), LANCZOS), Target(centre(12, order=order), BILINEAR))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
@pytest.mark.parametrize("vertical_first", [False, True], ids=["rows first", "columns first"])
def test_images_of_any_strides(layout, vertical_first):
    image = layout(noise(23, 30))
    check([image], Target(whole(16, 13, vertical_first)), Target(whole(27, 35, vertical_first), HAMMING))


def test_views_of_a_larger_image():
    image = noise(80, 90)
    check([image[::2, 5:55], image[10:50, ::2], image.transpose(0, 1)[:50, 3:60]], Target(centre(20, (22, 18))))


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("width", [32, 20, 25])
def test_outputs_of_every_kind(dtype, memory_format, width):
    images = packed((30, 40), (27, 28))
    target = Target(whole(24, width), BILINEAR, dtype=dtype, memory_format=memory_format)
    check(images, target)


@pytest.mark.once
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_name)
@pytest.mark.parametrize("layout", [interleaved, planar, four_bytes_a_pixel], ids=lambda layout: layout.__name__)
@pytest.mark.parametrize("shape", [(32, 64), (40, 37)], ids=["whole tiles", "and parts of tiles"])
def test_every_place_of_a_tile_overshoots_both_ends(shape, layout, dtype):
    """Black and white images, enlarged: among so many, each pixel of a tile is above white in one and below black in

    another, before it is clipped; and the last two are black and white all over.
    """
    images = [saturated(20, 21, seed) for seed in range(40)]
    images += [torch.zeros_like(images[0]), torch.full_like(images[0], 255)]
    check([layout(image) for image in images], Target(whole(*shape), BICUBIC, dtype=dtype))


@pytest.mark.once
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_name)
@pytest.mark.parametrize("step", [1, 8], ids=["by pixels", "by 16 bytes"])
def test_a_tile_may_end_after_any_row_or_column(dtype, step):
    targets = []
    for rows in range(1, 34):
        columns = (rows * step - 1) % 32 + step
        targets.append(Target(whole(rows, columns), BILINEAR, dtype=dtype))
        targets.append(Target(whole(columns, rows, vertical_first=step == 1), BILINEAR, dtype=dtype))
    check([noise(20, 21)], *targets)


@pytest.mark.once
@pytest.mark.parametrize("layout", [padded_rows, odd_planes], ids=lambda layout: layout.__name__)
def test_blocks_of_lines_end_with_the_last_line(layout):
    """So the last two overlap; an image of fewer lines than a block goes byte by byte."""
    for height in (1, 4, 14, 15, 16, 17, 20, 31, 32, 33):
        check([layout(saturated(height, 41))], Target(whole(height, 16), BICUBIC), Target(whole(height, 30), BILINEAR))


@pytest.mark.parametrize("layout", [padded_rows, odd_planes, four_bytes_a_pixel], ids=lambda layout: layout.__name__)
def test_a_program_takes_several_blocks_of_lines(layout):
    from fastnorm_kernels import resize

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resize, "PROGRAMS", 1)
        images = [layout(saturated(height, 41, height)) for height in (40, 50, 64)]
        check(images, Target(whole(33, 16), BICUBIC), Target(whole(9, 30), BILINEAR))


def test_outputs_with_strides_of_their_own():
    images = [noise(20, 30), noise(33, 20)]
    target, places = Target(whole(16, 24)), [slice(0, 24), slice(3, 27)]
    for place in places:  # rows that begin at 16 bytes, and rows that do not
        memory = poisoned((2, 3, 18, 32), torch.float32, DEVICE)
        output = memory[:, :, 1:17, place]
        plan = [target.place(size_of(image)) for image in images]
        run(images, [target], [plan], [output])
        assert_same_bits(output, torch.stack([expected(i, p, target) for i, p in zip(images, plan, strict=True)]))
        assert int(memory.isnan().sum()) == memory.numel() - output.numel()


def test_three_targets_of_three_dtypes():
    images = packed((32, 24), (24, 32))
    check(
        images,
        Target(centre(16), BILINEAR, fastnorm.VAE),
        Target(centre(24), BICUBIC, fastnorm.CLIP, torch.bfloat16),
        Target(centre(12, (13, 30), CropRule.TRANSFORMERS), LANCZOS, fastnorm.IMAGENET, torch.float16),
    )


def test_values_that_no_reciprocal_gets_right():
    """The normalised values are looked up, so any mean and std will do: also where they overflow and underflow."""
    extreme = fastnorm.Normalization(mean=(0.1, 0.2, 0.3), std=(1e-44, 1e-3, 3e38), allow_unusual=True)
    image = torch.arange(256, dtype=torch.uint8, device=DEVICE).view(16, 16, 1).repeat(1, 1, 3)
    for dtype in DTYPES:
        check([image], Target(whole(16, 16), normalization=extreme, dtype=dtype))


@pytest.mark.parametrize("resized", [(20, 25), (20, 16), (12, 25)], ids=["both", "rows", "columns"])
@every_filter
def test_an_axis_that_keeps_its_size_keeps_its_pixels(kernel, resized):
    check([noise(20, 25)], Target(whole(*resized), kernel))


def test_one_pixel_in_and_one_pixel_out():
    images = [noise(1, 1), noise(1, 14), noise(15, 1), noise(14, 18)]
    for kernel in (BOX, BICUBIC):
        check(images, Target(whole(1, 1), kernel), Target(whole(9, 13), kernel))


def mirrored(place, rows, columns):
    def build(source):
        plan = place(source)
        spans = {"rows": rows, "columns": columns}
        return dataclasses.replace(plan, **{axis: getattr(plan, axis).mirror() for axis in spans if spans[axis]})

    return build


@pytest.mark.parametrize("order", [PassOrder.HORIZONTAL_FIRST, PassOrder.LARGER_CUT_FIRST], ids=lambda o: o.name)
@pytest.mark.parametrize(("rows", "columns"), [(False, True), (True, False), (True, True)])
def test_mirrored_images(rows, columns, order):
    images = [noise(30, 50), planar(noise(90, 20)), noise(10, 12)]
    check(images, *(Target(mirrored(centre(16, (19, 24), order=order), rows, columns), k) for k in (BICUBIC, LANCZOS)))


def test_mirroring_mirrors():
    image = noise(30, 50)
    straight, reversed_ = check([image], Target(centre(16)), Target(mirrored(centre(16), False, True)))
    assert torch.equal(straight.flip(3), reversed_)


def test_no_images():
    target = Target(whole(8, 8))
    run([], [target], [[]], [torch.empty(0, 3, 8, 8, device=DEVICE)])


lengths = st.integers(1, 5) | st.integers(1, 40)


@st.composite
def spans(draw, length):
    """Any part of an axis, with any padding, either way round."""
    start = draw(st.integers(0, length - 1))
    count = draw(st.integers(1, length - start))
    offset, rest = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    return Span(start, count, offset, offset + count + rest, draw(st.booleans()))


@st.composite
def geometries(draw):
    resized = Size(draw(lengths), draw(lengths))
    source = Size(*(length if draw(st.integers(0, 5)) == 0 else draw(lengths) for length in resized))
    rows, columns = draw(spans(resized.height)), draw(spans(resized.width))
    return Geometry(source, resized, rows, columns, draw(st.booleans()))


@given(
    plan=geometries(),
    kernel=st.sampled_from(list(FILTERS.values())),
    layout=st.sampled_from(LAYOUTS),
    pixels=st.sampled_from([noise, saturated]),
    dtype=st.sampled_from(DTYPES),
    memory_format=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
@example(  # a window of as many taps as there are pixels, in words
    Geometry(Size(4, 4), Size(1, 1), Span(0, 1, 0, 1), Span(0, 1, 0, 1), False),
    BILINEAR, interleaved, noise, torch.float32, torch.contiguous_format,
)  # fmt: skip
def test_any_geometry(plan, kernel, layout, pixels, dtype, memory_format):
    target = Target(lambda _: plan, kernel, dtype=dtype, memory_format=memory_format)
    check([layout(pixels(*plan.source))], target)


# --- how the work is done


@pytest.fixture
def launched(monkeypatch):
    """The names of the kernels that were launched, in order."""
    from fastnorm_kernels.resize import PassLaunch as Launch

    names, launch = [], Launch.run

    def counted(self):
        names.append((self.kernel.__name__, *(tensor.dtype for tensor in self.tensors), *self.constants.values()))
        launch(self)

    monkeypatch.setattr(Launch, "run", counted)
    return names


def test_launches_do_not_grow_with_the_batch(launched):
    counts = []
    for images in ([noise(40, 50)], packed((40, 50), (50, 40), (33, 70), (41, 43)), packed(*[(20, 30)] * 6)):
        launched.clear()
        check(images, Target(centre(16), BILINEAR), Target(centre(20), BICUBIC))
        counts.append(len(launched))
    assert counts == [3, 3, 3]  # the tables, the first pass, the second


def test_launches_for_every_kind_of_job(launched):
    """Each kind of memory has its own first pass, each dtype and kind of output its own second."""
    order = PassOrder.LARGER_CUT_FIRST
    images = [noise(40, 50), planar(noise(40, 50)), four_bytes_a_pixel(noise(40, 50)), noise(90, 30), noise(2, 3)]
    check(images, Target(centre(16, order=order)), Target(centre(24, order=order), dtype=torch.float16))
    kernels = [name for name, *_ in launched]
    assert kernels == ["_tables_kernel"] + 3 * ["_along_lines_kernel"] + 4 * ["_across_lines_kernel"]
    assert len(set(launched)) == len(launched)


def test_tables_of_sines_are_uploaded(launched):
    check([noise(40, 50)], Target(whole(16, 20), LANCZOS))
    assert "_tables_kernel" not in [name for name, *_ in launched]


def test_a_large_batch_goes_in_parts(launched, monkeypatch):
    """The intermediate is bounded, and so is the number of jobs of a launch."""
    from fastnorm_kernels import planning, resize

    images = packed((20, 30), (30, 20), (21, 43))
    targets = Target(centre(8), BILINEAR), Target(centre(16), BICUBIC)
    whole = check(images, *targets)
    assert len(launched) == 3
    for name, most in (("MAX_PIXELS", 1500), ("MAX_JOBS", 2)):
        launched.clear()
        with monkeypatch.context() as patch:
            resize.forget_plans()
            patch.setattr(planning, name, most)
            parts = check(images, *targets)
        resize.forget_plans()
        assert len(launched) > 3
        assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_a_call_under_graph_capture_is_refused_before_anything_is_recorded(monkeypatch):
    """A replay would upload the records of a call that is over, with addresses of images that may be gone."""
    from fastnorm_kernels import resize

    inside = []
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext(inside.append(device)))
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: bool(inside))
    monkeypatch.setattr(resize, "launches", lambda *_: pytest.fail("planned, and maybe uploaded"))
    with pytest.raises(RuntimeError, match="got a call under CUDA-graph capture, expected one outside"):
        resize.preprocess([resize.Source(0, 8, 8, 24, 3, 1)], [], torch.device("cuda"))


def test_profilers_see_what_was_launched():
    from fastnorm_kernels import _resize_kernels as kernels

    metadata = type("Metadata", (), {"name": "_across_lines_kernel"})
    arguments = {"values_ptr": torch.empty(1, dtype=torch.bfloat16), "VECTOR": 8}
    assert kernels._launch_metadata((7, 7, 128), metadata, arguments) == {"name": "across_lines_bfloat16_vector_8_x128"}


def test_bytes_moved_counts_an_image_once():
    targets = Target(whole(20, 10), BILINEAR), Target(centre(16), BICUBIC, dtype=torch.bfloat16)
    images = [noise(40, 80), noise(64, 64)]
    plans = [[target.place(size_of(image)) for image in images] for target in targets]
    outputs = [torch.empty(2, 3, *plan[0].output, dtype=t.dtype) for t, plan in zip(targets, plans, strict=True)]
    from fastnorm_kernels.resize import bytes_moved

    resize_targets = run([], targets, plans, outputs)
    assert bytes_moved(resize_targets) == 3 * (40 * 80 + 64 * 64) + 4 * 2 * 3 * 20 * 10 + 2 * 2 * 3 * 16 * 16
    # The crop's own rows and columns, and what the filter reaches to both sides of them: 4 * 8 + 2 * (8 - 2) columns.
    assert bytes_moved([dataclasses.replace(resize_targets[1], geometries=[centre(8)(Size(32, 320))])]) == (
        3 * 32 * 44 + outputs[1].numel() * 2
    )


# --- the tables


def table_of(axis, taps, length, split):
    """A table that the device made, as a dense (pixels, source) matrix."""
    from fastnorm_kernels import planning, resize

    job = planning._table_job(0, axis, taps, split)
    memory = torch.full((planning.table_bytes(job.pitch, taps, split) // 8,), -1, dtype=torch.int64, device=DEVICE)
    tables = planning.records_of(resize.TableJob, [job._replace(table=memory.data_ptr())])
    resize._make_tables(tables, torch.from_numpy(tables.view(np.int64)).to(DEVICE).view(1, -1)).run()
    return dense(memory.cpu(), job, taps, axis.source)[:length]


def dense(memory, job, taps, source):
    numbers = memory.view(torch.int32)
    start, coefficients = numbers[: job.pitch], numbers[job.pitch :]
    if job.split:
        eights = coefficients.view(job.pitch // 32, taps // 8 + 1, 3, 64)
        low = eights[:, :, :2].view(torch.uint16).view(*eights.shape[:2], 2, 32, 4).int()
        high = eights[:, :, 2:].view(torch.int8).view(*eights.shape[:2], 32, 2, 4).int()
        fours = low + (high.transpose(2, 3) << 16)  # (tile, eight, its first or second four, column, tap)
        fixed = fours.permute(0, 3, 1, 2, 4).reshape(job.pitch, -1)[:, 4:]
    else:
        fixed = coefficients.view(-1, job.pitch, 2).permute(1, 0, 2).reshape(job.pitch, -1)[:, :taps]
    matrix = torch.zeros(job.pitch, max(source, taps), dtype=torch.int32)
    assert int(start.min()) >= 0
    assert int(start.max()) + taps <= max(source, taps)
    matrix.scatter_(1, start.long()[:, None] + torch.arange(taps), fixed)
    assert int(matrix[:, source:].abs().sum()) == 0
    return matrix[:, :source]


def wanted_table(source, resized, kernel, span):
    table = coefficients(source, resized, kernel)
    matrix = np.zeros((resized, source + table.taps), np.int32)
    np.put_along_axis(matrix, table.first[:, None] + np.arange(table.taps), table.fixed, 1)
    shown = matrix[span.start : span.stop, :source]
    crop = np.zeros((span.length, source), np.int32)
    crop[span.offset : span.offset + span.count] = shown[::-1] if span.mirrored else shown
    return torch.from_numpy(crop)


def pairs_of_lengths(number, most, seed=0):
    """Both directions, small and large, exact multiples and lengths next to them."""
    generator = np.random.default_rng(seed)
    for _ in range(number):
        source, resized = (int(n) for n in np.exp(generator.uniform(0, np.log(most), 2)))
        choice = generator.integers(4)
        if choice == 0:
            source = min(resized * int(generator.integers(1, 9)), most)
        elif choice == 1:
            source = min(source, resized) + int(generator.integers(0, 3))
        yield source, resized


def a_span(length, seed):
    generator = np.random.default_rng(seed)
    start = int(generator.integers(length))
    count = min(int(generator.integers(1, length - start + 1)), 26)
    offset, rest = (int(n) for n in generator.integers(0, 4, 2))
    return Span(start, count, offset, offset + count + rest, bool(generator.integers(2)))


@pytest.mark.parametrize("kernel", [BOX, BILINEAR, BICUBIC], ids=lambda kernel: kernel.name)
def test_tables_made_on_the_device_are_the_hosts(kernel):
    from fastnorm_kernels import planning

    for number, (source, resized) in enumerate(pairs_of_lengths(70, 90)):
        span = a_span(resized, number)
        axis = planning._axis(source, resized, span, kernel)
        for multiple in (1, 2, 4):
            taps = planning._round_up(planning._taps(axis, None), multiple)
            if multiple == 1 or number % 5 == 0:
                for split in (False, True)[: 1 + (multiple == 4)]:
                    got = table_of(axis, taps, span.length, split)
                    assert torch.equal(got, wanted_table(source, resized, kernel, span)), (source, resized, span, taps)


@pytest.mark.parametrize("kernel", [HAMMING, LANCZOS], ids=lambda kernel: kernel.name)
def test_uploaded_tables_are_the_hosts(kernel):
    from fastnorm_kernels import planning

    for number, (source, resized) in enumerate(pairs_of_lengths(60, 400)):
        span, table = a_span(resized, number), coefficients(source, resized, kernel)
        if source == resized:
            continue
        axis = planning._axis(source, resized, span, kernel)
        whole_steps = planning._round_up(table.taps, 4)
        for taps, split in {(table.taps, False), (whole_steps, False), (whole_steps, True)}:
            job = planning._table_job(0, axis, taps, split)
            memory = torch.from_numpy(planning._table(job, table))
            assert torch.equal(
                dense(memory, job, taps, source)[: span.length], wanted_table(source, resized, kernel, span)
            )


@pytest.mark.parametrize("kernel", [BOX, BILINEAR, BICUBIC], ids=lambda kernel: kernel.name)
def test_tables_have_room_for_every_coefficient(kernel):
    """How many taps an axis needs is found without its table, and never too few."""
    from fastnorm_kernels import planning

    spare = 0
    for source, resized in pairs_of_lengths(800, 1500, seed=1):
        axis = planning._axis(source, resized, Span(0, resized, 0, resized), kernel)
        if source == resized:
            continue  # whatever the filter, one tap
        taps, table = planning._taps(axis, None), coefficients(source, resized, kernel)
        start = np.minimum(table.first, max(source - taps, 0))
        last = np.where(table.fixed != 0, table.first[:, None] + np.arange(table.taps), 0).max(1)
        assert (last < start + taps).all(), (source, resized)
        assert taps + 1 >= table.taps, "the sum of weights runs over one tap more"
        spare += taps - int((last - start).max() + 1)
        for pixel in (0, resized // 2, resized - 1):
            window = table.first[pixel], table.first[pixel] + table.count[pixel]
            assert planning._window(axis, pixel) == window
    assert spare < 800, "rarely more than a tap too many"


# --- calls with sizes seen before


@pytest.fixture
def no_plans():
    from fastnorm_kernels import resize

    resize.forget_plans()
    yield resize._plans
    resize.forget_plans()


def names_of(launched):
    return [launch[0] for launch in launched]


def test_sizes_seen_before_are_planned_once(launched, no_plans):
    """The second call has other pixels, addresses and outputs, and makes no tables."""
    targets = [fastnorm.Target(fastnorm.VAE, 12, crop=12), fastnorm.Target(fastnorm.CLIP, 9, "lanczos", crop=8)]
    for number in range(3):
        launched.clear()
        images = [
            random_pixels(*size, 3, seed=10 * number + i) for i, size in enumerate([(20, 31), (31, 20), (20, 31)])
        ]
        got = preprocess_by_kernel(images, targets)
        for output, expected in zip(got, fastnorm.reference.preprocess(images, targets), strict=True):
            assert_same_bits(output, expected)
        assert names_of(launched).count("_tables_kernel") == (1 if number == 0 else 0)
        assert len(no_plans) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": [(20, 31), (31, 20), (21, 31)]},
        {"dtype": torch.float16},
        {"normalization": fastnorm.DINOV2},
        {"resample": "bicubic"},
        {"crop": 11},
        {"memory_format": torch.channels_last},
        {"channel_order": "BGR"},
        {"pillow_version": "12"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_a_plan_depends_on(change, no_plans):
    sizes = [(20, 31), (31, 20), (310, 3)]
    one = {"normalization": fastnorm.VAE, "size": 12, "crop": 12}

    def call(sizes=sizes, pillow_version="13", **options):
        images = [random_pixels(*size, 3, seed=i) for i, size in enumerate(sizes)]
        targets = [fastnorm.Target(**{**one, **options})]
        got = preprocess_by_kernel(images, targets, pillow_version=pillow_version)
        assert_same_bits(got[0], fastnorm.reference.preprocess(images, targets, pillow_version=pillow_version)[0])

    call()
    call(**change)
    call()
    assert len(no_plans) == 2


def test_a_plan_is_not_taken_for_the_other_order_of_channels(no_plans):
    """Of the same geometries, which a call of fastnorm's own would not bring."""
    import fastnorm_kernels

    image, target = noise(20, 31), Target(centre(12))
    plan = [target.place(size_of(image))]
    wanted = expected(image, plan[0], target)
    source = fastnorm_kernels.Source(image.data_ptr(), *size_of(image), *image.stride())
    for is_bgr in (False, True, False):
        output = poisoned((1, 3, 12, 12), torch.float32, DEVICE)
        table = functools.partial(coefficients, resample=BICUBIC)
        means = target.normalization.mean, target.normalization.std
        resize_target = fastnorm_kernels.ResizeTarget(BICUBIC, table, *means, plan, output, is_bgr=is_bgr)
        fastnorm_kernels.preprocess([source], [resize_target], DEVICE, keep_plan=True)
        assert_same_bits(output[0], wanted.flip(0) if is_bgr else wanted)
    assert len(no_plans) == 2


def test_plans_are_bounded_and_calls_that_will_not_come_again_leave_none(no_plans, monkeypatch):
    from fastnorm_kernels import resize

    monkeypatch.setattr(resize, "MAX_PLANS", 3)
    image = random_pixels(20, 31, 3)
    for side in (5, 6, 7, 8, 5):
        preprocess_by_kernel([image], [fastnorm.Target(fastnorm.VAE, side, crop=side)])
        assert len(no_plans) <= 3
    assert len(no_plans) == 3
    resize.forget_plans()
    target = fastnorm.Target(fastnorm.VAE, 12, crop=fastnorm.Crop(8, "random"))
    preprocess_by_kernel([image], [target])
    preprocess_by_kernel([image], [fastnorm.Target(fastnorm.VAE, 12, crop=8)], flip=True)
    preprocess_by_kernel([image], [fastnorm.Target(fastnorm.VAE, 12, crop=8)], positions=[[(1, 2)]])
    assert len(no_plans) == 0


# --- geometry beyond one resize and one crop


PADS = [
    fastnorm.Pad((200, 3, 90)),
    fastnorm.Pad(value=(0.25, -1.5, 3)),
    fastnorm.Pad(mode="edge"),
    fastnorm.Pad(mode="reflect"),
    fastnorm.Pad(mode="symmetric"),
]


def wide(normalization=fastnorm.CLIP, **options):
    """A crop that images reach over on one side and leave room around on the other."""
    options = {"size": 20, "crop": fastnorm.Crop((27, 24), (-5, 3)), "dtype": torch.float32, **options}
    return fastnorm.Target(normalization, **options)


@pytest.mark.parametrize(
    "mirrors", [{}, {"flip": True}, {"vertical_flip": [True, False, True], "flip_before_crop": True}]
)
@pytest.mark.parametrize("resample", ["bilinear", "lanczos", "nearest"])
def test_padding_of_every_kind(resample, mirrors):
    """Tall images too, whose vertical pass is first; and an axis that keeps its size."""
    images = [random_pixels(*size, 3, seed=i) for i, size in enumerate([(31, 47), (90, 20), (20, 20)])]
    targets = [wide(resample=resample, pad=pad) for pad in PADS]
    targets += [wide(pad=PADS[0], dtype=torch.bfloat16, crop=fastnorm.Crop((27, 48), (-5, -8)))]  # whole vectors
    got = preprocess_by_kernel(images, targets, pillow_version="13", **mirrors)
    wanted = fastnorm.reference.preprocess(images, targets, pillow_version="13", **mirrors)
    for output, expected in zip(got, wanted, strict=True):
        assert_same_bits(output, expected)


@pytest.mark.parametrize("resample", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_boxes(resample):
    images = [random_pixels(*size, 3, seed=i) for i, size in enumerate([(31, 47), (90, 20), (20, 20), (64, 3)])]
    boxes = [(0.5, 3.25, 40.75, 31), (0, 0, 20, 89.5), (3, 4, 10.1, 9.9), (0.25, 0, 3, 64)]
    boxes = [tuple(float(np.float32(side)) for side in box) for box in boxes]
    targets = [fastnorm.Target(fastnorm.VAE, (20, 20), resample), fastnorm.Target(fastnorm.VAE, 24, resample, crop=16)]
    got = preprocess_by_kernel(images, targets, boxes=[boxes, boxes])
    for output, expected in zip(got, fastnorm.reference.preprocess(images, targets, boxes=[boxes, boxes]), strict=True):
        assert_same_bits(output, expected)


def test_steps_before_the_last():
    images = [random_pixels(*size, 3, seed=i) for i, size in enumerate([(61, 47), (90, 120), (20, 20)])]
    square = fastnorm.Crop(fastnorm.Square("longest"))
    targets = [
        wide(before=[fastnorm.Halve(20), square], pad=PADS[0]),
        wide(before=[square, fastnorm.Border(-2, 3, 1, 0)], pad=PADS[3], reducing_gap=1.0, size=(11, 13)),
        wide(before=fastnorm.Resize((40, 30), "lanczos", 2.0)),
    ]
    got = preprocess_by_kernel(images, targets)
    for output, expected in zip(got, fastnorm.reference.preprocess(images, targets), strict=True):
        assert_same_bits(output, expected)


@pytest.mark.usefixtures("no_plans")
def test_borders_are_filled_in_as_many_launches_for_any_number_of_images(launched):
    target = wide(pad=PADS[0])
    counts = []
    for count in (2, 7):
        images = [random_pixels(31, 47, 3, seed=i) for i in range(count)]
        launched.clear()
        preprocess_by_kernel(images, [target])
        counts.append(len(launched))
    assert counts[0] == counts[1]


def test_a_crop_before_the_resize_copies_nothing():
    """The kernels read the part of the image where it lies."""
    from fastnorm.images.batch import read_images
    from fastnorm.spec.geometry import Stage

    image, part = (
        random_pixels(30, 40, 3),
        Geometry(Size(30, 40), Size(30, 40), Span(5, 9, 0, 9), Span(7, 8, 0, 8), False),
    )
    (cut,) = eager.steps(read_images([image], "HWC", "error", "ignore"), [[Stage(part, "box")]])
    assert cut.data_ptr() == image[5:, 7:].data_ptr()
    assert torch.equal(cut, image[5:14, 7:15])
