"""uint8 pixels to K normalised tensors in one pass: the Triton kernels, and the arithmetic that they share.

Every kernel computes, for each uint8 pixel value x of channel c and each target k,

    q = x / 255;  d = q - mean[k][c];  y = d / std[k][c];  then one rounding to the output's dtype

in float32 with correctly rounded operations, or the same in another order of `division`. Divisions are multiplications
by a reciprocal in two parts where `division.plan` has shown that to be exact for all 256 codes. Compile with
`enable_fp_fusion=False`: the roundings are placed by hand, and no multiply and add may be merged that are not merged
here.
"""

import triton
import triton.language as tl

from .division import FULL_SCALE, Form, Start, reciprocal

# Triton's interpreter rounds fma twice and truncates float32 to bfloat16; there the two are spelled out instead.
_INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)

_FMA = tl.constexpr(int(Form.FMA))
_RECIPROCAL = tl.constexpr(int(Form.RECIPROCAL))
_FORMS = tl.constexpr(len(Form))
_CODE = tl.constexpr(int(Start.CODE))
_PRODUCT = tl.constexpr(int(Start.PRODUCT))
_PLAN_LENGTH = tl.constexpr(10)  # numbers per target in PLANS: form and start, then a, b, c for three channels each

_INVERSE_255 = tl.constexpr(reciprocal(float(FULL_SCALE))[0])
_INVERSE_255_REST = tl.constexpr(reciprocal(float(FULL_SCALE))[1])


def _launch_metadata(grid, metadata, args):
    """What profilers show of a launch: the variant's name, and the bytes it has to move."""
    del grid
    x, outputs = args["x_ptr"], args["out_ptrs"]
    dtypes = "_".join(str(output.dtype).removeprefix("torch.") for output in outputs)
    shape = "x".join(map(str, x.shape))
    return {
        "name": f"{metadata.name.strip('_').removesuffix('_kernel')}_{dtypes}_{shape}",
        "bytes": bytes_moved(x.numel(), [output.element_size() for output in outputs]),
    }


def bytes_moved(codes, output_sizes):
    """Every code read once, every output written once: the least that any implementation moves."""
    return codes * (1 + sum(output_sizes))


@triton.jit
def _fma(x, y, z):
    if _INTERPRETED:
        # The product of two float32 is exact in float64, and so is its sum with a float32 of this magnitude.
        return (x.to(tl.float64) * y + z).to(tl.float32)
    else:
        return tl.fma(x, y, z)


@triton.jit
def _start(x, START: tl.constexpr):
    """What a target's form begins with, from pixel values as float32; what several targets share is computed once."""
    if START == _CODE:
        return x
    elif START == _PRODUCT:
        return x * _INVERSE_255
    else:
        return _fma(x, _INVERSE_255, x * _INVERSE_255_REST)  # x / 255


@triton.jit
def _float32(VALUE: tl.constexpr):
    """A constant in float32: Triton makes float64 of those that are subnormal there."""
    return tl.full((), VALUE, tl.float32)


@triton.jit
def _apply(x, KIND: tl.constexpr, a, b, c):
    """A target's form, from pixel values as float32; see `division.Form` for what the constants are."""
    START: tl.constexpr = KIND // _FORMS
    FORM: tl.constexpr = KIND - START * _FORMS
    q = _start(x, START)
    if FORM == _FMA:
        return _fma(q, a, b)
    elif FORM == _RECIPROCAL:
        d = q - a
        return _fma(d, b, d * c)
    else:
        return tl.div_rn(q - a, tl.zeros_like(q) + b)  # which asks for tensors of one shape


@triton.jit
def _round_to(y, DTYPE: tl.constexpr):
    if _INTERPRETED and DTYPE == tl.bfloat16:
        bits = y.to(tl.uint32, bitcast=True)
        bits += 0x7FFF + ((bits >> 16) & 1)  # to nearest even
        bits = tl.where(y == y, bits >> 16, 0x7FFF)  # where the addition has made something else of NaN
        return bits.to(tl.uint16).to(tl.bfloat16, bitcast=True)
    else:
        return y.to(DTYPE)


@triton.jit
def _constant(PLANS: tl.constexpr, constants, TARGET: tl.constexpr, INDEX: tl.constexpr):
    """One of a target's nine constants: known while compiling, or an argument of the launch."""
    if constants is None:
        return _float32(PLANS[TARGET * _PLAN_LENGTH + 1 + INDEX])
    else:
        value = constants[TARGET * (_PLAN_LENGTH - 1) + INDEX]
        return tl.full((), value, tl.float32) if _INTERPRETED else value  # there it is a Python number


