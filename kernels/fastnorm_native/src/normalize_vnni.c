// Normalising, 16 values at a time, with AVX-512. The file is named after the instruction set as a whole: normalising
// needs no dot products.
#include <immintrin.h>

#include "floating_point.h"
#include "normalize_kernels.h"

#define TARGET __attribute__((target("avx2,fma,f16c,avx512f,avx512dq,avx512bw,avx512vl,avx512vnni")))
#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16 };

typedef __m512 vector;

TARGET INLINE vector spread(float number) { return _mm512_set1_ps(number); }
TARGET INLINE vector load(const float *numbers) { return _mm512_loadu_ps(numbers); }
TARGET INLINE vector fused(vector a, vector b, vector c) { return _mm512_fmadd_ps(a, b, c); }

TARGET INLINE vector widened(const uint8_t *codes) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)codes)));
}

TARGET INLINE __m256i bfloat16_of_16(__m512 values) {
    const __m512i bits = _mm512_castps_si512(values);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
}

// Write 16 values from element `index` on, whose address is a multiple of their size.
TARGET INLINE void store(const code_run *run, int64_t index, vector values, const int dtype, const bool streaming) {
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

#include "normalize_loops.h"

const normalize_kernels normalize_vnni = {
    .split = split_avx2,
    .join = join_avx2,
    .write = {write_float32, write_float16, write_bfloat16},
};
