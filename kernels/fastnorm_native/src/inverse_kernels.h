// The loops of the way back from normalised values. They are plain C, in inverse_loops.h, which compilers turn into vector
// code of each instruction set.
#ifndef FASTNORM_INVERSE_KERNELS_H
#define FASTNORM_INVERSE_KERNELS_H

#include <stdbool.h>

#include "fastnorm.h"

// Constants for as many values as are computed in a row; with three channels and vectors of 16, all repeats after 48.
enum { BLOCK = 48 };

// The first value is of channel 0 if channels are interleaved; else all are of one channel.
typedef struct {
    float std[BLOCK], mean[BLOCK], target_mean[BLOCK], target_std[BLOCK];
} inverse_constants;

typedef void widening(const uint16_t *halves, int64_t count, float *values);
typedef void narrowing(const float *values, int64_t count, uint16_t *halves);
typedef void conversion(const float *values, const inverse_constants *constants, int64_t count, float *results);

typedef struct {
    widening *from_float16, *from_bfloat16;
    void (*to_codes)(const float *values, const inverse_constants *constants, int64_t count, uint8_t *codes);
    conversion *to_unit, *renormalize; // not in place
    narrowing *to_float16, *to_bfloat16;
} inverse_kernels;

extern const inverse_kernels inverse_portable, inverse_avx2, inverse_vnni;

const inverse_kernels *inverse_kernels_of(int64_t instructions);

// Whether the kernels of the instruction sets up to the best one give the values of single operations.
bool inverse_self_test(int32_t best_instructions);

#endif
