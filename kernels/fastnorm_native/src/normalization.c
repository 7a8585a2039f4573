// Prepares one normalisation: its tables by the contract's own operations, and the proof of the fast form.
#include <math.h>
#include <stdbool.h>

#include "fastnorm.h"
#include "floating_point.h"
#include "half.h"

static bool fast_form_is_exact(const fastnorm_normalization *prepared) {
    for (int c = 0; c < FASTNORM_CHANNELS; c++) {
        for (int code = 0; code < FASTNORM_CODES; code++) {
            const float d = fast_quotient(code, prepared->start, prepared->start_rest) - prepared->mean[c];
            const float y = fmaf(d, prepared->scale[c], d * prepared->scale_rest[c]);
            // By bits, so that signed zeros count.
            if (float_bits(y) != float_bits(prepared->float32[c][code])) return false;
        }
    }
    return true;
}

static float q_of(int code, int32_t order) {
    switch (order) {
    case FASTNORM_TO_DTYPE: return (float)code * (1.0f / 255.0f);
    case FASTNORM_FUSED: return (float)code;
    case FASTNORM_SCALE_SHIFT: return (float)code / 127.5f;
    default: return (float)code / 255.0f;
    }
}

static float in_unit_of_q(float constant, int32_t order) {
    switch (order) {
    case FASTNORM_FUSED: return constant * 255.0f;
    case FASTNORM_SCALE_SHIFT: return 1.0f;
    default: return constant;
    }
}

static void choose_start(fastnorm_normalization *prepared, int32_t order) {
    prepared->start = INVERSE_255_HIGH;
    prepared->start_rest = INVERSE_255_LOW;
    if (order == FASTNORM_SCALE_SHIFT) { // twice as much is as exact
        prepared->start *= 2.0f;
        prepared->start_rest *= 2.0f;
    } else if (order != FASTNORM_TO_TENSOR) {
        prepared->start = order == FASTNORM_FUSED ? 1.0f : 1.0f / 255.0f;
        prepared->start_rest = 0.0f;
    }
}

void fastnorm_prepare(fastnorm_normalization *prepared, const float *mean, const float *std, int32_t order) {
    const floating_point_state before = use_ieee_arithmetic();
    choose_start(prepared, order);
    for (int i = 0; i < FASTNORM_PATTERN; i++) {
        const float divisor = in_unit_of_q(std[i % FASTNORM_CHANNELS], order);
        prepared->mean[i] = in_unit_of_q(mean[i % FASTNORM_CHANNELS], order);
        prepared->scale[i] = 1.0f / divisor;
        prepared->scale_rest[i] = (float)(1.0 / (double)divisor - (double)prepared->scale[i]);
    }
    for (int c = 0; c < FASTNORM_CHANNELS; c++) {
        const float divisor = in_unit_of_q(std[c], order);
        for (int code = 0; code < FASTNORM_CODES; code++) {
            const float d = q_of(code, order) - prepared->mean[c], y = d / divisor;
            prepared->float32[c][code] = y;
            prepared->float16[c][code] = float16_of(y);
            prepared->bfloat16[c][code] = bfloat16_of(y);
        }
    }
    prepared->only_by_table = !fast_form_is_exact(prepared);
    restore_arithmetic(before);
}
