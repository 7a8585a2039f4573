"""Pillow's tables and Pillow's pixels, against the installed Pillow.

Pillow shows no table, but mode "F" multiplies float32 pixels by the float64 weights, adds up in float64 and returns
float32, so rows of chosen pixels read the weights out to their last bit; and mode "RGB" adds up integers and cuts off
22 bits, so rows of chosen pixels whose sum lies at the edge of a code read the coefficients out to a unit.
"""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from fastnorm.backends.eager import resize_and_crop, source_range
from fastnorm.spec.filters import (
    BICUBIC,
    BILINEAR,
    FILTERS,
    FRACTION_BITS,
    HALF,
    HAMMING,
    LANCZOS,
    ONE,
    Weights,
    coefficients,
    weights,
)
from fastnorm.spec.geometry import CropRule, PassOrder, Size, Span, geometry
from helpers import random_pixels

pytestmark = pytest.mark.compat

every_filter = pytest.mark.parametrize("kernel", FILTERS.values(), ids=FILTERS)

# Enlarged and reduced, by whole and broken factors, from and to one pixel.
AXES = [(8, 4), (16, 8), (30, 11), (47, 46), (46, 47), (9, 20), (5, 64), (100, 7), (64, 3), (33, 1), (1, 9), (2, 3)]
every_axis = pytest.mark.parametrize("axis", AXES, ids=lambda axis: f"{axis[0]}to{axis[1]}")


def pillow(image, size, kernel):
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling[kernel.name.upper()]))


def ours(pixels, size, kernel, order=None, crop=None):
    source = Size(*pixels.shape[:2])
    plan = geometry(source, size, crop, CropRule.TORCHVISION, order or PassOrder.of_pillow())
    return resize_and_crop(pixels, plan, kernel)


# --- the float64 weights


def weighted(rows, exact):
    """What mode "F" makes of float32 rows: products and sums in float64, tap by tap, then one rounding."""
    total = np.zeros((len(rows), len(exact.first)))
    for tap in range(exact.weight.shape[1]):
        index = np.minimum(exact.first + tap, rows.shape[1] - 1)
        total += rows[:, index].astype(np.float64) * exact.weight[:, tap]
    return total.astype(np.float32)


def cancelling_rows(source, exact):
    """For each two neighbouring taps of an output pixel, rows in which they all but cancel.

    The pixels are integers in nearly the inverse ratio of the two weights. What is left of the sum is the weights' last
    bits, which float32 then has room for. The products are rounded too, which can hide a last bit of the one, but not
    of all their multiples.
    """
    rows = []
    for first, count, weight in zip(exact.first, exact.count, exact.weight.tolist(), strict=True):
        for tap in range(count - 1):
            near, far = (tap, tap + 1) if abs(weight[tap]) >= abs(weight[tap + 1]) else (tap + 1, tap)
            if not weight[near] or not weight[far]:
                continue
            ratio = (Fraction(weight[far]) / Fraction(weight[near])).limit_denominator(2**20)
            for multiple in (1, 3, 5, 7, 9, 11, 13, 15):
                row = np.zeros(source, np.float32)
                row[first + near], row[first + far] = multiple * ratio.numerator, -multiple * ratio.denominator
                rows.append(row)
    return np.array(rows, np.float32).reshape(-1, source)


@every_filter
@every_axis
def test_the_weights_are_pillows_to_float32(kernel, axis):
    """A row with a single 1 returns the weights of that pixel, and shows which outputs it reaches at all."""
    source, resized = axis
    rows = np.eye(source, dtype=np.float32)
    assert np.array_equal(pillow(rows, (source, resized), kernel), weighted(rows, weights(source, resized, kernel)))


@every_filter
@every_axis
def test_the_weights_are_pillows_to_the_last_bit(kernel, axis):
    source, resized = axis
    exact = weights(source, resized, kernel)
    rows = cancelling_rows(source, exact)
    if len(rows) == 0:  # one weight a pixel
        assert set(np.unique(exact.weight)) <= {0.0, 1.0}
        return
    assert np.array_equal(pillow(rows, (len(rows), resized), kernel), weighted(rows, exact))