@triton.jit
def _target(x, PLANS: tl.constexpr, constants, TARGET: tl.constexpr, CHANNEL: tl.constexpr, DTYPE: tl.constexpr):
    """One channel of one target from pixel values as float32, rounded to the output's dtype."""
    y = _apply(
        x,
        PLANS[TARGET * _PLAN_LENGTH],
        _constant(PLANS, constants, TARGET, CHANNEL),
        _constant(PLANS, constants, TARGET, 3 + CHANNEL),
        _constant(PLANS, constants, TARGET, 6 + CHANNEL),
    )
    return _round_to(y, DTYPE)


@triton.jit
def _byte(word, INDEX: tl.constexpr):
    return (word >> (8 * INDEX)).to(tl.int32) & 255  # compiles to a conversion that picks its byte


@triton.jit
def _interleave4(a, b, c, d):
    return tl.interleave(tl.interleave(a, c), tl.interleave(b, d))


@triton.jit
def _interleave8(a, b, c, d, e, f, g, h):
    return tl.interleave(_interleave4(a, c, e, g), _interleave4(b, d, f, h))


@triton.jit
def _byte_of(w0, w1, w2, INDEX: tl.constexpr, WORD_BYTES: tl.constexpr):
    """Byte INDEX of three consecutive little-endian words."""
    if INDEX < WORD_BYTES:
        return _byte(w0, INDEX)
    elif INDEX < 2 * WORD_BYTES:
        return _byte(w1, INDEX - WORD_BYTES)
    else:
        return _byte(w2, INDEX - 2 * WORD_BYTES)


@triton.jit
def _every_nth(w0, w1, w2, FIRST: tl.constexpr, STEP: tl.constexpr, GROUP: tl.constexpr):
    """GROUP bytes of three words, from byte FIRST in steps of STEP, as one tensor GROUP times as long."""
    p0 = _byte_of(w0, w1, w2, FIRST, GROUP)
    p1 = _byte_of(w0, w1, w2, FIRST + STEP, GROUP)
    p2 = _byte_of(w0, w1, w2, FIRST + 2 * STEP, GROUP)
    p3 = _byte_of(w0, w1, w2, FIRST + 3 * STEP, GROUP)
    if GROUP == 4:
        return _interleave4(p0, p1, p2, p3)
    else:
        p4 = _byte_of(w0, w1, w2, FIRST + 4 * STEP, GROUP)
        p5 = _byte_of(w0, w1, w2, FIRST + 5 * STEP, GROUP)
        p6 = _byte_of(w0, w1, w2, FIRST + 6 * STEP, GROUP)
        p7 = _byte_of(w0, w1, w2, FIRST + 7 * STEP, GROUP)
        return _interleave8(p0, p1, p2, p3, p4, p5, p6, p7)


