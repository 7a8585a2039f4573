// Normalising, 8 values at a time, with AVX2, FMA and F16C.
#include <immintrin.h>

#include "floating_point.h"
#include "normalize_kernels.h"

#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define INLINE static inline __attribute__((always_inline))

enum { LANES = 8, GROUP = 16 }; // values in a vector; pixels in three vectors of bytes

// --- R G B R G B ... and planes
//
// Three vectors a, b, c hold 16 pixels. At each byte, one of the three has a code of the wanted channel: two blends
// collect these codes, and pixel p's lies at byte (3 p + channel) modulo 16.

AVX2 INLINE __m128i bytes_of_channel(int channel) {
    int8_t place[16];
    for (int i = 0; i < 16; i++) place[i] = (int8_t)((3 * i + channel) % 16);
    return _mm_loadu_si128((const __m128i *)place);
}

// The other way round: which pixel's code belongs at byte i.
AVX2 INLINE __m128i pixels_of_channel(int channel) {
    int8_t place[16];
    for (int i = 0; i < 16; i++) place[(3 * i + channel) % 16] = (int8_t)i;
    return _mm_loadu_si128((const __m128i *)place);
}

// Where the bytes of vector `part` are of channel `channel`: byte j of 48 is of channel j modulo 3.
AVX2 INLINE __m128i channel_mask(int part, int channel) {
    int8_t mask[16];
    for (int i = 0; i < 16; i++) mask[i] = (16 * part + i) % FASTNORM_CHANNELS == channel ? -1 : 0;
    return _mm_loadu_si128((const __m128i *)mask);
}

AVX2 void split_avx2(const uint8_t *pixels, int64_t count, uint8_t *const planes[FASTNORM_CHANNELS]) {
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

AVX2 void join_avx2(const uint8_t *const planes[FASTNORM_CHANNELS], int64_t count, uint8_t *pixels) {
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

typedef struct {
    __m256 start, start_rest, mean, scale, scale_rest;
} constants;

// For the codes from `index` on.
AVX2 INLINE constants constants_at(const code_run *run, int64_t index) {
    const fastnorm_normalization *from = run->normalization;
    const int c = channel_of(run, index);
    const __m256 start = _mm256_set1_ps(from->start), rest = _mm256_set1_ps(from->start_rest);
    if (!run->interleaved) {
        return (constants){start, rest, _mm256_set1_ps(from->mean[c]), _mm256_set1_ps(from->scale[c]),
                           _mm256_set1_ps(from->scale_rest[c])};
    }
    return (constants){start, rest, _mm256_loadu_ps(from->mean + c), _mm256_loadu_ps(from->scale + c),
                       _mm256_loadu_ps(from->scale_rest + c)};
}

AVX2 INLINE __m256 values_of(const uint8_t *codes, constants k) {
    const __m256i integers = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)codes));
    const __m256 x = _mm256_cvtepi32_ps(integers);
    const __m256 q = _mm256_fmadd_ps(x, k.start, _mm256_mul_ps(x, k.start_rest));
    const __m256 d = _mm256_sub_ps(q, k.mean);
    return _mm256_fmadd_ps(d, k.scale, _mm256_mul_ps(d, k.scale_rest));
}

AVX2 INLINE __m128i bfloat16_of_8(__m256 values) {
    const __m256i bits = _mm256_castps_si256(values);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i halves = _mm256_srli_epi32(rounded, 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
}

// Write 8 values from element `index` on, whose address is a multiple of their size.
AVX2 INLINE void store(const code_run *run, int64_t index, __m256 values, const int dtype, const bool streaming) {
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

AVX2 INLINE void write(const code_run *run, const int dtype, const bool streaming) {
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

AVX2 INLINE void write_either(const code_run *run, const int dtype) {
    if (run->streaming)
        write(run, dtype, true);
    else
        write(run, dtype, false);
}

AVX2 static void write_float32(const code_run *run) { write_either(run, FASTNORM_FLOAT32); }
AVX2 static void write_float16(const code_run *run) { write_either(run, FASTNORM_FLOAT16); }
AVX2 static void write_bfloat16(const code_run *run) { write_either(run, FASTNORM_BFLOAT16); }

const normalize_kernels normalize_avx2 = {
    .split = split_avx2,
    .join = join_avx2,
    .write = {write_float32, write_float16, write_bfloat16},
};
