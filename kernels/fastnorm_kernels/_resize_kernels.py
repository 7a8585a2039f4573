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


@triton.jit(do_not_specialize_on_alignment=["jobs_ptr"], launch_metadata=_launch_metadata)
def _tables_kernel(jobs_ptr, PIXELS: tl.constexpr, TAPS: tl.constexpr):
    """Pillow's coefficients: weights in float64, divided by their sum, rounded to fixed point.

    Program (i, _, job) owns pixels [i * PIXELS, (i + 1) * PIXELS) of one table, all taps. A table is int32: the first
    tap of each of its `pitch` pixels, then (pairs, pitch, 2) coefficients, so that one load fetches those of two taps.
    """
    table, pitch, taps, source, resized, kind, origin, direction, low, high = _table_job(jobs_ptr)
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
            place = pitch + ((tap // 2).to(tl.int64) * pitch + pixel[None, :]) * 2 + tap % 2
            tl.store(table_ptr + place, tl.where(counts, fixed, 0), mask=tap < taps)


@triton.jit
def _aligned(address):
    """The aligned word that holds the byte before each address, and at which of its bits the address is: 8 to 32."""
    before = address - 1
    return (before & -4).to(tl.pointer_type(tl.uint32)), ((before & 3) * 8 + 8).to(tl.uint64)


@triton.jit
def _funnel(low, high, shift):
    """The word that begins `shift` bits into two words."""
    return (((high.to(tl.uint64) << 32) | low.to(tl.uint64)) >> shift).to(tl.uint32)


@triton.jit
def _each_line(columns, LINES: tl.constexpr):
    """What belongs to the columns of a tile, for each of its pixels."""
    return tl.broadcast_to(columns[None, :], (LINES, columns.shape[0])).reshape((LINES * columns.shape[0],))


@triton.jit
def _two_taps(pair_ptr):
    """The coefficients of two taps, which lie in the halves of one 64-bit word."""
    pair = tl.load(pair_ptr)
    return pair.to(tl.int32), (pair >> 32).to(tl.int32)


@triton.jit
def _four_taps(pair_ptr, pitch, LINES: tl.constexpr):
    c0, c1 = _two_taps(pair_ptr)
    c2, c3 = _two_taps(pair_ptr + pitch)
    return _each_line(c0, LINES), _each_line(c1, LINES), _each_line(c2, LINES), _each_line(c3, LINES)


@triton.jit
def _sum_interleaved(total, address, pair_ptr, pitch, taps, LINES: tl.constexpr):
    """Three channels' sums, four pixels a step: twelve bytes, cut out of four aligned words, the last of which is kept.

    Each word that is read holds a byte of the pixels. Only the first might not, where they begin with the word after
    it: then it is not read, and all of it is shifted out.
    """
    word_ptr, shift = _aligned(address)
    w0 = tl.load(word_ptr, mask=(address.to(tl.int32) & 3) != 0, other=0)
    r = total
    g = total
    b = total
    for _ in range(0, taps, 4):
        w1 = tl.load(word_ptr + 1)
        w2 = tl.load(word_ptr + 2)
        w3 = tl.load(word_ptr + 3)
        x0 = _funnel(w0, w1, shift)
        x1 = _funnel(w1, w2, shift)
        x2 = _funnel(w2, w3, shift)
        c0, c1, c2, c3 = _four_taps(pair_ptr, pitch, LINES)
        r += c0 * _byte(x0, 0) + c1 * _byte(x0, 3) + c2 * _byte(x1, 2) + c3 * _byte(x2, 1)
        g += c0 * _byte(x0, 1) + c1 * _byte(x1, 0) + c2 * _byte(x1, 3) + c3 * _byte(x2, 2)
        b += c0 * _byte(x0, 2) + c1 * _byte(x1, 1) + c2 * _byte(x2, 0) + c3 * _byte(x2, 3)
        w0 = w3
        word_ptr += 3
        pair_ptr += 2 * pitch
    return r, g, b


@triton.jit
def _sum_plane(total, address, pair_ptr, pitch, taps, LINES: tl.constexpr):
    """One channel's sum, four pixels a step: likewise cut out of two aligned words."""
    word_ptr, shift = _aligned(address)
    w0 = tl.load(word_ptr, mask=(address.to(tl.int32) & 3) != 0, other=0)
    for _ in range(0, taps, 4):
        w1 = tl.load(word_ptr + 1)
        x = _funnel(w0, w1, shift)
        c0, c1, c2, c3 = _four_taps(pair_ptr, pitch, LINES)
        total += c0 * _byte(x, 0) + c1 * _byte(x, 1) + c2 * _byte(x, 2) + c3 * _byte(x, 3)
        w0 = w1
        word_ptr += 1
        pair_ptr += 2 * pitch
    return total


@triton.jit
def _sum_strided(total, address, coefficient_ptr, pitch, taps, step, LINES: tl.constexpr):
    """One channel's sum, byte by byte."""
    for tap in range(taps):
        code = tl.load(address.to(tl.pointer_type(tl.uint8)))
        coefficient = tl.load(coefficient_ptr + (tap >> 1) * (2 * pitch.to(tl.int64)) + (tap & 1))
        total += _each_line(coefficient, LINES) * code.to(tl.int32)
        address += step
    return total


@triton.jit
def _product(x, y):
    """x * y for numbers from 0 to 2^32: with a sum, one instruction instead of five."""
    return (x.to(tl.uint32).to(tl.uint64) * y.to(tl.uint32).to(tl.uint64)).to(tl.int64)


@triton.jit
def _code(total):
    return tl.minimum(tl.maximum(total >> _FRACTION_BITS, 0), 255)


@triton.jit(do_not_specialize_on_alignment=["jobs_ptr"], launch_metadata=_launch_metadata)
def _along_lines_kernel(jobs_ptr, intermediate_ptr, PIXELS: tl.constexpr, LINES: tl.constexpr, COLS: tl.constexpr):
    """The first pass: uint8 lines of an image to int32 lines of the intermediate, a pixel's three codes in each.

    Program (i, j, job) owns pixels [i * COLS, (i + 1) * COLS) of every line that it takes: LINES at a time, blocks j,
    j + programs, ... A thread keeps its pixels' columns, and so their coefficients, for several lines.
    """
    source, step, line_step, channel_step, lines, table, taps, pitch, intermediate = _line_job(jobs_ptr)
    if tl.program_id(0) * COLS < pitch:
        column = tl.program_id(0) * COLS + tl.arange(0, COLS)
        start = tl.load(table.to(tl.pointer_type(tl.int32)) + column).to(tl.int64)
        pair_ptr = (table + pitch.to(tl.int64) * 4).to(tl.pointer_type(tl.int64)) + column
        first = _each_line(source + start * step, LINES)
        # A tile is flat, line after line, so that neighbouring threads have neighbouring pixels.
        pixel = tl.arange(0, LINES * COLS)
        target_ptr = intermediate_ptr + (intermediate + tl.program_id(0) * COLS + pixel % COLS)
        half = tl.full((LINES * COLS,), _HALF, tl.int32)
        for block in range(tl.program_id(1) * LINES, lines, tl.num_programs(1) * LINES):
            # Past the last line it is computed again, with the same result.
            line = tl.minimum(block + pixel // COLS, lines - 1)
            if PIXELS == _STRIDED:
                address = first + line.to(tl.int64) * line_step
            else:
                address = first + _product(line, line_step)
            if PIXELS == _INTERLEAVED:
                r, g, b = _sum_interleaved(half, address, pair_ptr, pitch, taps, LINES)
            elif PIXELS == _PLANAR:
                r = _sum_plane(half, address, pair_ptr, pitch, taps, LINES)
                g = _sum_plane(half, address + channel_step, pair_ptr, pitch, taps, LINES)
                b = _sum_plane(half, address + 2 * channel_step, pair_ptr, pitch, taps, LINES)
            else:
                coefficient_ptr = pair_ptr.to(tl.pointer_type(tl.int32))
                r = _sum_strided(half, address, coefficient_ptr, pitch, taps, step, LINES)
                g = _sum_strided(half, address + channel_step, coefficient_ptr, pitch, taps, step, LINES)
                b = _sum_strided(half, address + 2 * channel_step, coefficient_ptr, pitch, taps, step, LINES)
            tl.store(target_ptr + _product(line, pitch), _code(r) | (_code(g) << 8) | (_code(b) << 16))


@triton.jit
def _sum_across(word_ptr, pair_ptr, pitch, table_pitch, taps):
    """Three channels' sums for a tile of the output, two lines a step."""
    r = tl.full(word_ptr.shape, _HALF, tl.int32)
    g = r
    b = r
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
        r, g, b = _sum_across(word_ptr, pair_ptr, pitch, table_pitch, taps)
        r = _value(r_ptr, r)
        g = _value(g_ptr, g)
        b = _value(b_ptr, b)
        if PARTS == 2:
            r1, g1, b1 = _sum_across(word_ptr + 4, pair_ptr, pitch, table_pitch, taps)
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
