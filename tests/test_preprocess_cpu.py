"""The CPU path of preprocessing: the reference's bits and the published pipelines', from any Pillow, with no more work.

Equality throughout. Which calls Pillow gets is looked at where it is called, so that a window that is no longer found
shows as a count of pixels.
"""

import threading

import numpy as np
import pytest
import torch
import torchvision.transforms as published
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import fastnorm
from fastnorm import reference
from fastnorm.backends.base import TargetJob
from fastnorm.backends.cpu import pillow, preprocessing
from fastnorm.backends.cpu.pillow import box_table, read_range, resize_into, window
from fastnorm.backends.cpu.preprocessing import preprocess
from fastnorm.backends.eager import resize_and_crop, source_range
from fastnorm.spec.filters import BICUBIC, BILINEAR, BOX, FILTERS, FRACTION_BITS, HALF, LANCZOS, coefficients
from fastnorm.spec.geometry import CropRule, Geometry, PassOrder, Size, Span, geometry
from helpers import (
    DTYPES,
    as_padded_rows,
    as_planar,
    assert_same_bits,
    dtype_name,
    noise,
    poisoned,
    whole,
)

pytestmark = [pytest.mark.compat, pytest.mark.pillow]

every_filter = pytest.mark.parametrize("kernel", FILTERS.values(), ids=FILTERS)


