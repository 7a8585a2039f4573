"""The interpreter of PTX itself: exact arithmetic, and a fault for everything that a kernel must not do."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from fastnorm_kernels import division
from ptx import Counts, Fault, Kernel, Memory, arithmetic, interpreter

pytestmark = pytest.mark.compat

MODULE = """
.visible .entry kernel(
    .param .u64 .ptr .global .align 1 kernel_param_0,
    .param .u64 .ptr .global .align 1 kernel_param_1
)
.reqntid {threads}
{{
    .reg .pred %p<9>;
    .reg .b16 %rs<9>;
    .reg .b32 %r<9>;
    .reg .b64 %rd<9>;
    ld.param.b64 %rd1, [kernel_param_0];
    ld.param.b64 %rd2, [kernel_param_1];
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd3, %r1, 4;
    add.s64 %rd4, %rd1, %rd3; // this thread's element of the first array
    add.s64 %rd5, %rd2, %rd3; // and of the second
{body}
    ret;
}}
"""


def run(body, source=None, *, threads=32, shared=0, target=None, memory=None, counts=None):
    """One program over int32 arrays with an element a thread; returns the second array."""
    source = np.arange(threads, dtype=np.int32) if source is None else source
    target = np.zeros(threads, np.int32) if target is None else target
    if memory is None:
        memory = Memory()
        memory.add("source", source.ctypes.data, source.nbytes)
        memory.add("target", target.ctypes.data, target.nbytes, writable=True, due=True)
    addresses = [np.array([array.ctypes.data], np.uint64) for array in (source, target)]
    Kernel(MODULE.format(threads=threads, body=body), shared).launch((1, 1, 1), addresses, memory, counts=counts)
    memory.check_written()
    return target


COPY = "ld.global.b32 %r2, [%rd4]; st.global.b32 [%rd5], %r2;"


def floats(seed, count):
    """Float32 of all magnitudes, subnormal ones and infinities among them."""
    generator = np.random.default_rng(seed)
    anything = generator.integers(0, 2**32, count, dtype=np.uint64).astype(np.uint32).view(np.float32)
    small = generator.integers(0, 2**23, count).astype(np.uint32).view(np.float32)
    plain = np.ldexp(generator.integers(-(2**24), 2**24, count).astype(np.float32), generator.integers(-40, 20, count))
    chosen = generator.integers(0, 3, count)
    return np.where(chosen == 0, anything, np.where(chosen == 1, small, plain)).astype(np.float32)


def test_fma_rounds_once():
    """Also where the product nearly cancels the sum, and where the sum is a hair from the middle of two numbers."""
    a, b, c = (floats(seed, 6000) for seed in range(3))
    finite = np.isfinite(a) & np.isfinite(b) & np.isfinite(c)
    a, b, c = a[finite], b[finite], c[finite]
    with np.errstate(all="ignore"):
        product = a * b
        third = np.arange(len(a)) % 3
        c = np.where((third == 1) & np.isfinite(product), -product, c)
        half = np.spacing(np.abs(c)) / 2
        b = np.where(third == 2, half * np.float32(1 + 2**-23), b)
        a = np.where(third == 2, np.where(a > 0, np.float32(1 - 2**-23), np.float32(1)), a)
        got, twice = arithmetic.fma32(a, b, c), (a.astype(np.float64) * b + c).astype(np.float32)
    exact = [
        division.fp32(Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)))
        for x, y, z in zip(a, b, c, strict=True)
    ]
    assert np.array_equal(got, np.array(exact, np.float32))
    assert (twice != got).any(), "the cases are not hard enough to tell"


@pytest.mark.parametrize(
    ("convert", "dtype"), [(arithmetic.bf16_bits, torch.bfloat16), (arithmetic.fp16_bits, torch.float16)], ids=str
)
def test_narrowing_rounds_to_nearest_even(convert, dtype):
    values = floats(3, 50_000)
    values[:4] = [65504, 65519.996, 65520, -np.inf]
    with np.errstate(all="ignore"):
        got = convert(values).astype(np.uint16)
    expected = torch.from_numpy(values).to(dtype)
    number = ~expected.isnan().numpy()
    assert np.array_equal(got[number], expected.view(torch.int16).numpy().view(np.uint16)[number])
    assert (got[~number] == 0x7FFF).all()


@pytest.mark.parametrize(
    ("kind", "convert", "dtype"),
    [("bf16", arithmetic.from_bf16_bits, torch.bfloat16), ("f16", arithmetic.from_fp16_bits, torch.float16)],
)
def test_widening_is_exact(kind, convert, dtype):
    bits = np.arange(1 << 16, dtype=np.uint16)
    expected = torch.from_numpy(bits).view(dtype).float()
    assert torch.equal(torch.from_numpy(convert(bits)).nan_to_num(nan=7.0), expected.nan_to_num(nan=7.0))
    chosen = bits[::64].astype(np.int32)
    got = run(f"ld.global.b16 %rs1, [%rd4]; cvt.f32.{kind} %r2, %rs1; st.global.b32 [%rd5], %r2;", chosen, threads=1024)
    assert torch.equal(torch.from_numpy(got.view(np.float32)).nan_to_num(nan=7.0), expected[::64].nan_to_num(nan=7.0))


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.uint64])
def test_integers_are_divided_towards_zero_and_multiplied_in_full(dtype):
    limits, generator = np.iinfo(dtype), np.random.default_rng(0)
    a, b = (generator.integers(limits.min, limits.max, 500, dtype=dtype) for _ in range(2))
    b[::2] = b[::2] % 1000 + 1
    exact = [(int(x), int(y)) for x, y in zip(a, b, strict=True)]
    quotients = [abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1) for x, y in exact]
    assert arithmetic.divide(a, b).tolist() == quotients
    assert arithmetic.remainder(a, b).tolist() == [x - q * y for (x, y), q in zip(exact, quotients, strict=True)]
    if limits.bits < 64:
        assert arithmetic.multiply_high(a, b).tolist() == [(x * y) >> limits.bits for x, y in exact]


def bytes_of(x):
    return x.view(np.uint8).reshape(-1, 4).astype(np.int32)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("shl.b32 %r3, %r2, 33;", lambda x: 0 * x),
        ("shr.s32 %r3, %r2, 40;", lambda x: np.where(x < 0, -1, 0)),
        ("shr.u32 %r3, %r2, 4;", lambda x: (x.view(np.uint32) >> 4).view(np.int32)),
        ("prmt.b32 %r3, %r2, 0, 0x4441U;", lambda x: (x.view(np.uint32) >> 8 & 255).view(np.int32)),
        ("bfe.s32 %r3, %r2, 8, 8;", lambda x: x.view(np.int8)[1::4].astype(np.int32)),
        ("dp2a.lo.u32.u32 %r3, 0x00030001, %r2, 7;", lambda x: bytes_of(x) @ [1, 3, 0, 0] + 7),
        ("dp2a.hi.s32.u32 %r3, 0xFFFF0002, %r2, 7;", lambda x: bytes_of(x) @ [0, 0, 2, -1] + 7),
        (
            "shr.s32 %r4, %r2, 15; cvt.pack.sat.u8.s32.b32 %r3, 300, %r4, 0x70007;",
            lambda x: (x >> 15).clip(0, 255) | 255 << 8 | 7 << 16,
        ),
        ("shr.s32 %r4, %r2, 15; min.relu.s32 %r3, %r4, 99;", lambda x: (x >> 15).clip(0, 99)),
        ("dp4a.u32.u32 %r3, %r2, 0x01010101, 7;", lambda x: bytes_of(x).sum(1, np.int32) + 7),
        ("max.s32 %r3, %r2, 0;", lambda x: np.maximum(x, 0)),
        ("mad.lo.s32 %r3, %r2, 3, %r2;", lambda x: 4 * x),
        ("setp.lt.u32 %p1, %r2, 9; selp.b32 %r3, 1, 2, %p1;", lambda x: np.where(x.view(np.uint32) < 9, 1, 2)),
        ("cvt.s64.s32 %rd6, %r2; mov.b64 {%r4, %r3}, %rd6;", lambda x: np.where(x < 0, -1, 0)),
        ("cvt.rn.f32.s32 %r4, %r2; cvt.rzi.s32.f32 %r3, %r4;", lambda x: np.array([int(np.float32(v)) for v in x])),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else "",
)  # fmt: skip
def test_an_instruction(line, expected):
    source = np.random.default_rng(1).integers(-(2**24), 2**24, 32).astype(np.int32)
    got = run(f"ld.global.b32 %r2, [%rd4]; {line} st.global.b32 [%rd5], %r3;", source)
    assert np.array_equal(got, expected(source))


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [("eq", 0b001), ("ne", 0b010), ("lt", 0b010), ("nan", 0b100)],
)
def test_comparisons_with_nan(comparison, expected):
    """Of 1 with 1, with 2 and with NaN."""
    source = np.resize(np.array([1, 2, np.nan], np.float32), 32)
    line = f"mov.b32 %r4, 0f3F800000; setp.{comparison}.f32 %p1, %r4, %r2; selp.b32 %r3, 1, 0, %p1;"
    got = run(f"ld.global.b32 %r2, [%rd4]; {line} st.global.b32 [%rd5], %r3;", source.view(np.int32))
    assert [got[0], got[1], got[2]] == [expected & 1, expected >> 1 & 1, expected >> 2]


def test_threads_part_and_meet_again():
    """Each thread adds its number as often as its number says."""
    body = """
    mov.b32 %r2, 0;
    mov.b32 %r3, 0;
    $again:
    setp.ge.u32 %p1, %r3, %r1;
    @%p1 bra $done;
    add.s32 %r2, %r2, %r1;
    add.s32 %r3, %r3, 1;
    bra $again;
    $done:
    st.global.b32 [%rd5], %r2;"""
    counts = Counts()
    assert np.array_equal(run(body, counts=counts), np.arange(32) ** 2)
    assert counts.warps["add.s32"] == 2 * 31
    assert counts.accesses["st", 4].requests == 1, "all threads have met"


def test_requests_and_sectors_are_counted():
    counts = Counts()
    run(COPY, counts=counts, threads=64)
    for kind in ("ld", "st"):
        assert counts.accesses[kind, 4].requests == 2
        assert counts.sectors(kind) in (8, 9)  # 256 bytes from anywhere


SWAP = """
    shl.b32 %r3, %r1, 2;
    xor.b32 %r4, %r3, 4;
    st.shared.b32 [%r3], %r1;
    {barrier}
    ld.shared.b32 %r2, [%r4];
    st.global.b32 [%rd5], %r2;"""


def test_shared_memory_behind_a_barrier():
    assert np.array_equal(run(SWAP.format(barrier="bar.sync 0;"), shared=128), np.arange(32) ^ 1)


FAULTS = {
    "out of bounds: 1 of 32 lanes; lane 31 is at byte 128 of source": "ld.global.b32 %r2, [%rd4+4];",
    "misaligned access of 4 bytes": "ld.global.b32 %r2, [%rd4+2];",
    "read of uninitialised bytes of target": "ld.global.b32 %r2, [%rd5];",
    "race: read of what this launch has written to target": COPY + "ld.global.b32 %r2, [%rd5];",
    "race: target is written again, with other bytes": COPY + "st.global.b32 [%rd5], -1;",
    "race: lanes write different bytes to the same place of target": "st.global.b32 [%rd2], %r1;",
    "write to source, which is only read": "st.global.b32 [%rd4], 0;",
    "target: 4 bytes of elements are not written": "setp.ne.u32 %p1, %r1, 5; @%p1 st.global.b32 [%rd5], %r1;",
    "shared-memory race: read of what another thread": SWAP.format(barrier=""),
    "shared-memory race: written over": "mov.b32 %r2, 0; st.shared.b32 [%r2], %r1;",
    "read of uninitialised shared memory": "mov.b32 %r2, 0; ld.shared.b32 %r3, [%r2];",
    "out of bounds of shared memory": "mov.b32 %r2, 128; ld.shared.b32 %r3, [%r2];",
    "divergent barrier": "setp.lt.u32 %p1, %r1, 7; @%p1 bar.sync 0;",
    "divergent barrier: threads of a program wait at others": (
        "setp.lt.u32 %p1, %r1, 7; @%p1 bra $a; bar.sync 0; bra $b; $a: bar.sync 0; $b:"
    ),
    "register that nothing has been written to": "add.s32 %r2, %r3, 1;",
    "division of an integer by zero": "mov.b32 %r2, 0; div.s32 %r3, %r1, %r2;",
    "unknown instruction: sin.approx.f32 %r2, %r1": "sin.approx.f32 %r2, %r1;",
    "unknown instruction: mul.hi.s64 %rd6, %rd1, %rd2": "mul.hi.s64 %rd6, %rd1, %rd2;",
    "unknown instruction: setp.ltu.f32 %p1, %r2, %r2": "setp.ltu.f32 %p1, %r2, %r2;",
    "unknown instruction: add.ftz.f32 %r2, %r1, %r1": "add.ftz.f32 %r2, %r1, %r1;",
    "unknown instruction: add.f32 %r2, %r1, %r1": "add.f32 %r2, %r1, %r1;",
    "unknown instruction: ld.volatile.global.b32 %r2": "ld.volatile.global.b32 %r2, [%rd4];",
    "does not end": "$again: bra $again;",
    "kernel: does not end": "setp.lt.u32 %p1, %r1, 7; $again: @%p1 bra $part; bra $again; $part: bra $again;",
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_fault(message, monkeypatch):
    monkeypatch.setattr(interpreter, "MOST_STEPS", 1000)
    with pytest.raises(Fault) as fault:
        run(FAULTS[message], shared=128)
    assert message in str(fault.value)


def test_lanes_may_write_the_same_bytes_twice():
    run(f"{COPY} st.global.b32 [%rd5], %r2;")


def test_memory_between_elements_is_not_touched():
    buffer = torch.zeros(64, dtype=torch.int32)
    target = np.zeros(32, np.int32)
    memory = Memory()
    memory.add_tensor("every second", buffer[::2])
    memory.add("target", target.ctypes.data, target.nbytes, writable=True)
    with pytest.raises(Fault, match="read between the elements of every second"):
        run(COPY, buffer.numpy(), target=target, memory=memory)


def test_views_of_one_buffer_may_lie_between_each_other_s_elements():
    buffer = np.zeros(64, np.int32)
    memory = Memory()
    memory.add_tensor("even", torch.from_numpy(buffer)[::2])
    memory.add_tensor("odd", torch.from_numpy(buffer)[1::2], writable=True, due=True)
    body = "add.s64 %rd4, %rd4, %rd3; ld.global.b32 %r2, [%rd4]; st.global.b32 [%rd4+{at}], %r1;"
    run(body.format(at=4), buffer, memory=memory)
    assert np.array_equal(buffer[1::2], np.arange(32))
    with pytest.raises(Fault, match="write between the elements of even and odd"):
        run(body.format(at=0), buffer, memory=memory)