@every_filter
def test_the_cancelling_rows_see_one_unit_in_the_last_place(kernel):
    exact = weights(30, 11, kernel)
    rows = cancelling_rows(30, exact)
    seen = weighted(rows, exact)
    for pixel, tap in np.argwhere(exact.weight):
        for towards in (-1.0, 1.0):
            other = exact.weight.copy()
            other[pixel, tap] = np.nextafter(other[pixel, tap], towards)
            assert not np.array_equal(weighted(rows, Weights(exact.first, exact.count, other)), seen)


# --- the fixed-point coefficients


@every_filter
@given(source=st.integers(1, 400), resized=st.integers(1, 400))
@example(source=4, resized=5)  # the largest sums of the sharpest filter
def test_coefficients_are_the_weights_rounded_half_away_from_zero(kernel, source, resized):
    exact, table = weights(source, resized, kernel), coefficients(source, resized, kernel)
    assert table.fixed.dtype == table.first.dtype == table.count.dtype == np.int32
    magnitude = np.floor(np.abs(exact.weight) * ONE + 0.5)
    assert np.array_equal(table.fixed, np.copysign(magnitude, exact.weight))
    assert np.array_equal(table.first, exact.first)
    assert np.array_equal(table.count, exact.count)
    assert (table.first >= 0).all()
    assert (table.count >= 1).all()
    assert (table.first + table.count <= source).all()
    assert (np.diff(table.first) >= 0).all()
    assert (np.diff(table.first + table.count) >= 0).all()
    beyond = np.arange(table.taps) >= table.count[:, None]
    assert (table.fixed[beyond] == 0).all()
    # No order of the taps reaches int32's limits.
    codes = 255 * table.fixed.astype(np.int64)
    assert HALF + np.maximum(codes, 0).sum(1).max() < 1.4e9
    assert np.minimum(codes, 0).sum(1).min() > -1.4e9


def rows_at_the_edge(table, pixel, trials=1 << 18):
    """Codes for the taps of one output pixel whose sums lie less than 255 above or below the edge between two codes."""
    taps = table.count[pixel]
    codes = np.random.default_rng(pixel).integers(0, 256, (trials, taps), dtype=np.uint8)
    sums = HALF + codes.astype(np.float64) @ table.fixed[pixel, :taps]  # integers far below 2**53: exact
    above = sums % ONE
    unclipped = (sums >= ONE) & (sums < 255 * ONE)
    chosen = unclipped & ((above < 255) | (above > ONE - 255))
    return codes[chosen], sums[chosen].astype(np.int64)


# Box and bilinear weights are multiples of one fraction, and so are their sums: few of them lie near an edge. Mode "F"
# has read those weights out.
@pytest.mark.parametrize("axis", [(30, 11), (50, 9)], ids=lambda axis: f"{axis[0]}to{axis[1]}")
@pytest.mark.parametrize("kernel", [HAMMING, BICUBIC, LANCZOS], ids=lambda kernel: kernel.name)
def test_the_coefficients_are_pillows_to_a_unit(kernel, axis):
    """Of each coefficient, one unit less and one unit more would each change a code that Pillow is seen to return."""
    source, resized = axis
    table = coefficients(source, resized, kernel)
    for pixel in range(resized):
        first, taps = table.first[pixel], table.count[pixel]
        codes, sums = rows_at_the_edge(table, pixel)
        above = (sums % ONE)[:, None]
        assert (codes > above).any(0).all(), "one unit less of any coefficient crosses an edge"
        assert (codes >= ONE - above).any(0).all(), "one unit more of any coefficient crosses an edge"
        rows = np.zeros((len(codes), source, 3), np.uint8)
        rows[:, first : first + taps] = codes[..., None]
        got = pillow(rows, (len(codes), resized), kernel)[:, pixel]
        assert np.array_equal(got, np.repeat((sums >> FRACTION_BITS)[:, None], 3, 1))


@every_filter
@pytest.mark.parametrize("size", [1, 2, 7, 224])
def test_the_table_of_an_unchanged_axis_is_the_identity(kernel, size):
    """Which is why an axis that keeps its size can be skipped, or not."""
    table = coefficients(size, size, kernel)
    dense = np.zeros((size, size + table.taps), np.int64)
    for pixel, first in enumerate(table.first):
        dense[pixel, first : first + table.taps] = table.fixed[pixel]
    assert np.array_equal(dense[:, :size], ONE * np.eye(size))


