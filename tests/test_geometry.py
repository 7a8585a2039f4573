"""Sizes, crops and the order of the passes, against torchvision, transformers and Pillow themselves."""

import numpy as np
import PIL
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as torchvision
from transformers import CLIPImageProcessor
from transformers.image_transforms import get_resize_output_image_size
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from fastnorm.backends.eager import resize_and_crop
from fastnorm.spec import geometry as rules
from fastnorm.spec.filters import BICUBIC, BILINEAR
from fastnorm.spec.geometry import CropRule, PassOrder, Size, Span, resized_size
from helpers import random_pixels

pytestmark = [pytest.mark.compat, pytest.mark.pillow]

INSTALLED = PassOrder.of_pillow()

sides = st.integers(1, 5) | st.integers(1, 60) | st.integers(1, 150)
# Anything, portraits taller than 2:1, strips of more than 100:1 in both directions.
sources = st.one_of(
    st.builds(Size, sides, sides),
    st.integers(1, 40).flatmap(lambda w: st.builds(Size, st.integers(2 * w, 5 * w), st.just(w))),
    st.integers(1, 3).flatmap(lambda w: st.builds(Size, st.integers(100 * w, 110 * w), st.just(w))),
    st.integers(1, 3).flatmap(lambda h: st.builds(Size, st.just(h), st.integers(100 * h, 110 * h))),
)
short_sides = st.integers(1, 12) | st.integers(1, 30)
crops = st.builds(Size, st.integers(1, 40), st.integers(1, 40))


def numbered(size):
    """An image in which every pixel tells where it is, and none is as black as padding."""
    y, x = np.mgrid[: size.height, : size.width]
    return Image.fromarray(np.stack([y % 256, x % 256, np.full_like(x, 255)], -1).astype(np.uint8))


def cropped(image, crop, rule):
    pixels = np.asarray(image)
    rows, columns = rule.span(image.height, crop.height), rule.span(image.width, crop.width)
    output = np.zeros((*crop, 3), np.uint8)
    output[rows.offset : rows.offset + rows.count, columns.offset : columns.offset + columns.count] = pixels[
        rows.start : rows.stop, columns.start : columns.stop
    ]
    return output


def processor(size, crop, kind=CLIPImageProcessorPil, **options):
    """transformers' CLIP processor up to the crop: its pixels as they are, before rescaling."""
    return kind(
        size={"shortest_edge": size},
        crop_size={"height": crop.height, "width": crop.width},
        do_rescale=False,
        do_normalize=False,
        **options,
    )


def published(image, **options):
    (pixels,) = processor(**options)([image], return_tensors="np")["pixel_values"]
    return pixels.transpose(1, 2, 0)


@given(source=st.builds(Size, st.integers(1, 100_000), st.integers(1, 100_000)), size=st.integers(1, 4096))
@example(source=Size(3, 1), size=1)
@example(source=Size(99_999, 100_000), size=4096)
def test_the_long_side_is_truncated_as_both_libraries_do(source, size):
    got = resized_size(source, size)
    assert list(got) == torchvision._compute_resized_output_size(tuple(source), [size])
    stand_in = np.broadcast_to(np.uint8(0), (3, *source))  # no memory behind it
    assert got == get_resize_output_image_size(
        stand_in, size, default_to_square=False, input_data_format="channels_first"
    )


@given(source=sources, size=short_sides)
def test_the_size_of_a_resized_image(source, size):
    image = Image.new("RGB", source[::-1])
    assert torchvision.resize(image, size).size[::-1] == resized_size(source, size)


def test_an_exact_size_and_none():
    assert resized_size(Size(30, 50), Size(7, 9)) == Size(7, 9)
    assert resized_size(Size(30, 50), None) == Size(30, 50)


@given(size=st.builds(Size, sides, sides), crop=crops)
def test_centre_crop_of_torchvision(size, crop):
    image = numbered(size)
    wanted = np.asarray(torchvision.center_crop(image, list(crop)))
    assert np.array_equal(cropped(image, crop, CropRule.TORCHVISION), wanted)


@given(size=st.builds(Size, sides, sides), crop=crops)
def test_centre_crop_of_transformers(size, crop):
    image = numbered(size)
    wanted = published(image, size=1, crop=crop, do_resize=False)
    assert np.array_equal(cropped(image, crop, CropRule.TRANSFORMERS), wanted)


@given(size=st.builds(Size, sides, sides), crop=crops)
def test_centre_crop_of_transformers_with_torchvision(size, crop):
    image = numbered(size)
    wanted = published(image, size=1, crop=crop, kind=CLIPImageProcessor, do_resize=False)
    assert np.array_equal(cropped(image, crop, CropRule.TRANSFORMERS_TORCHVISION), wanted)


def test_the_crops_differ_by_one_pixel_where_the_margin_is_3_modulo_4():
    for length in range(1, 120):
        for crop in range(1, length + 1):
            ours, *theirs = (rule.span(length, crop).start for rule in CropRule)
            assert theirs[0] == theirs[1]
            assert ours - theirs[0] == (1 if (length - crop) % 4 == 3 else 0)
            assert ours == round((length - crop) / 2)


