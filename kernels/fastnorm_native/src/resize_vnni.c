// AVX-512 VNNI: K = b2 * 2^16 + b1 * 2^8 + b0. vpdpbusd multiplies the four bytes of a word by four weights and adds all
// to 32 bits, without saturation; the three sums are put together modulo 2^32, where the whole is exact.
#include <immintrin.h>

#include "passes.h"

#define VNNI __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#define VNNI_INLINE VNNI __attribute__((always_inline)) static inline

typedef struct {
    __m512i limb[WEIGHT_WORDS];
} sums;

VNNI_INLINE sums rounding(void) {
    return (sums){{_mm512_set1_epi32(HALF), _mm512_setzero_si512(), _mm512_setzero_si512()}};
}

// Adds sixteen words of four taps, times the weights of a group.
VNNI_INLINE sums add(sums s, __m512i words, const int32_t *weights) {
    s.limb[0] = _mm512_dpbusd_epi32(s.limb[0], words, _mm512_set1_epi32(weights[0]));
    s.limb[1] = _mm512_dpbusd_epi32(s.limb[1], words, _mm512_set1_epi32(weights[1]));
    s.limb[2] = _mm512_dpbusd_epi32(s.limb[2], words, _mm512_set1_epi32(weights[2]));
    return s;
}

// The sums without their fraction, not clipped: int16 holds them.
VNNI_INLINE __m512i total(sums s) {
    const __m512i middle = _mm512_slli_epi32(s.limb[1], 8), high = _mm512_slli_epi32(s.limb[2], 16);
    return _mm512_srai_epi32(_mm512_add_epi32(_mm512_add_epi32(s.limb[0], middle), high), FRACTION_BITS);
}

// Four pixels as R4 G4 B4 X4, from the first 12 or all 16 bytes.
VNNI_INLINE __m512i by_channel(int32_t pixel_bytes) {
    const __m128i three = _mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1);
    const __m128i four = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_broadcast_i32x4(pixel_bytes == 3 ? three : four);
}

VNNI_INLINE __m128i load(const uint8_t *bytes) { return _mm_loadu_si128((const __m128i *)bytes); }

// 16 bytes of each row.
VNNI_INLINE __m512i four_rows(const uint8_t *row0, const uint8_t *row1, const uint8_t *row2, const uint8_t *row3) {
    __m512i bytes = _mm512_castsi128_si512(load(row0));
    bytes = _mm512_inserti32x4(bytes, load(row1), 1);
    bytes = _mm512_inserti32x4(bytes, load(row2), 2);
    return _mm512_inserti32x4(bytes, load(row3), 3);
}

// Four output pixels of four rows, as totals of R G B X for each row, to four words of each channel.
VNNI_INLINE void store(const __m512i pixels[GROUP], uint32_t *words, size_t pitch) {
    const __m512i transposed = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i a = _mm512_packs_epi32(pixels[0], pixels[1]), b = _mm512_packs_epi32(pixels[2], pixels[3]);
    const __m512i by_row = _mm512_shuffle_epi8(_mm512_packus_epi16(a, b), by_channel(4));
    const __m512i channels = _mm512_shuffle_epi8(_mm512_permutexvar_epi32(transposed, by_row), by_channel(4));
    _mm_storeu_si128((__m128i *)words, _mm512_castsi512_si128(channels));
    _mm_storeu_si128((__m128i *)(words + pitch), _mm512_extracti32x4_epi32(channels, 1));
    _mm_storeu_si128((__m128i *)(words + 2 * pitch), _mm512_extracti32x4_epi32(channels, 2));
}

// With constants for the number of bytes and groups, loops unroll.
VNNI_INLINE void horizontal_with(const uint8_t *const rows[GROUP], size_t pixel_bytes, int32_t groups,
                                 const fastnorm_table *columns, uint32_t *words, size_t pitch) {
    const __m512i order = by_channel((int32_t)pixel_bytes);
    const uint8_t *row0 = rows[0], *row1 = rows[1], *row2 = rows[2], *row3 = rows[3];
    const int32_t *k = columns->weights, *start = columns->start;
    for (int32_t pixel = 0; pixel < columns->count; pixel += GROUP) {
        __m512i totals[GROUP];
#pragma GCC unroll 4
        for (int i = 0; i < GROUP; i++) {
            size_t at = (size_t)start[pixel + i] * pixel_bytes;
            sums s = rounding();
            int32_t left = groups; // at least one; counted down, which leaves a register more for the rest
            do {
                const __m512i bytes = four_rows(row0 + at, row1 + at, row2 + at, row3 + at);
                s = add(s, _mm512_shuffle_epi8(bytes, order), k);
                at += GROUP * pixel_bytes;
                k += WEIGHT_WORDS;
            } while (--left > 0);
            totals[i] = total(s);
        }
        store(totals, words + pixel, pitch);
    }
}

VNNI_INLINE void horizontal_of(const uint8_t *const rows[GROUP], size_t pixel_bytes, const fastnorm_table *columns,
                               uint32_t *words, size_t pitch) {
    switch (columns->groups) {
    case 1: horizontal_with(rows, pixel_bytes, 1, columns, words, pitch); break;
    case 2: horizontal_with(rows, pixel_bytes, 2, columns, words, pitch); break;
    default: horizontal_with(rows, pixel_bytes, columns->groups, columns, words, pitch);
    }
}

VNNI static void horizontal(const uint8_t *const rows[GROUP], int32_t pixel_bytes, const fastnorm_table *columns,
                            uint32_t *words, size_t pitch) {
    if (pixel_bytes == 3) {
        horizontal_of(rows, 3, columns, words, pitch);
    } else {
        horizontal_of(rows, 4, columns, words, pitch);
    }
}

VNNI static void vertical(const uint32_t *const *lines, int32_t count, const int32_t *weights, int32_t length,
                          uint8_t *values) {
    for (int32_t x = 0; x < length; x += 32) {
        sums a = rounding(), b = rounding();
        for (int32_t line = 0; line < count; line++) {
            a = add(a, _mm512_loadu_si512(lines[line] + x), weights + line * WEIGHT_WORDS);
            b = add(b, _mm512_loadu_si512(lines[line] + x + 16), weights + line * WEIGHT_WORDS);
        }
        const __m512i zero = _mm512_setzero_si512();
        const __m128i low = _mm512_cvtusepi32_epi8(_mm512_max_epi32(total(a), zero)); // unsigned saturation: up to 255
        const __m128i high = _mm512_cvtusepi32_epi8(_mm512_max_epi32(total(b), zero));
        _mm256_storeu_si256((__m256i *)(values + x), _mm256_set_m128i(high, low));
    }
}

VNNI static void interleave(const uint8_t *const rows[GROUP], int32_t length, uint32_t *words) {
    const __m512i transposed = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i order = by_channel(4);
    for (int32_t i = 0; i < length; i += 16) {
        const __m512i bytes = four_rows(rows[0] + i, rows[1] + i, rows[2] + i, rows[3] + i);
        _mm512_storeu_si512(words + i, _mm512_shuffle_epi8(_mm512_permutexvar_epi32(transposed, bytes), order));
    }
}

const passes VNNI_PASSES = {horizontal, vertical, interleave};