def test_tables_are_made_once_and_cannot_be_written_to():
    table = coefficients(40, 30, BICUBIC)
    assert coefficients(40, 30, BICUBIC) is table
    assert coefficients.cache_info().maxsize is not None
    for array in (table.first, table.count, table.fixed):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


# --- pixels

sides = st.integers(1, 4) | st.integers(1, 40) | st.integers(1, 160)
areas = st.builds(Size, sides, sides)
strips = st.integers(1, 3).flatmap(lambda w: st.builds(Size, st.integers(100 * w, 110 * w), st.just(w)))


def image_of(kind, size):
    noise = random_pixels(*size, 3)
    # Black and white only: filters that go below zero overshoot both ends.
    return noise if kind == "noise" else (noise > 127).to(torch.uint8) * 255


@every_filter
@given(source=areas | strips, resized=areas, kind=st.sampled_from(["noise", "saturated"]))
@example(source=Size(64, 96), resized=Size(32, 48), kind="noise")  # exactly halved
@example(source=Size(64, 96), resized=Size(32, 48), kind="saturated")
@example(source=Size(50, 60), resized=Size(50, 60), kind="noise")
@example(source=Size(50, 60), resized=Size(50, 31), kind="noise")
@example(source=Size(50, 60), resized=Size(77, 60), kind="noise")
@example(source=Size(1, 1), resized=Size(9, 5), kind="noise")
@example(source=Size(91, 75), resized=Size(1, 1), kind="saturated")
@example(source=Size(301, 3), resized=Size(150, 2), kind="noise")
def test_pixels_equal_the_installed_pillows(kernel, source, resized, kind):
    pixels = image_of(kind, source)
    assert np.array_equal(ours(pixels, resized, kernel).numpy(), pillow(pixels.numpy(), resized, kernel))


@pytest.mark.parametrize("order", PassOrder, ids=lambda order: order.name.lower())
@pytest.mark.parametrize("kernel", [BILINEAR, LANCZOS], ids=lambda kernel: kernel.name)
@given(source=areas | strips, resized=areas)
@example(source=Size(303, 3), resized=Size(101, 2))
@example(source=Size(50, 20), resized=Size(20, 18))
def test_pixels_equal_those_of_every_order(order, kernel, source, resized):
    """Any Pillow can be made to resize in any order: one axis after the other."""
    pixels = image_of("saturated", source)
    halfway = Size(resized.height, source.width), Size(source.height, resized.width)
    between = halfway[0] if order.vertical_first(source, resized) else halfway[1]
    wanted = pillow(pillow(pixels.numpy(), between, kernel), resized, kernel)
    assert np.array_equal(ours(pixels, resized, kernel, order).numpy(), wanted)


@every_filter
@given(source=areas | strips, resized=areas, crop=areas)
def test_only_what_the_crop_shows_is_the_same_as_all_of_it(kernel, source, resized, crop):
    pixels = random_pixels(*source, 3)
    whole, rule = ours(pixels, resized, kernel), CropRule.TORCHVISION
    rows, columns = rule.span(resized.height, crop.height), rule.span(resized.width, crop.width)
    wanted = torch.zeros(*crop, 3, dtype=torch.uint8)
    wanted[rows.offset : rows.offset + rows.count, columns.offset : columns.offset + columns.count] = whole[
        rows.start : rows.stop, columns.start : columns.stop
    ]
    assert torch.equal(ours(pixels, resized, kernel, crop=crop), wanted)


def test_a_crop_reads_only_the_source_under_it():
    intermediate = Span(start=40, count=20, offset=0, length=20)
    assert source_range(1000, 100, intermediate, BILINEAR) == range(395, 605)
    assert source_range(1000, 1000, intermediate, BILINEAR) == range(40, 60)
    assert source_range(1000, 100, Span(0, 100, 0, 100), LANCZOS) == range(1000)


def test_views_are_resized_as_they_look():
    planes = random_pixels(3, 60, 80)
    view = planes.permute(1, 2, 0).flip(1)[::2, 5:]
    wanted = pillow(np.ascontiguousarray(view.numpy()), Size(17, 40), BICUBIC)
    assert np.array_equal(ours(view, Size(17, 40), BICUBIC).numpy(), wanted)