# One compilation serves every size: none of them is specialised on.
@triton.jit(do_not_specialize=["groups", "plane_groups"], launch_metadata=_launch_metadata)
def _normalize_dense_kernel(
    x_ptr,  # uint8, dense (N, H, W, 3) if INTERLEAVED else dense (N, 3, H, W), aligned to GROUP bytes
    out_ptrs,  # K (N, 3, H, W) tensors, each image dense, aligned to 16 bytes
    groups,  # N * H * W / GROUP
    plane_groups,  # H * W / GROUP
    image_groups,  # from image to image of each output, / GROUP; None: all are 3 * H * W
    constants,  # nine of each target; None: they stand in PLANS
    PLANS: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Program i owns groups [i * BLOCK, (i + 1) * BLOCK) of GROUP consecutive pixels; one thread owns whole groups.

    A group is three words of GROUP bytes: of interleaved pixels, or of one plane each. GROUP pixels fill 16 bytes of
    the widest output, so that no value changes threads and stores are 128 bits wide. The grid is flat over the pixels
    of all images: loads stay aligned for any size, and no image has a tail of its own.
    """
    pid = tl.program_id(0)
    group = pid * BLOCK + tl.arange(0, BLOCK)
    inside = group < groups
    words = x_ptr.to(tl.pointer_type(tl.int32 if GROUP == 4 else tl.int64))
    if INTERLEAVED:
        first_word = group.to(tl.int64) * 3
        word_step = 1
    else:
        first_word = group.to(tl.int64) + 2 * plane_groups * (group // plane_groups).to(tl.int64)
        word_step = plane_groups
    w0 = tl.load(words + first_word, mask=inside, other=0)
    w1 = tl.load(words + first_word + word_step, mask=inside, other=0)
    w2 = tl.load(words + first_word + 2 * word_step, mask=inside, other=0)

    pixel = pid * (BLOCK * GROUP) + tl.arange(0, BLOCK * GROUP)
    # Divided by GROUP first, so that the compiler sees one quotient for a whole group.
    pixel_group = pixel // GROUP
    image = pixel_group // plane_groups
    pixel_inside = pixel_group < groups
    plane = plane_groups.to(tl.int64) * GROUP
    offset = pixel.to(tl.int64) + 2 * plane * image.to(tl.int64)
    for c in tl.static_range(3):
        if INTERLEAVED:
            codes = _every_nth(w0, w1, w2, c, 3, GROUP)
        else:
            codes = _every_nth(w0, w1, w2, c * GROUP, 1, GROUP)
        x = codes.to(tl.float32)
        at = offset + c * plane
        for k in tl.static_range(len(out_ptrs)):
            y = _target(x, PLANS, constants, k, c, out_ptrs[k].dtype.element_ty)
            if image_groups is None:
                tl.store(out_ptrs[k] + at, y, mask=pixel_inside)
            else:
                between = (image_groups[k] - 3 * plane_groups).to(tl.int64) * GROUP * image.to(tl.int64)
                tl.store(out_ptrs[k] + at + between, y, mask=pixel_inside)


@triton.jit
def _of_channel(channel, PLANS: tl.constexpr, constants, TARGET: tl.constexpr, INDEX: tl.constexpr):
    """The constant of each element's channel; one constant for all channels costs nothing if it is known."""
    at: tl.constexpr = TARGET * _PLAN_LENGTH + 1 + INDEX
    r = _constant(PLANS, constants, TARGET, INDEX)
    if constants is None and PLANS[at] == PLANS[at + 1] and PLANS[at + 1] == PLANS[at + 2]:
        return r
    else:
        g = _constant(PLANS, constants, TARGET, INDEX + 1)
        b = _constant(PLANS, constants, TARGET, INDEX + 2)
        return tl.where(channel == 0, r, tl.where(channel == 1, g, b))


@triton.jit
def _flat_byte(
    word, phase, INDEX: tl.constexpr, PLANS: tl.constexpr, constants, TARGET: tl.constexpr, DTYPE: tl.constexpr
):
    """One target's value for byte INDEX of each word; `phase` is the channel of the word's first byte."""
    x = _byte(word, INDEX).to(tl.float32)
    channel = phase + INDEX % 3
    channel = tl.where(channel >= 3, channel - 3, channel)
    a = _of_channel(channel, PLANS, constants, TARGET, 0)
    b = _of_channel(channel, PLANS, constants, TARGET, 3)
    c = _of_channel(channel, PLANS, constants, TARGET, 6)
    return _round_to(_apply(x, PLANS[TARGET * _PLAN_LENGTH], a, b, c), DTYPE)


@triton.jit
def _flat_word(
    word, phase, PLANS: tl.constexpr, constants, TARGET: tl.constexpr, DTYPE: tl.constexpr, WORD: tl.constexpr
):
    """One target's values for all bytes of each word, in order."""
    y0 = _flat_byte(word, phase, 0, PLANS, constants, TARGET, DTYPE)
    y1 = _flat_byte(word, phase, 1, PLANS, constants, TARGET, DTYPE)
    y2 = _flat_byte(word, phase, 2, PLANS, constants, TARGET, DTYPE)
    y3 = _flat_byte(word, phase, 3, PLANS, constants, TARGET, DTYPE)
    if WORD == 4:
        return _interleave4(y0, y1, y2, y3)
    else:
        y4 = _flat_byte(word, phase, 4, PLANS, constants, TARGET, DTYPE)
        y5 = _flat_byte(word, phase, 5, PLANS, constants, TARGET, DTYPE)
        y6 = _flat_byte(word, phase, 6, PLANS, constants, TARGET, DTYPE)
        y7 = _flat_byte(word, phase, 7, PLANS, constants, TARGET, DTYPE)
        return _interleave8(y0, y1, y2, y3, y4, y5, y6, y7)


@triton.jit(do_not_specialize=["words"], launch_metadata=_launch_metadata)
def _normalize_flat_kernel(
    x_ptr,  # uint8, dense (N, H, W, 3), aligned to WORD bytes
    out_ptrs,  # K tensors in that order of axes too (channels_last), aligned to 16 bytes
    words,  # N * H * W * 3 / WORD
    constants,  # as for the dense kernel
    PLANS: tl.constexpr,
    WORD: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Program i owns words [i * BLOCK, (i + 1) * BLOCK) of WORD codes, which keep their places; a thread owns a word.

    Pixels do not fit words, so a code's channel depends on its word: constants are selected, not known.
    """
    pid = tl.program_id(0)
    index = pid * BLOCK + tl.arange(0, BLOCK)
    word = tl.load(x_ptr.to(tl.pointer_type(tl.int32 if WORD == 4 else tl.int64)) + index, mask=index < words, other=0)
    phase = (index * (WORD % 3)) % 3
    position = pid.to(tl.int64) * (BLOCK * WORD) + tl.arange(0, BLOCK * WORD)
    inside = pid * BLOCK + tl.arange(0, BLOCK * WORD) // WORD < words
    for k in tl.static_range(len(out_ptrs)):
        values = _flat_word(word, phase, PLANS, constants, k, out_ptrs[k].dtype.element_ty, WORD)
        tl.store(out_ptrs[k] + position, values, mask=inside)


@triton.jit
def _each_pixel(of_row, ROWS: tl.constexpr, COLS: tl.constexpr):
    """What belongs to the rows of a tile, for each of its pixels; of one row, the number itself is for all."""
    if ROWS == 1:
        return of_row
    else:
        return tl.broadcast_to(of_row[:, None], (ROWS, COLS)).reshape((ROWS * COLS,))


@triton.jit(do_not_specialize=["rows", "height", "width"], launch_metadata=_launch_metadata)
def _normalize_strided_kernel(
    x_ptr,  # uint8, any strides
    out_ptrs,  # K tensors, any strides
    rows,  # N * H
    height,
    width,
    x_strides,  # of axes N, C, H, W, in elements
    out_strides,  # likewise, for one target after the other
    constants,  # as for the dense kernel
    PLANS: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    WIDE: tl.constexpr,  # some offset does not fit in 32 bits
):
    """Program i owns a tile of ROWS x COLS pixels, all three channels; rows run on from image to image.

    A tile is flat, row after row, and a thread has single pixels of it, so that neighbours are moved by neighbouring
    threads: a warp's accesses lie together. Triton is told so by what is true of any address, that at least one lies in
    a row. Else it gives a thread 16 bytes' worth of pixels, which no thread can move at once where rows may begin and
    end anywhere.
    """
    tiles_per_row = (width - 1) // COLS + 1  # tl.cdiv adds first, which wraps in the longest rows
    pid = tl.program_id(0)
    if WIDE:
        pid = pid.to(tl.int64)
    row = (pid // tiles_per_row) * ROWS
    if ROWS > 1:
        row += tl.arange(0, ROWS)
    col = (pid % tiles_per_row) * COLS + tl.arange(0, ROWS * COLS) % COLS
    image = row // height
    y = row % height
    inside = (_each_pixel(row, ROWS, COLS) < rows) & (col < width)
    source = _each_pixel(image * x_strides[0] + y * x_strides[2], ROWS, COLS) + col * x_strides[3]
    x_at = tl.max_contiguous(x_ptr + source, 1)
    for c in tl.static_range(3):
        channel = tl.full((), c, pid.dtype)  # strides fit in 32 bits where the products with them do not
        codes = tl.load(tl.max_contiguous(x_at + channel * x_strides[1], 1), mask=inside, other=0)
        x = codes.to(tl.float32)
        for k in tl.static_range(len(out_ptrs)):
            at = image * out_strides[4 * k] + channel * out_strides[4 * k + 1] + y * out_strides[4 * k + 2]
            value = _target(x, PLANS, constants, k, c, out_ptrs[k].dtype.element_ty)
            out_at = out_ptrs[k] + _each_pixel(at, ROWS, COLS) + col * out_strides[4 * k + 3]
            tl.store(tl.max_contiguous(out_at, 1), value, mask=inside)