@pytest.fixture
def threads():
    """Sets torch's number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


# --- images in every form that they come in


def as_pil(pixels):
    return Image.fromarray(pixels.numpy())


def as_every_second_pixel(pixels):
    height, width, _ = pixels.shape
    sparse = torch.full((height, 2 * width, 4), 99, dtype=torch.uint8)
    sparse[:, ::2, :3] = pixels
    return sparse[:, ::2, :3]


def as_transposed(pixels):
    return pixels.transpose(0, 1).contiguous().transpose(0, 1)


FORMS = {
    "pil": as_pil,
    "interleaved": lambda pixels: pixels,
    "planes": as_planar,
    "padded rows": as_padded_rows,
    "every second pixel": as_every_second_pixel,
    "transposed": as_transposed,
}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def resized(image, plan, kernel):
    output = np.full((*plan.output, 3), 77, np.uint8)
    resize_into(output, image, plan, kernel)
    return torch.from_numpy(output)


# --- one image


@st.composite
def axes(draw):
    """Source and resized length of an axis and a crop of it: any ratio, simple ones, an unchanged length."""
    any_length = st.integers(1, 3) | st.integers(1, 40) | st.integers(1, 200)
    source = draw(any_length | st.integers(1, 12).map(lambda n: 16 * n))
    target = draw(
        st.one_of(any_length, st.just(source), st.just(2 * source), st.just(-(-source // 2)), multiples(source))
    )
    crop = draw(st.integers(1, target + 6))
    centre = st.sampled_from(CropRule).map(lambda rule: rule.span(target, crop))
    anywhere = st.integers(1 - crop, target - 1).map(lambda position: Span.at(position, target, crop))
    span = draw(centre | anywhere)
    return source, target, span.mirror() if draw(st.booleans()) else span


def multiples(source):
    """Lengths whose ratio to the source is a simple fraction."""
    return st.builds(lambda up, down: max(1, source * up // down), st.integers(1, 7), st.sampled_from([2, 3, 4, 7, 8]))


@st.composite
def plans(draw):
    (height, new_height, rows), (width, new_width, columns) = draw(axes()), draw(axes())
    return Geometry(Size(height, width), Size(new_height, new_width), rows, columns, draw(st.booleans()))


@every_filter
@given(plan=plans(), form=st.sampled_from(sorted(FORMS)))
@example(plan=whole(Size(1, 1), Size(9, 5)), form="pil")
@example(plan=whole(Size(91, 75), Size(1, 1), True), form="planes")
@example(plan=whole(Size(301, 3), Size(150, 2), True), form="pil")
@example(plan=whole(Size(3, 301), Size(2, 150)), form="interleaved")
@example(plan=whole(Size(1, 64), Size(1, 32)), form="padded rows")
@example(plan=whole(Size(64, 1), Size(32, 1)), form="padded rows")
@example(plan=whole(Size(50, 60), Size(50, 60)), form="pil")
def test_pixels_are_the_references_in_both_orders(kernel, plan, form):
    """Whatever order the installed Pillow prefers."""
    pixels = noise(plan.source)
    assert torch.equal(resized(FORMS[form](pixels), plan, kernel), resize_and_crop(pixels, plan, kernel))


@every_form
@pytest.mark.parametrize("vertical_first", [False, True], ids=["horizontal first", "vertical first"])
@pytest.mark.parametrize(
    "target", [Size(48, 64), Size(96, 64), Size(48, 128), Size(96, 128)], ids="{0.width}x{0.height}".format
)
def test_an_axis_that_keeps_its_size_is_only_cut(form, vertical_first, target, pillows_calls):
    source, pixels = Size(96, 128), noise(Size(96, 128))
    plan = Geometry(source, target, Span(7, 30, 2, 35), Span(11, 40, 0, 40).mirror(), vertical_first)
    assert torch.equal(resized(form(pixels), plan, BICUBIC), resize_and_crop(pixels, plan, BICUBIC))
    assert len(pillows_calls) == (target.height != source.height) + (target.width != source.width)


def test_views_that_show_some_pixels_many_times():
    pixels, plan = noise(Size(40, 60)), whole(Size(40, 60), Size(25, 31))
    for view in (pixels[:1].expand(40, -1, -1), pixels[:, :1].expand(-1, 60, -1), pixels[..., :1].expand(-1, -1, 3)):
        assert torch.equal(resized(view, plan, BICUBIC), resize_and_crop(view, plan, BICUBIC))


def test_the_stride_of_a_single_row_means_nothing():
    row, plan = noise(Size(1, 60)).as_strided((1, 60, 3), (3, 3, 1)), whole(Size(1, 60), Size(1, 31))
    assert torch.equal(resized(row, plan, BICUBIC), resize_and_crop(row, plan, BICUBIC))


def test_images_are_only_read():
    pixels = noise(Size(40, 60))
    for name, form in FORMS.items():
        image = form(pixels)
        resized(image, whole(Size(40, 60), Size(20, 31)), BICUBIC)
        assert np.array_equal(np.asarray(image), pixels.numpy()), name


def test_a_part_larger_than_pillow_would_open_is_cut_without_a_warning(monkeypatch):
    """The limit on files is none on what a caller has in memory; warnings are errors here."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    pixels, plan = (
        noise(Size(90, 40)),
        geometry(Size(90, 40), 20, Size(20, 20), CropRule.TORCHVISION, PassOrder.of_pillow()),
    )
    assert torch.equal(resized(as_pil(pixels), plan, BILINEAR), resize_and_crop(pixels, plan, BILINEAR))


# --- windows


@pytest.fixture
def pillows_calls(monkeypatch):
    """(width, height) of what every call of `Image.resize` computes."""
    calls, resize = [], Image.Image.resize

    def counted(self, size, *arguments):
        calls.append(size)
        return resize(self, size, *arguments)

    monkeypatch.setattr(Image.Image, "resize", counted)
    return calls


def centre(source, size, rule=CropRule.TORCHVISION):
    return geometry(source, size, Size(size, size), rule, PassOrder.HORIZONTAL_FIRST)


