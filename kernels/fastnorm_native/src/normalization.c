// Prepares one normalisation: its tables by the contract's own operations, and the proof of the fast form.
#include <math.h>
#include <stdbool.h>

#include "fastnorm.h"
#include "floating_point.h"
#include "half.h"

static bool fast_form_is_exact(const fastnorm_normalization *prepared) {
    for (int c = 0; c < FASTNORM_CHANNELS; c++) {
        for (int code = 0; code < FASTNORM_CODES; code++) {
            const float d = fast_quotient(code) - prepared->mean[c];
            const float y = fmaf(d, prepared->scale[c], d * prepared->scale_rest[c]);
            // By bits, so that signed zeros count.
            if (float_bits(y) != float_bits(prepared->float32[c][code])) return false;
        }
    }
    return true;
}

void fastnorm_prepare(fastnorm_normalization *prepared, const float *mean, const float *std) {
    const floating_point_state before = use_ieee_arithmetic();
    for (int i = 0; i < FASTNORM_PATTERN; i++) {
        const int c = i % FASTNORM_CHANNELS;
        prepared->mean[i] = mean[c];
        prepared->scale[i] = 1.0f / std[c];
        prepared->scale_rest[i] = (float)(1.0 / (double)std[c] - (double)prepared->scale[i]);
    }
    for (int c = 0; c < FASTNORM_CHANNELS; c++) {
        for (int code = 0; code < FASTNORM_CODES; code++) {
            const float q = (float)code / 255.0f, d = q - mean[c], y = d / std[c];
            prepared->float32[c][code] = y;
            prepared->float16[c][code] = float16_of(y);
            prepared->bfloat16[c][code] = bfloat16_of(y);
        }
    }
    prepared->only_by_table = !fast_form_is_exact(prepared);
    restore_arithmetic(before);
}
