"""uint8 images of any sizes to resized, cropped and normalised batches: the Triton kernels, Pillow's arithmetic.

An image is filtered along one axis, rounded to uint8, then filtered along the other. Each pass computes, for an output
pixel p of a channel,

    code[p] = clip((2**21 + sum over t < taps of coefficient[p, t] * source[start[p] + t]) >> 22, 0, 255)

in int32, which no order of the taps overflows. A *line* is what the first pass runs along: a row of the image, or a
column where the vertical pass comes first. The second pass runs across the lines and looks the normalised value of
each code up.

What is to be done is said by records of int64 numbers, one per job, with the images' addresses in them; a launch has
one program index per job, so that images of any sizes, strides and places share it. A job's coefficients lie in a table
indexed by the pixels of the crop: padding is pixels whose coefficients are all zero, and a mirrored axis is a table in
reverse. Tables and lines are padded to whole tiles, so neither is ever masked. Compile with
`enable_fp_fusion=False`: the tables are float64 arithmetic to the last bit.
"""

import triton
import triton.language as tl
from triton.language.target_info import is_cuda

from ._normalize_kernels import _byte
from .jobs import LineJob, OutputJob, Pixels, TableJob, Weight

_INTERLEAVED = tl.constexpr(int(Pixels.INTERLEAVED))
_PLANAR = tl.constexpr(int(Pixels.PLANAR))
_STRIDED = tl.constexpr(int(Pixels.STRIDED))
_BOX = tl.constexpr(int(Weight.BOX))
_BILINEAR = tl.constexpr(int(Weight.BILINEAR))

# Before 3.8, Triton has neighbours in a column as neighbouring threads where it knows nothing of the addresses, unless
# it is told something of neighbours in a row. What it is told is not true of codes. Those releases make no load wider
# for it, since that would take an alignment too; later ones, which need not be told, are not.
_HINTED = tl.constexpr(tuple(map(int, triton.__version__.split(".")[:2])) < (3, 8))

_TABLE_JOB = tl.constexpr(len(TableJob._fields))
_LINE_JOB = tl.constexpr(len(LineJob._fields))
_OUTPUT_JOB = tl.constexpr(len(OutputJob._fields))

# Some of NVIDIA's instructions are written in inline assembly, which Triton's interpreter does not know. There, and on
# AMD's GPUs, plain arithmetic does the same.
_COMPILED = tl.constexpr(not triton.knobs.runtime.interpret)

_FRACTION_BITS = tl.constexpr(22)  # of a coefficient
_ONE = tl.constexpr(1 << 22)
_HALF = tl.constexpr(1 << 21)


def _launch_metadata(grid, metadata, args):
    """What profilers show of a launch: the variant's name, and how many jobs it does."""
    variant = [str(args["values_ptr"].dtype).removeprefix("torch.")] if "values_ptr" in args else []
    variant += [f"{name.lower()}_{args[name]}" for name in ("PIXELS", "VECTOR") if name in args]
    return {"name": "_".join([metadata.name.strip("_").removesuffix("_kernel"), *variant, f"x{grid[2]}"])}


@triton.jit
def _record(jobs_ptr, LENGTH: tl.constexpr):
    return jobs_ptr + tl.program_id(2).to(tl.int64) * LENGTH


@triton.jit
def _table_job(jobs_ptr):
    """The fields of `jobs.TableJob`, in its order."""
    field = _record(jobs_ptr, _TABLE_JOB)
    return (
        tl.load(field),
        tl.load(field + 1).to(tl.int32),
        tl.load(field + 2).to(tl.int32),
        tl.load(field + 3).to(tl.int32),
        tl.load(field + 4).to(tl.int32),
        tl.load(field + 5).to(tl.int32),
        tl.load(field + 6).to(tl.int32),
        tl.load(field + 7).to(tl.int32),
        tl.load(field + 8).to(tl.int32),
        tl.load(field + 9).to(tl.int32),
        tl.load(field + 10).to(tl.int32),
    )


@triton.jit
def _line_job(jobs_ptr):
    """The fields of `jobs.LineJob`, in its order."""
    field = _record(jobs_ptr, _LINE_JOB)
    return (
        tl.load(field),
        tl.load(field + 1),
        tl.load(field + 2),
        tl.load(field + 3),
        tl.load(field + 4).to(tl.int32),
        tl.load(field + 5),
        tl.load(field + 6).to(tl.int32),
        tl.load(field + 7).to(tl.int32),
        tl.load(field + 8),
    )