@pytest.mark.parametrize(
    ("source", "size", "kernel", "calls"),
    [
        (Size(1024, 1536), 512, BILINEAR, [(512, 1024), (512, 512)]),
        (Size(1024, 1536), 224, BICUBIC, [(224, 1024), (224, 224)]),  # 32 / 7: the tables are compared
        (Size(1000, 1500), 512, BILINEAR, [(512, 1000), (512, 512)]),
        # The columns' pass takes the lines alone that the rows' pass reads: the middle 512 of 768, and one more or two.
        (Size(1536, 1024), 512, BILINEAR, [(512, 1026), (512, 512)]),
        (Size(1536, 1024), 224, BICUBIC, [(224, 1038), (224, 224)]),
        (Size(1024, 1024), 512, BILINEAR, [(512, 1024), (512, 512)]),
        # 1365 / 682 repeats nowhere before the end: the whole axis is computed, after a pass over what is needed of it.
        (Size(1024, 1365), 512, BILINEAR, [(682, 1024), (512, 512)]),
        (Size(1365, 1024), 512, BILINEAR, [(512, 1027), (512, 682)]),
    ],
    ids=lambda value: f"{value.width}x{value.height}" if isinstance(value, Size) else getattr(value, "name", None),
)
@pytest.mark.parametrize("form", [as_pil, as_planar], ids=["pil", "planes"])
def test_pillow_computes_what_the_crop_shows(source, size, kernel, calls, form, pillows_calls):
    pixels, plan = noise(source), centre(source, size)
    got = resized(form(pixels), plan, kernel)
    assert pillows_calls == calls
    assert torch.equal(got, resize_and_crop(pixels, plan, kernel))


def test_tensors_are_converted_as_far_as_they_are_read(monkeypatch):
    taken, convert = [], pillow._as_pil

    def watched(*arguments):
        taken.append(convert(*arguments).size)
        return convert(*arguments)

    monkeypatch.setattr(pillow, "_as_pil", watched)
    plan = Geometry(Size(400, 800), Size(200, 400), Span(50, 20, 0, 20), Span(100, 30, 0, 30), False)
    resized(noise(plan.source), plan, BILINEAR)
    assert taken == [(62, 42)]  # twice the window, and a pixel on each side


# Where the two roundings differ, a box filter sees it: a source pixel at its edge counts fully or not at all.
DIFFERENT = (1500, 336, 56, 280, BOX)


def test_a_window_with_another_table_is_not_taken():
    source, target, start, stop, kernel = DIFFERENT
    tight = (start * source / target, stop * source / target)
    assert tight == (250.0, 1250.0)
    found = window(source, target, start, stop, kernel, cut=False)
    assert found.computed == range(stop)
    row = as_pil(noise(Size(1, source)))
    exact = np.asarray(row.resize((target, 1), Image.Resampling.BOX))[:, start:stop]
    for box, shown, same in ((tight, slice(None), False), (found.box, slice(start, None), True)):
        width = stop - (0 if same else start)
        got = np.asarray(row.resize((width, 1), Image.Resampling.BOX, (box[0], 0, box[1], 1)))[:, shown]
        assert np.array_equal(got, exact) == same


@every_filter
@given(axis=axes(), cut=st.booleans())
@example(axis=(1500, 336, Span(56, 224, 0, 224)), cut=True)
@example(axis=(8191, 4096, Span(4001, 89, 0, 89)), cut=False)  # 4001 * 8191 / 4096 takes 25 bits
def test_a_window_holds_the_crop_and_everything_that_it_is_made_of(kernel, axis, cut):
    source, target, span = axis
    found = window(source, target, span.start, span.stop, kernel, cut)
    assert found.shown == range(span.start, span.stop)
    assert found.read == source_range(source, target, span, kernel)
    for outer, inner in ((found.computed, found.shown), (found.extent, found.read), (range(source), found.extent)):
        assert outer.start <= inner.start < inner.stop <= outer.stop
    low, high = found.box
    assert 0 <= low < high <= len(found.extent)
    for bound in (low, high, high - low):
        assert float(np.float32(bound)) == bound
    assert found.is_identity == (source == target)


@every_filter
@given(source=st.integers(1, 300), target=st.integers(1, 300), data=st.data())
def test_the_lines_to_read_are_found_without_a_table(kernel, source, target, data):
    start = data.draw(st.integers(0, target - 1))
    stop = data.draw(st.integers(start + 1, target))
    table = coefficients(source, target, kernel)
    got = read_range(source, target, range(start, stop), kernel)
    assert got == range(table.first[start], table.first[stop - 1] + table.count[stop - 1])


