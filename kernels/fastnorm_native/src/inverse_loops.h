// The loops of inverse_kernels.h, for the file that includes it: TARGET is an attribute that chooses instructions, KERNELS
// the name of the set.
#include "half.h"
#include "inverse_kernels.h"

#define INLINE __attribute__((always_inline)) static inline

INLINE float pixel_of(float value, float std, float mean) {
    const float t = value * std;
    return t + mean;
}

// Comparisons that NaN fails make it 0. Behind 2^23 there is no place for a fraction: the sum's last byte is the code.
INLINE uint8_t code_of(float pixel) {
    const float v = pixel * 255.0f;
    const float above = v > 0.0f ? v : 0.0f;
    const float within = above < 255.0f ? above : 255.0f;
    return (uint8_t)float_bits(within + 0x1p23f);
}

// Comparisons that NaN fails leave it as it is.
INLINE float within_unit(float pixel) {
    const float above = pixel < 0.0f ? 0.0f : pixel;
    return above > 1.0f ? 1.0f : above;
}

TARGET static void from_float16(const uint16_t *restrict halves, int64_t count, float *restrict values) {
    for (int64_t i = 0; i < count; i++) values[i] = float_of_float16(halves[i]);
}

TARGET static void from_bfloat16(const uint16_t *restrict halves, int64_t count, float *restrict values) {
    for (int64_t i = 0; i < count; i++) values[i] = float_of_bfloat16(halves[i]);
}

TARGET static void to_float16(const float *restrict values, int64_t count, uint16_t *restrict halves) {
    for (int64_t i = 0; i < count; i++) halves[i] = float16_of(values[i]);
}

TARGET static void to_bfloat16(const float *restrict values, int64_t count, uint16_t *restrict halves) {
    for (int64_t i = 0; i < count; i++) halves[i] = bfloat16_of(values[i]);
}

// What a block's values become; `count` is a constant for all blocks but the last.

TARGET INLINE void codes_of_block(const float *restrict values, const inverse_constants *restrict k, int64_t count,
                                  uint8_t *restrict codes) {
    for (int64_t i = 0; i < count; i++) codes[i] = code_of(pixel_of(values[i], k->std[i], k->mean[i]));
}

TARGET INLINE void unit_of_block(const float *restrict values, const inverse_constants *restrict k, int64_t count,
                                 float *restrict results) {
    for (int64_t i = 0; i < count; i++) results[i] = within_unit(pixel_of(values[i], k->std[i], k->mean[i]));
}

TARGET INLINE void renormalized_block(const float *restrict values, const inverse_constants *restrict k, int64_t count,
                                      float *restrict results) {
    for (int64_t i = 0; i < count; i++) {
        const float d = pixel_of(values[i], k->std[i], k->mean[i]) - k->target_mean[i];
        results[i] = d / k->target_std[i];
    }
}

TARGET static void to_codes(const float *values, const inverse_constants *k, int64_t count, uint8_t *codes) {
    int64_t i = 0;
    for (; i + BLOCK <= count; i += BLOCK) codes_of_block(values + i, k, BLOCK, codes + i);
    codes_of_block(values + i, k, count - i, codes + i);
}

TARGET static void to_unit(const float *values, const inverse_constants *k, int64_t count, float *results) {
    int64_t i = 0;
    for (; i + BLOCK <= count; i += BLOCK) unit_of_block(values + i, k, BLOCK, results + i);
    unit_of_block(values + i, k, count - i, results + i);
}

TARGET static void renormalize(const float *values, const inverse_constants *k, int64_t count, float *results) {
    int64_t i = 0;
    for (; i + BLOCK <= count; i += BLOCK) renormalized_block(values + i, k, BLOCK, results + i);
    renormalized_block(values + i, k, count - i, results + i);
}

const inverse_kernels KERNELS = {
    .from_float16 = from_float16,
    .from_bfloat16 = from_bfloat16,
    .to_codes = to_codes,
    .to_unit = to_unit,
    .renormalize = renormalize,
    .to_float16 = to_float16,
    .to_bfloat16 = to_bfloat16,
};