@triton.jit
def _output_job(jobs_ptr, VECTOR: tl.constexpr):
    """The fields of `jobs.OutputJob`, in its order. What is said of a value has to be said where it is loaded."""
    field = _record(jobs_ptr, _OUTPUT_JOB)
    return (
        tl.multiple_of(tl.load(field), 4),
        tl.multiple_of(tl.load(field + 1).to(tl.int32), 4),
        tl.load(field + 2),
        tl.load(field + 3).to(tl.int32),
        tl.load(field + 4).to(tl.int32),
        tl.load(field + 5),
        tl.load(field + 6),
        tl.load(field + 7),
        tl.multiple_of(tl.load(field + 8), VECTOR),
        tl.multiple_of(tl.load(field + 9), VECTOR),
        tl.multiple_of(tl.load(field + 10).to(tl.int32), VECTOR),
        tl.load(field + 11).to(tl.int32),
    )


@triton.jit
def _weight(x, kind):
    distance = tl.abs(x)
    box = tl.where((x > -0.5) & (x <= 0.5), 1.0, 0.0).to(tl.float64)
    bilinear = tl.where(distance < 1.0, 1.0 - distance, 0.0)
    near = (1.5 * distance - 2.5) * distance * distance + 1.0
    far = (((distance - 5.0) * distance + 8.0) * distance - 4.0) * -0.5
    bicubic = tl.where(distance < 1.0, near, tl.where(distance < 2.0, far, 0.0))
    return tl.where(kind == _BOX, box, tl.where(kind == _BILINEAR, bilinear, bicubic))


@triton.jit
def _product(x, y):
    """x * y for numbers from 0 to 2^32: with a sum, one instruction instead of five."""
    return (tl.cast(x, tl.uint32).to(tl.uint64) * tl.cast(y, tl.uint32).to(tl.uint64)).to(tl.int64)


@triton.jit
def _eight_ptr(table, pitch, taps, COLS: tl.constexpr):
    """Where a program's first eight begins, in a table whose coefficients are split: see `_tables_kernel`."""
    tile = _product(tl.program_id(0) * ((taps >> 3) + 1), COLS * 24)
    return (table + pitch.to(tl.int64) * 4 + tile).to(tl.pointer_type(tl.int64))


