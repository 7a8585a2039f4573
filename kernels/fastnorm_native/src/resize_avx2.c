// AVX2: K = hi * 2^16 + lo. vpmaddubsw multiplies bytes by hi and adds pairs to 16 bits, vpmaddwd multiplies them by lo
// and adds pairs to 32 bits.
//
// Why nothing is lost: the sums of hi stay below 2^15 (fastnorm_table.high_sums_fit_int16), so neither the saturating
// vpmaddubsw nor the 16-bit additions behind it overflow; a pair of lo products is below 2 * 255 * 2^15 < 2^24, and the
// 32-bit sums are taken modulo 2^32, where the whole is exact.
#include <immintrin.h>

#include "passes.h"

#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define AVX2_INLINE AVX2 __attribute__((always_inline)) static inline

typedef struct {
    __m256i high, low;
} sums;

AVX2_INLINE __m256i spread(const int32_t *word) { return _mm256_set1_epi32(*word); }

AVX2_INLINE sums rounding(void) { return (sums){_mm256_setzero_si256(), _mm256_set1_epi32(HALF)}; }

// Adds eight words of four taps, times the weights of a group.
AVX2_INLINE sums add(sums s, __m256i words, __m256i k0, __m256i k1, __m256i k2) {
    const __m256i even = _mm256_and_si256(words, _mm256_set1_epi16(255)), odd = _mm256_srli_epi16(words, 8);
    s.high = _mm256_add_epi16(s.high, _mm256_maddubs_epi16(words, k0));
    s.low = _mm256_add_epi32(s.low, _mm256_madd_epi16(even, k1));
    s.low = _mm256_add_epi32(s.low, _mm256_madd_epi16(odd, k2));
    return s;
}

// The sums without their fraction, not clipped: int16 holds them.
AVX2_INLINE __m256i total(sums s) {
    const __m256i high = _mm256_slli_epi32(_mm256_madd_epi16(s.high, _mm256_set1_epi16(1)), 16);
    return _mm256_srai_epi32(_mm256_add_epi32(s.low, high), FRACTION_BITS);
}

// Four pixels as R4 G4 B4 X4, from the first 12 or all 16 bytes.
AVX2_INLINE __m256i by_channel(int32_t pixel_bytes) {
    const __m128i three = _mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1);
    const __m128i four = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm256_broadcastsi128_si256(pixel_bytes == 3 ? three : four);
}

AVX2_INLINE __m256i two_rows(const uint8_t *a, const uint8_t *b, __m256i order) {
    const __m128i first = _mm_loadu_si128((const __m128i *)a), second = _mm_loadu_si128((const __m128i *)b);
    return _mm256_shuffle_epi8(_mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1), order);
}

// Four output pixels of two rows, as totals of R G B X each, to bytes R4 G4 B4 X4 of either row.
AVX2_INLINE __m256i packed(const __m256i pixels[GROUP]) {
    const __m256i a = _mm256_packs_epi32(pixels[0], pixels[1]), b = _mm256_packs_epi32(pixels[2], pixels[3]);
    return _mm256_shuffle_epi8(_mm256_packus_epi16(a, b), by_channel(4));
}

// Four output pixels of four rows, as in `packed`, to four words of each channel.
AVX2_INLINE void store(__m256i rows01, __m256i rows23, uint32_t *words, size_t pitch) {
    const __m128i row0 = _mm256_castsi256_si128(rows01), row1 = _mm256_extracti128_si256(rows01, 1);
    const __m128i row2 = _mm256_castsi256_si128(rows23), row3 = _mm256_extracti128_si256(rows23, 1);
    const __m128i red_green01 = _mm_unpacklo_epi8(row0, row1), blue01 = _mm_unpackhi_epi8(row0, row1);
    const __m128i red_green23 = _mm_unpacklo_epi8(row2, row3), blue23 = _mm_unpackhi_epi8(row2, row3);
    _mm_storeu_si128((__m128i *)words, _mm_unpacklo_epi16(red_green01, red_green23));
    _mm_storeu_si128((__m128i *)(words + pitch), _mm_unpackhi_epi16(red_green01, red_green23));
    _mm_storeu_si128((__m128i *)(words + 2 * pitch), _mm_unpacklo_epi16(blue01, blue23));
}

