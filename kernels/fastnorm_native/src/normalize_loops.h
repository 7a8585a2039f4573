// Normalising a run, LANES values at a time, for the file that includes it: that says what a vector is, how to load and
// store one, and in TARGET which instructions compilers may use.
#include "normalize_kernels.h"

typedef struct {
    vector start, start_rest, mean, scale, scale_rest;
} constants;

// For the codes from `index` on.
TARGET INLINE constants constants_at(const code_run *run, int64_t index) {
    const fastnorm_normalization *from = run->normalization;
    const int c = channel_of(run, index);
    const vector start = spread(from->start), rest = spread(from->start_rest);
    if (!run->interleaved) {
        return (constants){start, rest, spread(from->mean[c]), spread(from->scale[c]), spread(from->scale_rest[c])};
    }
    return (constants){start, rest, load(from->mean + c), load(from->scale + c), load(from->scale_rest + c)};
}

TARGET INLINE vector values_of(const uint8_t *codes, constants k) {
    const vector x = widened(codes);
    const vector d = fused(x, k.start, x * k.start_rest) - k.mean;
    return fused(d, k.scale, d * k.scale_rest);
}

TARGET INLINE void write(const code_run *run, const int dtype, const bool streaming) {
    const int64_t size = dtype == FASTNORM_FLOAT32 ? 4 : 2;
    int64_t i = codes_before_aligned(run, size, LANES * size);
    look_up(run, dtype, 0, i);
    // Three vectors on, the channels repeat.
    const constants k[3] = {constants_at(run, i), constants_at(run, i + LANES), constants_at(run, i + 2 * LANES)};
    for (; i + 3 * LANES <= run->count; i += 3 * LANES) {
#pragma GCC unroll 3
        for (int v = 0; v < 3; v++) {
            const int64_t at = i + v * LANES;
            store(run, at, values_of(run->codes + at, k[v]), dtype, streaming);
        }
    }
    for (int v = 0; i + LANES <= run->count; v++, i += LANES) {
        store(run, i, values_of(run->codes + i, k[v]), dtype, streaming);
    }
    look_up(run, dtype, i, run->count);
}

TARGET INLINE void write_either(const code_run *run, const int dtype) {
    if (run->streaming)
        write(run, dtype, true);
    else
        write(run, dtype, false);
}

TARGET static void write_float32(const code_run *run) { write_either(run, FASTNORM_FLOAT32); }
TARGET static void write_float16(const code_run *run) { write_either(run, FASTNORM_FLOAT16); }
TARGET static void write_bfloat16(const code_run *run) { write_either(run, FASTNORM_BFLOAT16); }
