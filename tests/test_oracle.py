"""The exact judge: its rounding against numpy's and torch's, its tables against the reference."""

import itertools
import math
import random
import struct
from fractions import Fraction

import numpy as np
import pytest
import torch

import fastnorm
from fastnorm.spec.arguments import OUTPUT_DTYPES
from fastnorm.spec.normalization import PRESETS
from fastnorm.verification import oracle

EXTREMES = {
    "overflow": fastnorm.Normalization(0.0, 1e-45),
    "subnormal results": fastnorm.Normalization(0.5, 1e38, allow_unusual=True),
    "negative zero": fastnorm.Normalization(1e-30, 1e38, allow_unusual=True),
    "float16 overflow": fastnorm.Normalization(-0.5, 1e-5),
    "exact zero": fastnorm.Normalization(1.0, 0.25),
}


def some_doubles():
    """Doubles over the whole range of every format, many of them near ties and at the borders."""
    source = random.Random(7)
    for exponent in range(-160, 130):
        for _ in range(6):
            yield math.ldexp(source.choice((-1, 1)) * (1 + source.random()), exponent)
            # A mantissa of few bits is a tie for some format.
            yield math.ldexp(source.getrandbits(25) | 1, exponent - 24)
            yield math.ldexp(source.getrandbits(12) | 1, exponent - 11)


@pytest.mark.parametrize(("dtype", "word"), [(np.float32, np.uint32), (np.float16, np.uint16)])
def test_encode_rounds_as_numpy_does(dtype, word):
    form = oracle.FLOAT32 if dtype is np.float32 else oracle.FORMATS[torch.float16]
    values = list(some_doubles())
    with np.errstate(over="ignore", under="ignore"):
        wanted = np.array(values).astype(dtype).view(word).tolist()
    assert [oracle.encode(Fraction(v), form, v < 0) for v in values] == wanted


def test_encode_rounds_to_bfloat16_as_torch_does():
    singles = torch.tensor(list(some_doubles()), dtype=torch.float32)
    singles = singles[singles.isfinite()]
    wanted = (oracle.bits(singles.to(torch.bfloat16)).int() & 0xFFFF).tolist()
    form = oracle.FORMATS[torch.bfloat16]
    got = [oracle.encode(Fraction(v), form, math.copysign(1, v) < 0) for v in singles.tolist()]
    assert got == wanted


def test_decode_gives_the_value_of_every_finite_float16():
    form = oracle.FORMATS[torch.float16]
    patterns = [p for p in range(1 << 16) if p & ~form.sign < form.infinity]
    wanted = np.array(patterns, dtype=np.uint16).view(np.float16).astype(np.float64).tolist()
    assert [float(oracle.decode(p, form)) for p in patterns] == wanted


@pytest.mark.parametrize("dtype", OUTPUT_DTYPES, ids=str)
@pytest.mark.parametrize("target", [*PRESETS.values(), *EXTREMES.values()], ids=[*PRESETS, *EXTREMES])
def test_table_has_the_references_bits(target, dtype):
    codes = torch.arange(256, dtype=torch.uint8).view(1, 256).expand(3, 1, 256)
    (wanted,) = fastnorm.reference.normalize(codes, [target], dtype=dtype, layout="CHW")
    table = oracle.table(target, dtype)
    assert table.dtype is dtype
    assert torch.equal(oracle.bits(table), oracle.bits(wanted.view(3, 256)))


def test_extremes_are_what_they_are_called():
    assert oracle.table(EXTREMES["overflow"], torch.float32)[0, 1] == math.inf
    assert math.copysign(1, oracle.table(EXTREMES["negative zero"], torch.bfloat16)[0, 0]) == -1
    assert oracle.table(EXTREMES["float16 overflow"], torch.float16)[0, 255] == math.inf
    assert oracle.bits(oracle.table(EXTREMES["exact zero"], torch.float32))[0, 255] == 0
    smallest = oracle.table(EXTREMES["subnormal results"], torch.float32)[0, 0]
    assert -np.finfo(np.float32).tiny < smallest < 0


def test_steps_are_the_float32_operations_one_by_one():
    for channel, code in itertools.product(range(3), (0, 17, 255)):
        mean, std = np.float32(fastnorm.CLIP.mean[channel]), np.float32(fastnorm.CLIP.std[channel])
        q = np.float32(code) / np.float32(255)
        wanted = [q, q - mean, (q - mean) / std]
        got = [oracle.as_float(pattern) for pattern in oracle.steps(fastnorm.CLIP, channel, code)]
        assert got == [float(value) for value in wanted]


def test_as_float_reads_a_pattern():
    assert oracle.as_float(struct.unpack("<I", struct.pack("<f", -0.15625))[0]) == -0.15625
