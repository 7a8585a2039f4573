// What the library exports, and the records that the host packs for it. Python's side is fastnorm_native/records.py.
#ifndef FASTNORM_H
#define FASTNORM_H

#ifndef __x86_64__
#error "This code has been tested on x86-64 only."
#endif

#include <stdint.h>

#define FASTNORM_EXPORT __attribute__((visibility("default")))

enum { FASTNORM_CHANNELS = 3, FASTNORM_CODES = 256, FASTNORM_PATTERN = 18 };

// Instruction sets, from the least to the most that a processor has to offer.
enum {
    FASTNORM_PORTABLE, // what every x86-64 processor has
    FASTNORM_AVX2,     // and FMA, F16C
    FASTNORM_VNNI,     // AVX-512 F, DQ, BW, VL and VNNI
    FASTNORM_INSTRUCTION_SETS
};

// Dtypes.
enum { FASTNORM_FLOAT32, FASTNORM_FLOAT16, FASTNORM_BFLOAT16, FASTNORM_UINT8 };

// The orders of the steps.
enum {
    FASTNORM_TO_TENSOR,  // q = x / 255
    FASTNORM_TO_DTYPE,   // q = x * (1 / 255)
    FASTNORM_FUSED,      // q = x, with mean * 255 and std * 255
    FASTNORM_SCALE_SHIFT // q = x / 127.5, with a mean and std of 1, whatever is given
};

// One normalisation, ready for use. Made by fastnorm_prepare, which proves on all 768 inputs that the fast form gives
// the contract's bits:
//
//     d = q - mean;  y = d / std;  each operation rounded to float32
//
// in which the order of the steps says what q is, and mean and std in its unit. The fast form multiplies by reciprocals
// in two parts, rounded once: q = fma(x, start, x * start_rest), y = fma(d, scale, d * scale_rest).
typedef struct {
    // R G B R G B ...: a vector of 16 that begins with any channel can be loaded
    float mean[FASTNORM_PATTERN];       // in q's unit
    float scale[FASTNORM_PATTERN];      // 1 / std rounded to float32
    float scale_rest[FASTNORM_PATTERN]; // what is left of 1 / std
    float start, start_rest;
    int32_t only_by_table;              // the fast form differs somewhere
    float float32[FASTNORM_CHANNELS][FASTNORM_CODES];
    uint16_t float16[FASTNORM_CHANNELS][FASTNORM_CODES];
    uint16_t bfloat16[FASTNORM_CHANNELS][FASTNORM_CODES];
} fastnorm_normalization;

// Steps from one element to the next along each axis, in elements.
typedef struct {
    int64_t image, channel, row, column;
} fastnorm_strides;

// One output of fastnorm_normalize; its address is a multiple of its elements' size.
typedef struct {
    void *address;
    const fastnorm_normalization *normalization;
    int64_t dtype; // FASTNORM_FLOAT32, FASTNORM_FLOAT16 or FASTNORM_BFLOAT16
    fastnorm_strides strides;
} fastnorm_output;

// All that fastnorm_normalize has to do: every output from the same pixels, all of shape (images, 3, height, width).
typedef struct {
    const uint8_t *pixels;
    int64_t images, height, width;
    fastnorm_strides strides;
    int64_t instructions;
    int64_t threads;   // at most; the caller is one of them
    int64_t streaming; // whether stores go past the caches
    int64_t outputs;
    fastnorm_output output[];
} fastnorm_normalize_job;

// The way back: for every normalised value y of whichever order, with each operation rounded to float32
//
//     t = y * std;  p = t + mean
//
//     as uint8:      v = p * 255, then the nearest of the integers 0 to 255, halves to even; NaN is 0
//     as a float:    p within 0 to 1; NaN stays NaN
//     renormalised:  d = p - target mean;  z = d / target std
//
// and one rounding to the output's dtype.
typedef struct {
    const void *values;
    int64_t dtype; // not FASTNORM_UINT8
    fastnorm_strides strides;
    void *output; // its address and that of the values are multiples of their elements' sizes
    int64_t output_dtype;
    fastnorm_strides output_strides;
    int64_t images, height, width;
    int64_t instructions;
    int64_t threads;      // at most; the caller is one of them
    int64_t renormalizes; // whether there is a target; then the output's dtype is not FASTNORM_UINT8
    float mean[FASTNORM_CHANNELS], std[FASTNORM_CHANNELS];
    float target_mean[FASTNORM_CHANNELS], target_std[FASTNORM_CHANNELS];
} fastnorm_inverse_job;

// Records that the host has a counterpart of; it compares their sizes.
enum {
    FASTNORM_NORMALIZATION_RECORD,
    FASTNORM_OUTPUT_RECORD,
    FASTNORM_NORMALIZE_JOB_RECORD,
    FASTNORM_INVERSE_JOB_RECORD
};

FASTNORM_EXPORT const char *fastnorm_fingerprint(void); // of the sources and flags that it was compiled from
FASTNORM_EXPORT int64_t fastnorm_record_size(int32_t record);
FASTNORM_EXPORT int32_t fastnorm_best_instructions(void); // that this processor and system have
FASTNORM_EXPORT int32_t fastnorm_self_test(void);       // 0, or a number that names what failed
FASTNORM_EXPORT void fastnorm_prepare(fastnorm_normalization *prepared, const float *mean, const float *std,
                                      int32_t order);
FASTNORM_EXPORT void fastnorm_normalize(const fastnorm_normalize_job *job);
FASTNORM_EXPORT void fastnorm_inverse(const fastnorm_inverse_job *job);

#endif