@every_filter
@given(length=st.integers(1, 120), computed=st.integers(1, 90), data=st.data())
def test_the_table_of_a_box_is_pillows(kernel, length, computed, data):
    """The installed Pillow's pixels for any box, in sixteenths of a pixel."""
    low = data.draw(st.integers(0, 16 * length - 1))
    high = data.draw(st.integers(low + 1, 16 * length))
    part = pillow.Window(range(length), range(length), (low / 16, high / 16), range(computed), range(computed))
    first, fixed = box_table(part, kernel)
    row = noise(Size(1, length))
    index = np.minimum(first[:, None] + np.arange(fixed.shape[1]), length - 1)
    sums = HALF + (row[0].numpy()[index].astype(np.int64) * fixed[..., None]).sum(1)
    got = as_pil(row).resize((computed, 1), Image.Resampling[kernel.name.upper()], (low / 16, 0, high / 16, 1))
    assert np.array_equal(np.asarray(got)[0], np.clip(sums >> FRACTION_BITS, 0, 255))


def test_windows_are_found_once():
    assert window(1536, 336, 56, 280, BICUBIC, True) is window(1536, 336, 56, 280, BICUBIC, True)
    assert window.cache_info().maxsize is not None


# --- batches

SOURCES = [Size(60, 90), Size(90, 60), Size(61, 47), Size(1, 70), Size(210, 9), Size(32, 32)]


def target_job(sources, normalization=fastnorm.VAE, size=32, kernel=BILINEAR, rule=CropRule.TORCHVISION, **output):
    crop = Size(size, size)
    plans = tuple(geometry(source, size, crop, rule, PassOrder.of_pillow()) for source in sources)
    memory = poisoned((len(sources), 3, *crop), output.pop("dtype", torch.float32), **output)
    return TargetJob(normalization, kernel, plans, memory)


def expected(images, wanted):
    codes = [
        resize_and_crop(image, plan, wanted.resample) for image, plan in zip(images, wanted.geometries, strict=True)
    ]
    (values,) = reference.normalize(
        torch.stack(codes), [wanted.normalization], dtype=wanted.output.dtype, layout="NHWC"
    )
    return values


def check(images, jobs, forms=(as_pil,)):
    given = [forms[index % len(forms)](image) for index, image in enumerate(images)]
    preprocess(given, jobs)
    for one in jobs:
        assert_same_bits(one.output, expected(images, one))


PAIRS = {
    "nothing": {"size": 20, "kernel": BICUBIC, "rule": CropRule.TRANSFORMERS},
    "the filter": {"size": 32, "rule": CropRule.TRANSFORMERS},
    "all pixels": {},
}


@pytest.mark.parametrize("number", [1, 2, 5], ids="{} threads".format)
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_two_targets_that_share(pair, number, threads):
    threads(number)
    images = [noise(source, seed) for seed, source in enumerate(SOURCES)]
    check(images, [target_job(SOURCES), target_job(SOURCES, fastnorm.CLIP, **pair)], list(FORMS.values()))


def test_targets_of_the_same_pixels_share_one_resize(pillows_calls, threads):
    threads(1)
    images = [noise(source) for source in SOURCES[:2]]
    check(images, [target_job(SOURCES[:2], target) for target in (fastnorm.VAE, fastnorm.CLIP, fastnorm.IMAGENET)])
    assert len(pillows_calls) == 2 * len(images)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "channels last"])
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
def test_every_kind_of_output(dtype, memory_format):
    images = [noise(source) for source in SOURCES]
    check(
        images,
        [
            target_job(SOURCES, fastnorm.CLIP, kernel=LANCZOS, dtype=dtype, memory_format=memory_format),
            target_job(SOURCES, fastnorm.VAE, kernel=LANCZOS),
        ],
    )


def test_an_output_inside_a_larger_tensor():
    around = poisoned((5, 2 * len(SOURCES), 3, 40, 40), torch.float32)
    one = target_job(SOURCES, fastnorm.CLIP)
    inside = TargetJob(one.normalization, one.resample, one.geometries, around[2, ::2, :, 3:35, 4:36])
    check([noise(source) for source in SOURCES], [inside, target_job(SOURCES, size=7)])
    assert int(around.isfinite().sum()) == inside.output.numel()