// With constants for the number of bytes and groups, loops unroll.
AVX2_INLINE void horizontal_with(const uint8_t *const rows[GROUP], size_t pixel_bytes, int32_t groups,
                                 const fastnorm_table *columns, uint32_t *words, size_t pitch) {
    const __m256i order = by_channel((int32_t)pixel_bytes);
    const uint8_t *row0 = rows[0], *row1 = rows[1], *row2 = rows[2], *row3 = rows[3];
    const int32_t *k = columns->weights, *start = columns->start;
    for (int32_t pixel = 0; pixel < columns->count; pixel += GROUP) {
        __m256i rows01[GROUP], rows23[GROUP];
#pragma GCC unroll 4
        for (int i = 0; i < GROUP; i++) {
            size_t at = (size_t)start[pixel + i] * pixel_bytes;
            sums s01 = rounding(), s23 = rounding();
            for (int32_t group = 0; group < groups; group++) {
                const __m256i k0 = spread(k), k1 = spread(k + 1), k2 = spread(k + 2);
                s01 = add(s01, two_rows(row0 + at, row1 + at, order), k0, k1, k2);
                s23 = add(s23, two_rows(row2 + at, row3 + at, order), k0, k1, k2);
                at += GROUP * pixel_bytes;
                k += WEIGHT_WORDS;
            }
            rows01[i] = total(s01);
            rows23[i] = total(s23);
        }
        store(packed(rows01), packed(rows23), words + pixel, pitch);
    }
}

AVX2_INLINE void horizontal_of(const uint8_t *const rows[GROUP], size_t pixel_bytes, const fastnorm_table *columns,
                               uint32_t *words, size_t pitch) {
    switch (columns->groups) {
    case 1: horizontal_with(rows, pixel_bytes, 1, columns, words, pitch); break;
    case 2: horizontal_with(rows, pixel_bytes, 2, columns, words, pitch); break;
    default: horizontal_with(rows, pixel_bytes, columns->groups, columns, words, pitch);
    }
}

AVX2 static void horizontal(const uint8_t *const rows[GROUP], int32_t pixel_bytes, const fastnorm_table *columns,
                            uint32_t *words, size_t pitch) {
    if (pixel_bytes == 3) {
        horizontal_of(rows, 3, columns, words, pitch);
    } else {
        horizontal_of(rows, 4, columns, words, pitch);
    }
}

// 32 columns at a time, for which the weights are spread once.
AVX2 static void vertical(const uint32_t *const *lines, int32_t count, const int32_t *weights, int32_t length,
                          uint8_t *values) {
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7); // packing works on either half by itself
    for (int32_t x = 0; x < length; x += 32) {
        sums s[4] = {rounding(), rounding(), rounding(), rounding()};
        const int32_t *k = weights;
        for (int32_t line = 0; line < count; line++, k += WEIGHT_WORDS) {
            const __m256i k0 = spread(k), k1 = spread(k + 1), k2 = spread(k + 2);
            const __m256i *words = (const __m256i *)(lines[line] + x);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) s[i] = add(s[i], _mm256_loadu_si256(words + i), k0, k1, k2);
        }
        const __m256i a = _mm256_packs_epi32(total(s[0]), total(s[1])), b = _mm256_packs_epi32(total(s[2]), total(s[3]));
        const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(a, b), in_order);
        _mm256_storeu_si256((__m256i *)(values + x), bytes);
    }
}

AVX2 static void interleave(const uint8_t *const rows[GROUP], int32_t length, uint32_t *words) {
    for (int32_t i = 0; i < length; i += 16) {
        const __m128i row0 = _mm_loadu_si128((const __m128i *)(rows[0] + i));
        const __m128i row1 = _mm_loadu_si128((const __m128i *)(rows[1] + i));
        const __m128i row2 = _mm_loadu_si128((const __m128i *)(rows[2] + i));
        const __m128i row3 = _mm_loadu_si128((const __m128i *)(rows[3] + i));
        const __m128i low01 = _mm_unpacklo_epi8(row0, row1), high01 = _mm_unpackhi_epi8(row0, row1);
        const __m128i low23 = _mm_unpacklo_epi8(row2, row3), high23 = _mm_unpackhi_epi8(row2, row3);
        _mm_storeu_si128((__m128i *)(words + i), _mm_unpacklo_epi16(low01, low23));
        _mm_storeu_si128((__m128i *)(words + i + 4), _mm_unpackhi_epi16(low01, low23));
        _mm_storeu_si128((__m128i *)(words + i + 8), _mm_unpacklo_epi16(high01, high23));
        _mm_storeu_si128((__m128i *)(words + i + 12), _mm_unpackhi_epi16(high01, high23));
    }
}

const passes AVX2_PASSES = {horizontal, vertical, interleave};
