"""Normalised values back to pixels, or on to another normalisation, in one pass: the Triton kernels.

For a value y of channel c, in float32 with correctly rounded operations:

    t = y * std[c];  p = t + mean[c]  the pixel, 1.0 being full scale

and from p, with an output of

    uint8:    the integer nearest to p * 255, halves to even, within 0 to 255; 0 for NaN
    a float:  p within 0 to 1; NaN for NaN
    a float, with a target:  d = p - target mean[c];  d / target std[c]

then one rounding to the output's dtype. Compile with `enable_fp_fusion=False`: no multiply and add may be merged.
"""

import triton
import triton.language as tl

from ._normalize_kernels import _INTERPRETED, _each_pixel, _float32, _round_to

_TWO_TO_23 = tl.constexpr(8388608.0)


def _launch_metadata(grid, metadata, args):
    """What profilers show of a launch: the variant's name, and the bytes it has to move."""
    del grid
    x, (output,) = args["x_ptr"], args["out_ptrs"]
    dtypes = "_to_".join(str(tensor.dtype).removeprefix("torch.") for tensor in (x, output))
    shape = "x".join(map(str, x.shape))
    return {
        "name": f"{metadata.name.strip('_').removesuffix('_kernel')}_{dtypes}_{shape}",
        "bytes": x.numel() * (x.element_size() + output.element_size()),
    }


@triton.jit
def _of_channel(channel, NUMBERS: tl.constexpr, FIRST: tl.constexpr):
    """One of three constants, the first of which is NUMBERS[FIRST]; one that all channels share is not selected."""
    r = _float32(NUMBERS[FIRST])
    if NUMBERS[FIRST] == NUMBERS[FIRST + 1] and NUMBERS[FIRST + 1] == NUMBERS[FIRST + 2]:
        return r
    else:
        return tl.where(
            channel == 0, r, tl.where(channel == 1, _float32(NUMBERS[FIRST + 1]), _float32(NUMBERS[FIRST + 2]))
        )


@triton.jit
def _to_code(p):
    """The nearest of 0 to 255, halves to even. Adding 2**23 leaves no fraction: the sum's last bits are the integer."""
    v = p * 255.0
    v = tl.where(v >= 0.0, v, 0.0)  # which NaN is not
    v = tl.where(v <= 255.0, v, 255.0)
    return ((v + _TWO_TO_23).to(tl.int32, bitcast=True) & 255).to(tl.uint8)


@triton.jit
def _to_unit(p):
    """Within 0 to 1. Comparisons leave NaN as it is, which minimum and maximum need not."""
    p = tl.where(p < 0.0, 0.0, p)
    return tl.where(p > 1.0, 1.0, p)


@triton.jit
def _widen(y):
    if _INTERPRETED and y.dtype == tl.bfloat16:  # whose subnormal numbers the interpreter converts to others
        return (y.to(tl.uint16, bitcast=True).to(tl.uint32) << 16).to(tl.float32, bitcast=True)
    else:
        return y.to(tl.float32)


@triton.jit
def _convert(y, channel, SOURCE: tl.constexpr, TARGET: tl.constexpr, DTYPE: tl.constexpr):
    """SOURCE: three means, three stds. TARGET: None, or whether to multiply, three means, three stds or reciprocals."""
    t = _widen(y) * _of_channel(channel, SOURCE, 3)
    p = t + _of_channel(channel, SOURCE, 0)
    if TARGET is None:
        if DTYPE == tl.uint8:
            return _to_code(p)
        else:
            return _round_to(_to_unit(p), DTYPE)
    else:
        d = p - _of_channel(channel, TARGET, 1)
        scale = _of_channel(channel, TARGET, 4)
        if TARGET[0]:
            return _round_to(d * scale, DTYPE)
        else:
            return _round_to(tl.div_rn(d, tl.zeros_like(d) + scale), DTYPE)  # which asks for tensors of one shape


# `length` is specialised on: accesses are wide where it is a multiple of 16, and one element each where it is not.
@triton.jit(do_not_specialize=["blocks"], launch_metadata=_launch_metadata)
def _inverse_dense_kernel(
    x_ptr,  # floats, dense: planes of one channel each or, if INTERLEAVED, pixels of three
    out_ptrs,  # one tensor, of the same order
    length,  # elements of a plane; of everything if INTERLEAVED
    blocks,  # programs for each plane
    SOURCE: tl.constexpr,
    TARGET: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Program i owns BLOCK elements of plane i // blocks, and a thread as many as its widest access takes."""
    pid = tl.program_id(0)
    plane = pid // blocks
    at = (pid % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = at < length
    if INTERLEAVED:
        channel = at % 3
    else:
        channel = plane % 3
    start = plane.to(tl.int64) * length
    y = tl.load(x_ptr + start + at, mask=inside, other=0)
    value = _convert(y, channel, SOURCE, TARGET, out_ptrs[0].dtype.element_ty)
    tl.store(out_ptrs[0] + start + at, value, mask=inside)


@triton.jit(do_not_specialize=["rows", "height", "width"], launch_metadata=_launch_metadata)
def _inverse_strided_kernel(
    x_ptr,  # floats, any strides
    out_ptrs,  # one tensor, any strides
    rows,  # N * H
    height,
    width,
    x_strides,  # of axes N, C, H, W, in elements
    out_strides,
    SOURCE: tl.constexpr,
    TARGET: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    WIDE: tl.constexpr,  # some offset does not fit in 32 bits
):
    """Program i owns a tile of ROWS x COLS pixels, all three channels, as in `_normalize_strided_kernel`."""
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
    x_at = x_ptr + _each_pixel(image * x_strides[0] + y * x_strides[2], ROWS, COLS) + col * x_strides[3]
    out_at = out_ptrs[0] + _each_pixel(image * out_strides[0] + y * out_strides[2], ROWS, COLS) + col * out_strides[3]
    for c in tl.static_range(3):
        channel = tl.full((), c, pid.dtype)  # strides fit in 32 bits where the products with them do not
        source = tl.max_contiguous(x_at + channel * x_strides[1], 1)
        values = tl.load(source, mask=inside, other=0)
        result = _convert(values, channel, SOURCE, TARGET, out_ptrs[0].dtype.element_ty)
        tl.store(tl.max_contiguous(out_at + channel * out_strides[1], 1), result, mask=inside)