@pytest.mark.parametrize("number", [1, 2], ids="{} threads".format)
def test_a_batch_too_large_for_its_memory_is_taken_in_groups(number, threads, monkeypatch):
    threads(number)
    sizes, normalize = [], preprocessing.normalize

    def watched(planes, *arguments):
        sizes.append(planes.shape[0])
        normalize(planes, *arguments)

    monkeypatch.setattr(preprocessing, "normalize", watched)
    monkeypatch.setattr(preprocessing, "MAX_WAITING", 4 * 3 * (32 * 32 + 8 * 8))
    images = [noise(source, seed) for seed, source in enumerate(SOURCES)]
    check(images, [target_job(SOURCES), target_job(SOURCES, size=8)])
    assert sizes == [4, 4, 2, 2]
    monkeypatch.setattr(preprocessing, "MAX_WAITING", 1)
    check(images, [target_job(SOURCES)])
    assert sizes[4:] == [number] * (len(SOURCES) // number)


def test_the_same_image_many_times_and_no_image():
    image, sources = as_pil(noise(Size(50, 70))), [Size(50, 70)] * 6
    one = target_job(sources)
    preprocess([image] * 6, [one])
    assert_same_bits(one.output, expected([noise(Size(50, 70))] * 6, one))
    preprocess([], [target_job([])])
    preprocess([image], [])


@pytest.mark.parametrize("number", [1, 3], ids="{} threads".format)
def test_an_exception_reaches_the_caller(number, threads, monkeypatch):
    threads(number)
    running = threading.active_count()

    def fails(_, size, *__):
        raise MemoryError(f"no room for {size}")

    monkeypatch.setattr(Image.Image, "resize", fails)
    with pytest.raises(MemoryError, match="no room for"):
        preprocess([as_pil(noise(source)) for source in SOURCES], [target_job(SOURCES)])
    assert threading.active_count() == running


def test_one_thread_is_the_callers_own(threads, monkeypatch):
    """As in a DataLoader's worker."""
    threads(1)
    used, resize = set(), Image.Image.resize

    def watched(self, *arguments):
        used.add(threading.current_thread())
        return resize(self, *arguments)

    monkeypatch.setattr(Image.Image, "resize", watched)
    preprocess([as_pil(noise(source)) for source in SOURCES], [target_job(SOURCES)])
    assert used == {threading.current_thread()}


# --- the published pipelines

IMAGE_SIZES = [Size(96, 144), Size(150, 97), Size(64, 64), Size(331, 60), Size(60, 331), Size(30, 40), Size(301, 3)]


@pytest.mark.parametrize("number", [1, 2], ids="{} threads".format)
@pytest.mark.parametrize("sizes", [(64, 28), (32, 32), (50, 50)], ids="{0[0]} and {0[1]}".format)
def test_both_published_pipelines(sizes, number, threads):
    """torchvision for the VAE, transformers' Pillow backend for CLIP: from the image to the model's input."""
    threads(number)
    vae_size, clip_size = sizes
    images = [as_pil(noise(size, seed)) for seed, size in enumerate(IMAGE_SIZES)]
    vae = target_job(IMAGE_SIZES, size=vae_size)
    clip = target_job(IMAGE_SIZES, fastnorm.CLIP, clip_size, BICUBIC, CropRule.TRANSFORMERS)
    preprocess(images, [vae, clip])
    torchvision = published.Compose(
        [
            published.Resize(vae_size),
            published.CenterCrop(vae_size),
            published.ToTensor(),
            published.Normalize([0.5], [0.5]),
        ]
    )
    assert_same_bits(vae.output, torch.stack([torchvision(image) for image in images]))
    transformers = CLIPImageProcessorPil(size={"shortest_edge": clip_size}, crop_size=clip_size)
    values = [transformers([image], return_tensors="np")["pixel_values"][0] for image in images]
    assert_same_bits(clip.output, torch.from_numpy(np.stack(values)))
