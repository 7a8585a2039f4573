"""The host's choice of an exact form, against exact rationals computed elsewhere."""

import random
from fractions import Fraction

import numpy as np
import pytest

import fastnorm
from fastnorm.verification import oracle
from fastnorm_kernels import division
from fastnorm_kernels.division import Form
from helpers import PRESETS

pytestmark = pytest.mark.compat


def fp32_patterns(values):
    return np.array(values, dtype=np.float32).view(np.uint32).tolist()


@pytest.mark.parametrize("target", PRESETS, ids=lambda t: t.name)
def test_presets_need_no_division_instruction(target):
    plan = division.plan(target.mean, target.std)
    assert plan.form is (Form.FMA if target.std == (0.5,) * 3 else Form.RECIPROCAL)
    for channel in range(3):
        got = [division.evaluate(plan, channel, code) for code in division.CODES]
        assert fp32_patterns(got) == [oracle.steps(target, channel, code).y for code in division.CODES]


def test_a_std_without_an_exact_reciprocal_is_divided_by():
    plan = division.plan((0.1, 0.2, 0.3), (1e-44, 1e-3, 2.0))
    assert plan.form is Form.DIVIDE


def test_random_targets_equal_the_oracle():
    draw = random.Random(0)
    for _ in range(20):
        mean = tuple(draw.uniform(-1, 2) for _ in range(3))
        std = tuple(10 ** draw.uniform(-3, 2) for _ in range(3))
        target, plan = fastnorm.Normalization(mean, std, allow_unusual=True), division.plan(mean, std)
        for channel in range(3):
            got = [division.evaluate(plan, channel, code) for code in division.CODES]
            assert fp32_patterns(got) == [oracle.steps(target, channel, code).y for code in division.CODES]


def test_division_by_255_in_two_instructions():
    high, rest = division.reciprocal(255.0)
    for code in division.CODES:
        product = division.fp32(Fraction(code) * Fraction(rest))
        assert division.fp32(code * Fraction(high) + Fraction(product)) == division.fp32(Fraction(code, 255))


@pytest.mark.parametrize("sign", [1, -1])
def test_fp32_rounds_to_nearest_even_over_the_whole_range(sign):
    draw = random.Random(1)
    for _ in range(5000):
        value = (
            sign * Fraction(draw.getrandbits(60) + 1, draw.getrandbits(60) + 1) * Fraction(2) ** draw.randint(-170, 128)
        )
        got = division.fp32(value)
        pattern = np.array([got], dtype=np.float32).view(np.uint32).tolist()[0]
        assert pattern == oracle.encode(value, oracle.FLOAT32, negative=value < 0)


def test_fp32_breaks_ties_to_even():
    ulp = Fraction(1, 2**23)
    assert division.fp32(1 + ulp / 2) == 1.0
    assert division.fp32(1 + 3 * ulp / 2) == float(1 + 2 * ulp)
    # Just above a midpoint by less than float64 can hold: rounding twice would give 1.
    assert division.fp32(1 + ulp / 2 + Fraction(1, 2**80)) == float(1 + ulp)


def test_zeros_keep_their_sign():
    """A small negative number divided by a large one is -0, which an FMA of the quotient and the constants is not."""
    plan = division.plan((1e-30,) * 3, (2.0**120,) * 3)
    got = [division.evaluate(plan, 0, code) for code in division.CODES]
    wanted = [
        oracle.steps(fastnorm.Normalization(1e-30, 2.0**120, allow_unusual=True), 0, code).y for code in division.CODES
    ]
    assert wanted[0] == 0x80000000
    assert fp32_patterns(got) == wanted


def test_values_past_the_largest_float32_are_infinite():
    target = fastnorm.Normalization(1e10, 1e-38, allow_unusual=True)
    plan = division.plan(target.mean, target.std)
    got = [division.evaluate(plan, 0, code) for code in division.CODES]
    assert fp32_patterns(got) == [oracle.steps(target, 0, code).y for code in division.CODES]
    assert got[0] == -float("inf")
