// Normalising, 16 values at a time, with AVX-512. The file is named after the instruction set as a whole: normalising
// needs no dot products.
#include <immintrin.h>

#include "floating_point.h"
#include "normalize_kernels.h"

#define AVX512 __attribute__((target("avx2,fma,f16c,avx512f,avx512dq,avx512bw,avx512vl,avx512vnni")))
#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16 };

typedef struct {
    __m512 start, start_rest, mean, scale, scale_rest;
} constants;

// For the codes from `index` on.
AVX512 INLINE constants constants_at(const code_run *run, int64_t index) {
    const fastnorm_normalization *from = run->normalization;
    const int c = channel_of(run, index);
    const __m512 start = _mm512_set1_ps(from->start), rest = _mm512_set1_ps(from->start_rest);
    if (!run->interleaved) {
        return (constants){start, rest, _mm512_set1_ps(from->mean[c]), _mm512_set1_ps(from->scale[c]),
                           _mm512_set1_ps(from->scale_rest[c])};
    }
    return (constants){start, rest, _mm512_loadu_ps(from->mean + c), _mm512_loadu_ps(from->scale + c),
                       _mm512_loadu_ps(from->scale_rest + c)};
}

AVX512 INLINE __m512 values_of(const uint8_t *codes, constants k) {
    const __m512i integers = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)codes));
    const __m512 x = _mm512_cvtepi32_ps(integers);
    const __m512 q = _mm512_fmadd_ps(x, k.start, _mm512_mul_ps(x, k.start_rest));
    const __m512 d = _mm512_sub_ps(q, k.mean);
    return _mm512_fmadd_ps(d, k.scale, _mm512_mul_ps(d, k.scale_rest));
}

AVX512 INLINE __m256i bfloat16_of_16(__m512 values) {
    const __m512i bits = _mm512_castps_si512(values);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
}

// Write 16 values from element `index` on, whose address is a multiple of their size.
AVX512 INLINE void store(const code_run *run, int64_t index, __m512 values, const int dtype, const bool streaming) {
    if (dtype == FASTNORM_FLOAT32) {
        float *to = (float *)run->output + index;
        if (streaming)
            _mm512_stream_ps(to, values);
        else
            _mm512_store_ps(to, values);
        return;
    }
    const __m256i halves =
        dtype == FASTNORM_FLOAT16 ? _mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT) : bfloat16_of_16(values);
    __m256i *to = (__m256i *)((uint16_t *)run->output + index);
    if (streaming)
        _mm256_stream_si256(to, halves);
    else
        _mm256_store_si256(to, halves);
}

AVX512 INLINE void write(const code_run *run, const int dtype, const bool streaming) {
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

AVX512 INLINE void write_either(const code_run *run, const int dtype) {
    if (run->streaming)
        write(run, dtype, true);
    else
        write(run, dtype, false);
}

AVX512 static void write_float32(const code_run *run) { write_either(run, FASTNORM_FLOAT32); }
AVX512 static void write_float16(const code_run *run) { write_either(run, FASTNORM_FLOAT16); }
AVX512 static void write_bfloat16(const code_run *run) { write_either(run, FASTNORM_BFLOAT16); }

const normalize_kernels normalize_vnni = {
    .split = split_avx2,
    .join = join_avx2,
    .write = {write_float32, write_float16, write_bfloat16},
};