@triton.jit(do_not_specialize_on_alignment=["jobs_ptr"], launch_metadata=_launch_metadata)
def _tables_kernel(jobs_ptr, PIXELS: tl.constexpr, TAPS: tl.constexpr):
    """Pillow's coefficients: weights in float64, divided by their sum, rounded to fixed point.

    Program (i, _, job) owns pixels [i * PIXELS, (i + 1) * PIXELS) of one table, all taps. A table begins with the first
    tap of each of its `pitch` pixels, in int32. Then come the coefficients: in int32 as (pairs, pitch, 2); or, if
    `split`, one program's after the other's, by eights of taps, in the first of which the first four are left out. An
    eight is the lower 16 bits of its coefficients as (2, PIXELS, 4), then what is above these as (PIXELS, 8): signed
    bytes, since no coefficient comes to 2. So the loads of a step lie at fixed distances from one another.
    """
    table, pitch, taps, source, resized, kind, origin, direction, low, high, split = _table_job(jobs_ptr)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    if tl.program_id(0) * PIXELS < pitch:
        shown = origin + direction * pixel
        at = tl.minimum(tl.maximum(shown, low), high)
        scale = source.to(tl.float64) / resized.to(tl.float64)
        stretch = tl.maximum(scale, 1.0)
        support = tl.where(kind == _BOX, 0.5, tl.where(kind == _BILINEAR, 1.0, 2.0)).to(tl.float64) * stretch
        inverse = 1.0 / stretch
        centre = (at.to(tl.float64) + 0.5) * scale
        first = tl.maximum((centre - support + 0.5).to(tl.int32), 0)
        stop = tl.minimum((centre + support + 0.5).to(tl.int32), source)

        total = tl.zeros((PIXELS,), tl.float64)
        for t in range(taps + 1):  # one more than has a coefficient: see `resize._taps`
            x = first + t
            weight = _weight((x.to(tl.float64) - centre + 0.5) * inverse, kind)
            total += tl.where(x < stop, weight, 0.0)
        total = tl.where(total == 0.0, 1.0, total)

        # Pushed back from the line's end, so that every tap lies within the line.
        start = tl.minimum(first, tl.maximum(source - taps, 0))
        table_ptr = table.to(tl.pointer_type(tl.int32))
        tl.store(table_ptr + pixel, start)
        for block in range(0, taps, TAPS):
            tap = block + tl.arange(0, TAPS)[:, None]
            x = start[None, :] + tap
            weight = _weight((x.to(tl.float64) - centre[None, :] + 0.5) * inverse, kind) / total[None, :]
            fixed = (tl.where(weight < 0.0, -0.5, 0.5).to(tl.float64) + weight * _ONE).to(tl.int32)
            counts = (x >= first[None, :]) & (x < stop[None, :]) & (shown == at)[None, :]
            fixed = tl.where(counts, fixed, 0)
            if split:
                slot = tap + 4
                eight = _eight_ptr(table, pitch, taps, PIXELS) + (slot // 8).to(tl.int64) * (3 * PIXELS)
                lower = (slot % 8 // 4 * PIXELS + tl.arange(0, PIXELS)[None, :]) * 4 + slot % 4
                upper = (2 * PIXELS + tl.arange(0, PIXELS)[None, :]) * 8 + slot % 8
                tl.store(eight.to(tl.pointer_type(tl.int16)) + lower, fixed.to(tl.int16), mask=tap < taps)
                tl.store(eight.to(tl.pointer_type(tl.int8)) + upper, (fixed >> 16).to(tl.int8), mask=tap < taps)
            else:
                place = pitch + ((tap // 2).to(tl.int64) * pitch + pixel[None, :]) * 2 + tap % 2
                tl.store(table_ptr + place, fixed, mask=tap < taps)


@triton.jit
def _aligned(before):
    """The aligned word of the byte before some pixels, and at which of its bits these begin: 8 to 32."""
    return before & -4, (before.to(tl.uint32) & 3) * 8 + 8


@triton.jit
def _funnel(low, high, shift):
    """The word that begins `shift` bits into two words."""
    return (((high.to(tl.uint64) << 32) | low.to(tl.uint64)) >> shift.to(tl.uint64)).to(tl.uint32)


@triton.jit
def _each_turn(pixels, TURNS: tl.constexpr):
    """What belongs to the pixels of a turn, for each pixel of a tile."""
    return tl.broadcast_to(pixels[None, :], (TURNS, pixels.shape[0])).reshape((TURNS * pixels.shape[0],))


@triton.jit
def _two_taps(pair_ptr):
    """The coefficients of two taps, which lie in the halves of one 64-bit word."""
    pair = tl.load(pair_ptr)
    return pair.to(tl.int32), (pair >> 32).to(tl.int32)


@triton.jit
def _permuted(x, y, SELECTOR: tl.constexpr):
    """Four of the eight bytes of two words, by NVIDIA's `prmt`."""
    return tl.inline_asm_elementwise(
        "prmt.b32 $0, $1, $2, " + SELECTOR + ";", "=r,r,r", [x, y], dtype=tl.uint32, is_pure=True, pack=1
    )


@triton.jit
def _four_taps(low, high, TURNS: tl.constexpr):
    """Four coefficients, as `_add_taps` takes them: for dot products, two words of lower halves and one of the rest."""
    low01 = low.to(tl.int32)
    low23 = (low >> 32).to(tl.int32)
    if _COMPILED and is_cuda():
        return _each_turn(low01, TURNS), _each_turn(low23, TURNS), _each_turn(high, TURNS), _each_turn(high, TURNS)
    else:
        c0 = (low01 & 0xFFFF) | (high << 24 >> 8)
        c1 = ((low01 >> 16) & 0xFFFF) | (high << 16 >> 24 << 16)
        c2 = (low23 & 0xFFFF) | (high << 8 >> 24 << 16)
        c3 = ((low23 >> 16) & 0xFFFF) | (high >> 24 << 16)
        return _each_turn(c0, TURNS), _each_turn(c1, TURNS), _each_turn(c2, TURNS), _each_turn(c3, TURNS)


@triton.jit
def _add_taps(low, high, codes, k0, k1, k2, k3):
    """Four bytes times four coefficients, added to low + 2^16 high; all of it modulo 2^32."""
    if _COMPILED and is_cuda():
        low = tl.inline_asm_elementwise(
            "dp2a.lo.u32.u32 $0, $1, $2, $3;", "=r,r,r,r", [k0, codes, low], dtype=tl.int32, is_pure=True, pack=1
        )
        low = tl.inline_asm_elementwise(
            "dp2a.hi.u32.u32 $0, $1, $2, $3;", "=r,r,r,r", [k1, codes, low], dtype=tl.int32, is_pure=True, pack=1
        )
        high = tl.inline_asm_elementwise(
            "dp4a.s32.u32 $0, $1, $2, $3;", "=r,r,r,r", [k2, codes, high], dtype=tl.int32, is_pure=True, pack=1
        )
    else:
        low += k0 * _byte(codes, 0) + k1 * _byte(codes, 1) + k2 * _byte(codes, 2) + k3 * _byte(codes, 3)
    return low, high


@triton.jit
def _channels(x0, x1, x2):
    """Four pixels' twelve bytes as a word of each channel."""
    if _COMPILED and is_cuda():
        r = _permuted(_permuted(x0, x1, "0x0630"), x2, "0x5210")
        g = _permuted(_permuted(x0, x1, "0x0741"), x2, "0x6210")
        b = _permuted(_permuted(x0, x1, "0x0052"), x2, "0x7410")
    else:
        r = (x0 & 0xFF) | ((x0 >> 24) << 8) | (x1 & 0xFF0000) | ((x2 & 0xFF00) << 16)
        g = ((x0 >> 8) & 0xFF) | ((x1 & 0xFF) << 8) | ((x1 >> 24) << 16) | ((x2 & 0xFF0000) << 8)
        b = ((x0 >> 16) & 0xFF) | (x1 & 0xFF00) | ((x2 & 0xFF) << 16) | (x2 & 0xFF000000)
    return r, g, b


@triton.jit
def _interleaved_step(w0, w1, w2, w3, shift, low, high, rl, rh, gl, gh, bl, bh, TURNS: tl.constexpr):
    r, g, b = _channels(_funnel(w0, w1, shift), _funnel(w1, w2, shift), _funnel(w2, w3, shift))
    k0, k1, k2, k3 = _four_taps(low, high, TURNS)
    rl, rh = _add_taps(rl, rh, r, k0, k1, k2, k3)
    gl, gh = _add_taps(gl, gh, g, k0, k1, k2, k3)
    bl, bh = _add_taps(bl, bh, b, k0, k1, k2, k3)
    return rl, rh, gl, gh, bl, bh


@triton.jit
def _two_words(ptr):
    two = tl.load(ptr)
    return two.to(tl.uint32), (two >> 32).to(tl.uint32)


@triton.jit
def _sum_interleaved(total, before, turn, low, high, eight_ptr, taps, COLS: tl.constexpr, TURNS: tl.constexpr):
    """Three channels' sums, four pixels a step: twelve bytes, cut out of four aligned words, the last of which is kept.

    Each word that is read holds a byte of the pixels. Only the first might not, where they begin with the word after
    it: then it is not read, and all of it is shifted out. After the first step there are two at a time, of words that
    are loaded by twos, one of which holds a byte of the pixels: half as many loads, of which neighbours read words far
    apart. Where the next word is the second of two it is loaded alone, and then the last of each step is kept.
    """
    word, shift = _aligned(before)
    word = _each_turn(word, TURNS) + turn
    shift = _each_turn(shift, TURNS)
    word_ptr = word.to(tl.pointer_type(tl.uint32))
    w0 = tl.load(word_ptr, mask=shift != 32, other=0)
    w1 = tl.load(word_ptr + 1)
    w2 = tl.load(word_ptr + 2)
    w3 = tl.load(word_ptr + 3)
    none = tl.zeros(total.shape, tl.int32)
    rl, rh, gl, gh, bl, bh = _interleaved_step(
        w0, w1, w2, w3, shift, low, high, total, none, total, none, total, none, TURNS
    )
    if taps > 4:
        second = word & 4 != 0
        kept = tl.load(word_ptr + 4, mask=second, other=0)
        two_ptr = ((word + 20) & -8).to(tl.pointer_type(tl.uint64))
        for _ in range(4, taps, 8):
            eight_ptr += 3 * COLS
            a, b = _two_words(two_ptr)
            c, d = _two_words(two_ptr + 1)
            e, f = _two_words(two_ptr + 2)
            two_ptr += 3
            w4 = tl.where(second, kept, a)
            w5 = tl.where(second, a, b)
            w6 = tl.where(second, b, c)
            w7 = tl.where(second, c, d)
            w8 = tl.where(second, d, e)
            w9 = tl.where(second, e, f)
            high0, high1 = _two_taps(eight_ptr + 2 * COLS)
            rl, rh, gl, gh, bl, bh = _interleaved_step(
                w3, w4, w5, w6, shift, tl.load(eight_ptr), high0, rl, rh, gl, gh, bl, bh, TURNS
            )
            rl, rh, gl, gh, bl, bh = _interleaved_step(
                w6, w7, w8, w9, shift, tl.load(eight_ptr + COLS), high1, rl, rh, gl, gh, bl, bh, TURNS
            )
            w3 = w9
            kept = f
    return rl + (rh << 16), gl + (gh << 16), bl + (bh << 16)


@triton.jit
def _moved(address, BYTES: tl.constexpr):
    """address + BYTES, in a way that keeps the compiler from keeping sums with it in registers of their own."""
    if _COMPILED and is_cuda():
        return tl.inline_asm_elementwise(
            "add.s64 $0, $1, $2;", "=l,l,l", [address, tl.full((1,), BYTES, tl.int64)], tl.int64, is_pure=True, pack=1
        )
    else:
        return address + BYTES


@triton.jit
def _plane_words(word, to_g, to_b):
    """Where the words of three planes lie: at a word of the first, and as far from it as the others begin."""
    r_ptr = word.to(tl.pointer_type(tl.uint32))
    return r_ptr, (word + to_g).to(tl.pointer_type(tl.uint32)), (word + to_b).to(tl.pointer_type(tl.uint32))


@triton.jit
def _planar_step(r_ptr, g_ptr, b_ptr, rs, gs, bs, r0, g0, b0, low, high, rl, rh, gl, gh, bl, bh, TURNS: tl.constexpr):
    r1 = tl.load(r_ptr)
    g1 = tl.load(g_ptr)
    b1 = tl.load(b_ptr)
    k0, k1, k2, k3 = _four_taps(low, high, TURNS)
    rl, rh = _add_taps(rl, rh, _funnel(r0, r1, rs), k0, k1, k2, k3)
    gl, gh = _add_taps(gl, gh, _funnel(g0, g1, gs), k0, k1, k2, k3)
    bl, bh = _add_taps(bl, bh, _funnel(b0, b1, bs), k0, k1, k2, k3)
    return r1, g1, b1, rl, rh, gl, gh, bl, bh


@triton.jit
def _sum_planar(total, before, channel_step, turn, low, high, eight_ptr, taps, COLS: tl.constexpr, TURNS: tl.constexpr):
    """Three channels' sums, four pixels a step: likewise cut out of two aligned words of each plane."""
    r_word, rs = _aligned(before)
    g_word, gs = _aligned(before + channel_step)
    b_word, bs = _aligned(before + 2 * channel_step)
    to_g = _each_turn(g_word - r_word, TURNS)
    to_b = _each_turn(b_word - r_word, TURNS)
    rs = _each_turn(rs, TURNS)
    gs = _each_turn(gs, TURNS)
    bs = _each_turn(bs, TURNS)
    word = _each_turn(r_word, TURNS) + turn
    r_ptr, g_ptr, b_ptr = _plane_words(word, to_g, to_b)
    r = tl.load(r_ptr, mask=rs != 32, other=0)
    g = tl.load(g_ptr, mask=gs != 32, other=0)
    b = tl.load(b_ptr, mask=bs != 32, other=0)
    none = tl.zeros(total.shape, tl.int32)
    r, g, b, rl, rh, gl, gh, bl, bh = _planar_step(
        r_ptr + 1, g_ptr + 1, b_ptr + 1, rs, gs, bs, r, g, b,
        low, high, total, none, total, none, total, none, TURNS
    )  # fmt: skip
    for _ in range(4, taps, 8):
        word = _moved(word, 8)
        r_ptr, g_ptr, b_ptr = _plane_words(word, to_g, to_b)
        eight_ptr += 3 * COLS
        high0, high1 = _two_taps(eight_ptr + 2 * COLS)
        r, g, b, rl, rh, gl, gh, bl, bh = _planar_step(
            r_ptr, g_ptr, b_ptr, rs, gs, bs, r, g, b,
            tl.load(eight_ptr), high0, rl, rh, gl, gh, bl, bh, TURNS
        )  # fmt: skip
        r, g, b, rl, rh, gl, gh, bl, bh = _planar_step(
            r_ptr + 1, g_ptr + 1, b_ptr + 1, rs, gs, bs, r, g, b,
            tl.load(eight_ptr + COLS), high1, rl, rh, gl, gh, bl, bh, TURNS
        )  # fmt: skip
    return rl + (rh << 16), gl + (gh << 16), bl + (bh << 16)


@triton.jit
def _sum_strided(total, address, coefficient_ptr, pitch, taps, step, TURNS: tl.constexpr):
    """One channel's sum, byte by byte."""
    for tap in range(taps):
        code = tl.load(address.to(tl.pointer_type(tl.uint8)))
        coefficient = tl.load(coefficient_ptr + (tap >> 1) * (2 * pitch.to(tl.int64)) + (tap & 1))
        total += _each_turn(coefficient, TURNS) * code.to(tl.int32)
        address += step
    return total


@triton.jit
def _after(address, times, step):
    """address + times * step, with factors from 0 to 2^32."""
    if _COMPILED and is_cuda():
        return tl.inline_asm_elementwise(
            "mad.wide.u32 $0, $1, $2, $3;", "=l,r,r,l", [times, step, address], dtype=tl.int64, is_pure=True, pack=1
        )
    else:
        return address + _product(times, step)


@triton.jit
def _code(total):
    return tl.minimum(tl.maximum(total >> _FRACTION_BITS, 0), 255)


@triton.jit
def _packed(a, b, rest):
    """b and a, clipped to bytes, and above them the lower half of the rest, by NVIDIA's `cvt.pack`."""
    return tl.inline_asm_elementwise(
        "cvt.pack.sat.u8.s32.b32 $0, $1, $2, $3;", "=r,r,r,r", [a, b, rest], dtype=tl.int32, is_pure=True, pack=1
    )


@triton.jit
def _pixel(r, g, b):
    """A pixel of the intermediate: the codes of three sums."""
    if _COMPILED and is_cuda():
        rest = _packed(tl.zeros(b.shape, tl.int32), b >> _FRACTION_BITS, tl.zeros(b.shape, tl.int32))
        return _packed(g >> _FRACTION_BITS, r >> _FRACTION_BITS, rest)
    else:
        return _code(r) | (_code(g) << 8) | (_code(b) << 16)


@triton.jit(do_not_specialize_on_alignment=["jobs_ptr"], launch_metadata=_launch_metadata)
def _along_lines_kernel(jobs_ptr, intermediate_ptr, PIXELS: tl.constexpr, LINES: tl.constexpr, COLS: tl.constexpr):
    """The first pass: uint8 lines of an image to int32 lines of the intermediate, a pixel's three codes in each.

    Program (i, j, job) owns pixels [i * COLS, (i + 1) * COLS) of every line that it takes: LINES at a time, blocks j,
    j + programs, ... A thread keeps its pixels' columns, and so their coefficients, for several lines.
    """
    source, step, line_step, channel_step, lines, table, taps, pitch, intermediate = _line_job(jobs_ptr)
    if tl.program_id(0) * COLS < pitch:
        TURNS: tl.constexpr = LINES // 4
        # A tile is flat, line after line, so that neighbouring threads have neighbouring pixels. It is taken in turns
        # of four lines: all turns of a pixel begin at the same byte of a word, whatever the step between lines.
        pixel = tl.arange(0, 4 * COLS)
        line = pixel // COLS
        column = tl.program_id(0) * COLS + pixel % COLS
        turn = tl.arange(0, TURNS)
        turn = tl.broadcast_to(turn[:, None], (TURNS, 4 * COLS)).reshape((TURNS * 4 * COLS,))
        start = tl.load(table.to(tl.pointer_type(tl.int32)) + column)
        half = tl.full((TURNS * 4 * COLS,), _HALF, tl.int32)
        target = intermediate_ptr.to(tl.int64) + (intermediate + column) * 4
        if PIXELS == _STRIDED:
            coefficient_ptr = (table + pitch.to(tl.int64) * 4).to(tl.pointer_type(tl.int32)) + 2 * column
            first_byte = _each_turn(source + start.to(tl.int64) * step, TURNS)
            target = _each_turn(target, TURNS)
            for block in range(tl.program_id(1) * LINES, lines, tl.num_programs(1) * LINES):
                # Past the last line, a line is computed again, with the same result.
                at = tl.minimum(block + _each_turn(line, TURNS) + 4 * turn, lines - 1).to(tl.int64)
                byte = first_byte + at * line_step
                r = _sum_strided(half, byte, coefficient_ptr, pitch, taps, step, TURNS)
                g = _sum_strided(half, byte + channel_step, coefficient_ptr, pitch, taps, step, TURNS)
                b = _sum_strided(half, byte + 2 * channel_step, coefficient_ptr, pitch, taps, step, TURNS)
                tl.store((target + at * pitch * 4).to(tl.pointer_type(tl.int32)), _pixel(r, g, b))
        else:
            STEP: tl.constexpr = 3 if PIXELS == _INTERLEAVED else 1
            before = _after(source - 1, start, tl.full((1,), STEP, tl.int32))
            before = _after(before, line, line_step.to(tl.uint32))
            target = _after(target, line, 4 * pitch)
            turn_before = turn * (4 * line_step.to(tl.int32)).to(tl.int64)
            turn_target = turn * (16 * pitch).to(tl.int64)
            eight_ptr = _eight_ptr(table, pitch, taps, COLS) + pixel % COLS
            low = tl.load(eight_ptr + COLS)
            high = tl.load((eight_ptr + 2 * COLS).to(tl.pointer_type(tl.int32)) + 1)
            for block in range(tl.program_id(1) * LINES, lines, tl.num_programs(1) * LINES):
                # The last block ends with the last line, and does some lines of the one before it again.
                first = tl.minimum(block, lines - LINES)
                at = _after(before, first, line_step.to(tl.uint32))
                if PIXELS == _INTERLEAVED:
                    r, g, b = _sum_interleaved(half, at, turn_before, low, high, eight_ptr, taps, COLS, TURNS)
                else:
                    r, g, b = _sum_planar(half, at, channel_step, turn_before, low, high, eight_ptr, taps, COLS, TURNS)
                pixel_target = _each_turn(_after(target, first, 4 * pitch), TURNS) + turn_target
                tl.store(pixel_target.to(tl.pointer_type(tl.int32)), _pixel(r, g, b))


@triton.jit
def _add_halves(total, codes, pair, ASSEMBLY: tl.constexpr):
    """Two bytes times two halves of coefficients, by one of NVIDIA's dot products."""
    return tl.inline_asm_elementwise(
        ASSEMBLY + " $0, $1, $2, $3;", "=r,r,r,r", [pair, codes, total], dtype=tl.int32, is_pure=True, pack=1
    )


@triton.jit
def _sum_across(word_ptr, pair_ptr, pitch, table_pitch, taps, DOTS: tl.constexpr):
    """Three channels' sums for a tile of the output, two lines a step.

    Dot products are fewer instructions, but take registers for two numbers a sum, which are low + 2^16 high.
    """
    r = tl.full(word_ptr.shape, _HALF, tl.int32)
    g = r
    b = r
    if DOTS and _COMPILED and is_cuda():
        rh = tl.zeros(word_ptr.shape, tl.int32)
        gh = rh
        bh = rh
        for _ in range(0, taps, 2):
            w0 = tl.load(word_ptr)
            w1 = tl.load(word_ptr + pitch)
            c0, c1 = _two_taps(pair_ptr)
            low = _permuted(c0, c1, "0x5410")[:, None]
            high = _permuted(c0, c1, "0x7632")[:, None]
            rg = _permuted(w0, w1, "0x5140")
            bb = _permuted(w0, w1, "0x0062")
            r = _add_halves(r, rg, low, "dp2a.lo.u32.u32")
            g = _add_halves(g, rg, low, "dp2a.hi.u32.u32")
            b = _add_halves(b, bb, low, "dp2a.lo.u32.u32")
            rh = _add_halves(rh, rg, high, "dp2a.lo.s32.u32")
            gh = _add_halves(gh, rg, high, "dp2a.hi.s32.u32")
            bh = _add_halves(bh, bb, high, "dp2a.lo.s32.u32")
            word_ptr += 2 * pitch
            pair_ptr += table_pitch
        return r + (rh << 16), g + (gh << 16), b + (bh << 16)
    else:
        for _ in range(0, taps, 2):
            w0 = tl.load(word_ptr)
            w1 = tl.load(word_ptr + pitch)
            c0, c1 = _two_taps(pair_ptr)
            c0 = c0[:, None]
            c1 = c1[:, None]
            r += c0 * _byte(w0, 0) + c1 * _byte(w1, 0)
            g += c0 * _byte(w0, 1) + c1 * _byte(w1, 1)
            b += c0 * _byte(w0, 2) + c1 * _byte(w1, 2)
            word_ptr += 2 * pitch
            pair_ptr += table_pitch
        return r, g, b


@triton.jit
def _value(values_ptr, total):
    if _COMPILED and is_cuda():
        none = tl.zeros(total.shape, tl.int32)
        code = _packed(none, total >> _FRACTION_BITS, none)
        SIZE: tl.constexpr = values_ptr.dtype.element_ty.primitive_bitwidth // 8
        value_ptr = _after(values_ptr.to(tl.int64), code, tl.full((1, 1), SIZE, tl.int32)).to(values_ptr.dtype)
    else:
        value_ptr = values_ptr + _code(total)
    if _HINTED:
        value_ptr = tl.max_contiguous(value_ptr, [1, 2])
    return tl.load(value_ptr)


@triton.jit
def _in_turns(x, y):
    """Four columns of x, four of y, and so on: a thread with four in a row of each then has eight in a row."""
    ROWS: tl.constexpr = x.shape[0]
    FOURS: tl.constexpr = x.shape[1] // 4
    both = tl.join(x.reshape((ROWS, FOURS, 4)), y.reshape((ROWS, FOURS, 4)))
    return both.permute((0, 1, 3, 2)).reshape((ROWS, FOURS * 8))


@triton.jit(do_not_specialize_on_alignment=["jobs_ptr"], launch_metadata=_launch_metadata)
def _across_lines_kernel(
    jobs_ptr, intermediate_ptr, values_ptr, VECTOR: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr
):
    """The second pass: lines of the intermediate to an output, through a table of each channel's 256 values.

    Program (i, _, job) owns the job's tile i of COLS pixels along the lines and ROWS across them. With a VECTOR of 4 or
    8, pixels along a line are neighbours in the output and VECTOR of them make 16 bytes, of which the address, all
    steps and the size along are multiples; with 1, the output may have any strides. Outputs have the values' dtype.
    """
    job = _output_job(jobs_ptr, VECTOR)
    intermediate, pitch, table, table_pitch, taps, values, output = job[:7]
    along_step, across_step, channel_step, along, across = job[7:]
    tiles_along = tl.cdiv(along, COLS)
    first_row = tl.program_id(0) // tiles_along * ROWS
    first_col = tl.program_id(0) % tiles_along * COLS
    if first_row < across:
        row = first_row + tl.arange(0, ROWS)
        start = tl.load(table.to(tl.pointer_type(tl.int32)) + row)
        pair_ptr = (table + table_pitch.to(tl.int64) * 4).to(tl.pointer_type(tl.int64)) + row
        # A thread loads four pixels at a time: for a store of eight, every other four are summed up apart.
        PARTS: tl.constexpr = 2 if VECTOR == 8 else 1
        piece = tl.arange(0, COLS // PARTS)
        piece = first_col + piece // 4 * (4 * PARTS) + piece % 4
        word_ptr = intermediate_ptr + intermediate + (start.to(tl.int64) * pitch)[:, None] + piece[None, :]
        r_ptr = values_ptr + values
        g_ptr = r_ptr + 256
        b_ptr = g_ptr + 256
        r, g, b = _sum_across(word_ptr, pair_ptr, pitch, table_pitch, taps, VECTOR == 4)
        r = _value(r_ptr, r)
        g = _value(g_ptr, g)
        b = _value(b_ptr, b)
        if PARTS == 2:
            r1, g1, b1 = _sum_across(word_ptr + 4, pair_ptr, pitch, table_pitch, taps, VECTOR == 4)
            r = _in_turns(r, _value(r_ptr, r1))
            g = _in_turns(g, _value(g_ptr, g1))
            b = _in_turns(b, _value(b_ptr, b1))

        col = first_col + tl.arange(0, COLS)
        at = col if VECTOR > 1 else col * along_step
        # The record has the address itself. From another tensor an offset may need more than the 32 bits that Triton
        # gives, on AMD's GPUs, offsets from a tensor of less than 2 GiB.
        target_ptr = output.to(tl.pointer_type(values_ptr.dtype.element_ty))
        target_ptr = tl.multiple_of(target_ptr, 16 if VECTOR > 1 else 1) + (row * across_step)[:, None] + at[None, :]
        inside = (row < across)[:, None] & (col < along)[None, :]
        tl.store(target_ptr, r, mask=inside)
        tl.store(target_ptr + channel_step, g, mask=inside)
        tl.store(target_ptr + 2 * channel_step, b, mask=inside)
