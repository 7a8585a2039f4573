// Every code through every kernel, beside the tables.
#include <string.h>

#include "half.h"
#include "normalize_kernels.h"

enum { VALUES = FASTNORM_CHANNELS * FASTNORM_CODES };

// Pixel i has the codes i, i + 85 and i + 170, modulo 256, so that a mix-up of channels shows.
static uint8_t code_of(int channel, int pixel) { return (uint8_t)(pixel + 85 * channel); }

static bool arranges(const normalize_kernels *kernels) {
    uint8_t planes[FASTNORM_CHANNELS][FASTNORM_CODES], pixels[VALUES];
    uint8_t *const written[] = {planes[0], planes[1], planes[2]};
    const uint8_t *const read[] = {planes[0], planes[1], planes[2]};
    for (int i = 0; i < VALUES; i++) pixels[i] = code_of(i % FASTNORM_CHANNELS, i / FASTNORM_CHANNELS);
    kernels->split(pixels, FASTNORM_CODES, written);
    for (int i = 0; i < VALUES; i++) {
        if (planes[i % FASTNORM_CHANNELS][i / FASTNORM_CHANNELS] != pixels[i]) return false;
    }
    uint8_t again[VALUES];
    kernels->join(read, FASTNORM_CODES, again);
    return memcmp(again, pixels, VALUES) == 0;
}

static bool is_value(const fastnorm_normalization *normalization, int dtype, const void *memory, int i, uint8_t code) {
    const int c = i % FASTNORM_CHANNELS;
    if (dtype == FASTNORM_FLOAT32) {
        return float_bits(((const float *)memory)[i]) == float_bits(normalization->float32[c][code]);
    }
    const uint16_t half = ((const uint16_t *)memory)[i];
    return half == (dtype == FASTNORM_FLOAT16 ? normalization->float16 : normalization->bfloat16)[c][code];
}

static bool writes(const normalize_kernels *kernels, const fastnorm_normalization *normalization, int dtype) {
    uint8_t pixels[VALUES];
    _Alignas(64) float memory[VALUES];
    for (int i = 0; i < VALUES; i++) pixels[i] = code_of(i % FASTNORM_CHANNELS, i / FASTNORM_CHANNELS);
    const code_run run = {
        .normalization = normalization, .interleaved = true, .codes = pixels, .count = VALUES, .output = memory};
    kernels->write[dtype](&run);
    for (int i = 0; i < VALUES; i++) {
        if (!is_value(normalization, dtype, memory, i, pixels[i])) return false;
    }
    return true;
}

bool normalize_self_test(int32_t best_instructions) {
    const float mean[] = {0.48145466f, 0.4578275f, 0.40821073f}, std[] = {0.26862954f, 0.26130258f, 0.27577711f};
    fastnorm_normalization normalization;
    fastnorm_prepare(&normalization, mean, std, FASTNORM_TO_TENSOR);
    const normalize_kernels *const all[] = {&normalize_portable, &normalize_avx2, &normalize_vnni};
    for (int32_t i = 0; i <= best_instructions; i++) {
        if (!arranges(all[i])) return false;
        for (int dtype = FASTNORM_FLOAT32; dtype <= FASTNORM_BFLOAT16; dtype++) {
            if (!writes(all[i], &normalization, dtype)) return false;
        }
    }
    return true;
}