def test_padding_is_uneven_on_opposite_sides():
    assert CropRule.TORCHVISION.span(4, 7) == Span(start=0, count=4, offset=1, length=7)
    assert CropRule.TRANSFORMERS.span(4, 7) == Span(start=0, count=4, offset=2, length=7)
    assert CropRule.TRANSFORMERS_TORCHVISION.span(4, 7) == Span(start=0, count=4, offset=1, length=7)


@pytest.mark.parametrize("pipeline", ["torchvision", "transformers"])
@given(source=sources, size=short_sides, crop=crops)
@example(source=Size(70, 30), size=20, crop=Size(20, 20))  # the margin of the height is 26
@example(source=Size(31, 20), size=20, crop=Size(20, 20))  # the margin of the height is 11, 3 modulo 4
@example(source=Size(301, 3), size=2, crop=Size(5, 5))  # vertical pass first since 12.2; narrower than the crop
@example(source=Size(1, 1), size=9, crop=Size(4, 20))
def test_resize_and_crop_of_both_pipelines(pipeline, source, size, crop):
    pixels = random_pixels(*source, 3)
    image = Image.fromarray(pixels.numpy())
    if pipeline == "torchvision":
        rule, kernel = CropRule.TORCHVISION, BILINEAR
        resized = torchvision.resize(image, size, InterpolationMode.BILINEAR)
        wanted = np.asarray(torchvision.center_crop(resized, list(crop)))
    else:
        rule, kernel = CropRule.TRANSFORMERS, BICUBIC
        wanted = published(image, size=size, crop=crop)
    geometry = rules.geometry(source, size, crop, rule, INSTALLED)
    assert geometry.output == crop
    assert np.array_equal(resize_and_crop(pixels, geometry, kernel).numpy(), wanted)


@pytest.mark.parametrize(
    ("version", "order"),
    [
        ("11.0.0", PassOrder.HORIZONTAL_FIRST),
        ("9.5.0.post2", PassOrder.HORIZONTAL_FIRST),
        ("12", PassOrder.HORIZONTAL_FIRST),
        ("12.1.1", PassOrder.HORIZONTAL_FIRST),
        ("12.2", PassOrder.TALL_VERTICAL_FIRST),
        ("12.3.0", PassOrder.TALL_VERTICAL_FIRST),
        ("12.10.0", PassOrder.TALL_VERTICAL_FIRST),
        ("13", PassOrder.LARGER_CUT_FIRST),
        ("13.0.0.dev0", PassOrder.LARGER_CUT_FIRST),
        ("v13.1rc1", PassOrder.LARGER_CUT_FIRST),
        ("14.0", PassOrder.LARGER_CUT_FIRST),
    ],
)
def test_the_order_of_a_pillow_version(version, order, monkeypatch):
    assert PassOrder.of_pillow(version) is order
    monkeypatch.setattr(PIL, "__version__", version)
    assert PassOrder.of_pillow() is order


@pytest.mark.parametrize("version", ["", "latest", "pillow 12", ".5"])
def test_an_unreadable_version_is_refused(version):
    with pytest.raises(ValueError, match="expected the version whose pixels to reproduce: '12'") as caught:
        PassOrder.of_pillow(version)
    assert f"got {version!r}" in str(caught.value)


def test_which_axis_comes_first():
    horizontal, tall, cut = PassOrder
    cases = [  # source, resized, and whether the vertical pass is first in each
        (Size(100, 100), Size(50, 50), False, False, False),
        (Size(201, 100), Size(100, 50), False, False, True),
        (Size(200, 100), Size(100, 50), False, False, False),
        (Size(301, 3), Size(200, 2), False, True, True),
        (Size(300, 3), Size(200, 2), False, False, True),
        (Size(301, 3), Size(400, 4), False, False, False),
        (Size(100, 10), Size(90, 100), False, False, True),
        (Size(10, 100), Size(10, 200), False, False, False),
    ]
    for source, resized, *wanted in cases:
        assert [order.vertical_first(source, resized) for order in (horizontal, tall, cut)] == wanted


@given(source=st.builds(Size, st.integers(1, 3000), st.integers(1, 1000)), size=st.integers(1, 1000))
@example(source=Size(201, 100), size=100)
@example(source=Size(201, 100), size=99)
@example(source=Size(200, 100), size=99)
def test_a_short_side_resize_is_vertical_first_in_tall_images_that_shrink(source, size):
    order = PassOrder.LARGER_CUT_FIRST
    wanted = source.width > size and source.height > 2 * source.width
    assert order.vertical_first(source, resized_size(source, size)) == wanted


def test_the_order_shows_in_the_pixels_of_a_tall_image():
    source, resized = Size(303, 3), Size(101, 2)
    pixels = random_pixels(*source, 3)
    wanted = np.asarray(Image.fromarray(pixels.numpy()).resize(resized[::-1], Image.Resampling.BICUBIC))
    got = {
        order: resize_and_crop(
            pixels, rules.geometry(source, resized, None, CropRule.TORCHVISION, order), BICUBIC
        ).numpy()
        for order in PassOrder
    }
    assert np.array_equal(got[INSTALLED], wanted)
    horizontal, *vertical = got.values()
    assert not np.array_equal(horizontal, vertical[0])
    assert np.array_equal(*vertical)
