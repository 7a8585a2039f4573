// Normalising, 8 values at a time, with AVX2, FMA and F16C.
#include <immintrin.h>

#include "floating_point.h"
#include "normalize_kernels.h"

#define TARGET __attribute__((target("avx2,fma,f16c")))
#define INLINE static inline __attribute__((always_inline))

enum { LANES = 8, GROUP = 16 }; // values in a vector; pixels in three vectors of bytes

// --- R G B R G B ... and planes
//
// Three vectors a, b, c hold 16 pixels. At each byte, one of the three has a code of the wanted channel: two blends
// collect these codes, and pixel p's lies at byte (3 p + channel) modulo 16.

TARGET INLINE __m128i bytes_of_channel(int channel) {
    int8_t place[16];
    for (int i = 0; i < 16; i++) place[i] = (int8_t)((3 * i + channel) % 16);
    return _mm_loadu_si128((const __m128i *)place);
}

// The other way round: which pixel's code belongs at byte i.
TARGET INLINE __m128i pixels_of_channel(int channel) {
    int8_t place[16];
    for (int i = 0; i < 16; i++) place[(3 * i + channel) % 16] = (int8_t)i;
    return _mm_loadu_si128((const __m128i *)place);
}

// Where the bytes of vector `part` are of channel `channel`: byte j of 48 is of channel j modulo 3.
TARGET INLINE __m128i channel_mask(int part, int channel) {
    int8_t mask[16];
    for (int i = 0; i < 16; i++) mask[i] = (16 * part + i) % FASTNORM_CHANNELS == channel ? -1 : 0;
    return _mm_loadu_si128((const __m128i *)mask);
}

TARGET void split_avx2(const uint8_t *pixels, int64_t count, uint8_t *const planes[FASTNORM_CHANNELS]) {
    int64_t i = 0;
    for (; i + GROUP <= count; i += GROUP) {
        const __m128i *source = (const __m128i *)(pixels + FASTNORM_CHANNELS * i);
        const __m128i a = _mm_loadu_si128(source), b = _mm_loadu_si128(source + 1), c = _mm_loadu_si128(source + 2);
#pragma GCC unroll 3
        for (int channel = 0; channel < FASTNORM_CHANNELS; channel++) {
            __m128i codes = _mm_blendv_epi8(a, b, channel_mask(1, channel));
            codes = _mm_blendv_epi8(codes, c, channel_mask(2, channel));
            codes = _mm_shuffle_epi8(codes, bytes_of_channel(channel));
            _mm_storeu_si128((__m128i *)(planes[channel] + i), codes);
        }
    }
    uint8_t *const rest[FASTNORM_CHANNELS] = {planes[0] + i, planes[1] + i, planes[2] + i};
    split_portable(pixels + FASTNORM_CHANNELS * i, count - i, rest);
}

TARGET void join_avx2(const uint8_t *const planes[FASTNORM_CHANNELS], int64_t count, uint8_t *pixels) {
    int64_t i = 0;
    for (; i + GROUP <= count; i += GROUP) {
        __m128i code[FASTNORM_CHANNELS];
#pragma GCC unroll 3
        for (int channel = 0; channel < FASTNORM_CHANNELS; channel++) {
            code[channel] = _mm_loadu_si128((const __m128i *)(planes[channel] + i));
            code[channel] = _mm_shuffle_epi8(code[channel], pixels_of_channel(channel));
        }
#pragma GCC unroll 3
        for (int part = 0; part < 3; part++) {
            __m128i bytes = _mm_blendv_epi8(code[0], code[1], channel_mask(part, 1));
            bytes = _mm_blendv_epi8(bytes, code[2], channel_mask(part, 2));
            _mm_storeu_si128((__m128i *)(pixels + FASTNORM_CHANNELS * i) + part, bytes);
        }
    }
    const uint8_t *const rest[FASTNORM_CHANNELS] = {planes[0] + i, planes[1] + i, planes[2] + i};
    join_portable(rest, count - i, pixels + FASTNORM_CHANNELS * i);
}

// --- codes to values

typedef __m256 vector;

TARGET INLINE vector spread(float number) { return _mm256_set1_ps(number); }
TARGET INLINE vector load(const float *numbers) { return _mm256_loadu_ps(numbers); }
TARGET INLINE vector fused(vector a, vector b, vector c) { return _mm256_fmadd_ps(a, b, c); }

TARGET INLINE vector widened(const uint8_t *codes) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)codes)));
}

TARGET INLINE __m128i bfloat16_of_8(__m256 values) {
    const __m256i bits = _mm256_castps_si256(values);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i halves = _mm256_srli_epi32(rounded, 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
}

// Write 8 values from element `index` on, whose address is a multiple of their size.
TARGET INLINE void store(const code_run *run, int64_t index, vector values, const int dtype, const bool streaming) {
    if (dtype == FASTNORM_FLOAT32) {
        float *to = (float *)run->output + index;
        if (streaming)
            _mm256_stream_ps(to, values);
        else
            _mm256_store_ps(to, values);
        return;
    }
    const __m128i halves =
        dtype == FASTNORM_FLOAT16 ? _mm256_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT) : bfloat16_of_8(values);
    __m128i *to = (__m128i *)((uint16_t *)run->output + index);
    if (streaming)
        _mm_stream_si128(to, halves);
    else
        _mm_store_si128(to, halves);
}

#include "normalize_loops.h"

const normalize_kernels normalize_avx2 = {
    .split = split_avx2,
    .join = join_avx2,
    .write = {write_float32, write_float16, write_bfloat16},
};
