// Plain C that compilers vectorise as far as every x86-64 processor allows. Weights are packed as for AVX2.
#include "passes.h"

static inline int32_t weight(const int32_t *words, int tap) {
    const int32_t high = (int8_t)((uint32_t)words[0] >> 8 * tap & 0xff);
    const int32_t low = (int16_t)((uint32_t)words[1 + (tap & 1)] >> 16 * (tap >> 1) & 0xffff);
    return high * 65536 + low;
}

static void horizontal(const uint8_t *const rows[GROUP], int32_t pixel_bytes, const fastnorm_table *columns,
                       uint32_t *words, size_t pitch) {
    for (int32_t pixel = 0; pixel < columns->count; pixel++) {
        const int32_t *k = weights_of(columns, pixel);
        size_t at = (size_t)columns->start[pixel] * (size_t)pixel_bytes;
        int32_t sums[GROUP][4];
        for (int row = 0; row < GROUP; row++) {
            for (int c = 0; c < 4; c++) sums[row][c] = HALF;
        }
        for (int32_t group = 0; group < columns->groups; group++, k += WEIGHT_WORDS) {
            for (int tap = 0; tap < GROUP; tap++, at += (size_t)pixel_bytes) {
                const int32_t its = weight(k, tap);
                for (int row = 0; row < GROUP; row++) { // a fourth channel makes whole vectors; nobody looks at it
                    for (int c = 0; c < 4; c++) sums[row][c] += rows[row][at + (size_t)c] * its;
                }
            }
        }
        for (int c = 0; c < FASTNORM_CHANNELS; c++) {
            uint32_t word = 0;
            for (int row = 0; row < GROUP; row++) word |= (uint32_t)value_of(sums[row][c]) << 8 * row;
            words[(size_t)c * pitch + (size_t)pixel] = word;
        }
    }
}

static void vertical(const uint32_t *const *lines, int32_t count, const int32_t *weights, int32_t length,
                     uint8_t *values) {
    for (int32_t x = 0; x < length; x += LINE) {
        int32_t sums[LINE];
        for (int i = 0; i < LINE; i++) sums[i] = HALF;
        for (int32_t line = 0; line < count; line++) {
            const int32_t *k = weights + line * WEIGHT_WORDS;
            const int32_t k0 = weight(k, 0), k1 = weight(k, 1), k2 = weight(k, 2), k3 = weight(k, 3);
            const uint32_t *words = lines[line] + x;
            for (int i = 0; i < LINE; i++) {
                const uint32_t w = words[i];
                sums[i] += (int32_t)(w & 255) * k0 + (int32_t)(w >> 8 & 255) * k1 + (int32_t)(w >> 16 & 255) * k2 +
                           (int32_t)(w >> 24) * k3;
            }
        }
        for (int i = 0; i < LINE; i++) values[x + i] = value_of(sums[i]);
    }
}

static void interleave(const uint8_t *const rows[GROUP], int32_t length, uint32_t *words) {
    for (int32_t i = 0; i < length; i++) {
        words[i] = (uint32_t)rows[0][i] | (uint32_t)rows[1][i] << 8 | (uint32_t)rows[2][i] << 16 |
                   (uint32_t)rows[3][i] << 24;
    }
}

const passes PORTABLE_PASSES = {horizontal, vertical, interleave};
