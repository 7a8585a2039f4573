// What each instruction set has to offer for normalising, and what they share.
#ifndef FASTNORM_NORMALIZE_KERNELS_H
#define FASTNORM_NORMALIZE_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "fastnorm.h"

// Codes that lie one after the other, and the memory for their values, which do too.
typedef struct {
    const fastnorm_normalization *normalization;
    int channel;      // of the first code
    bool interleaved; // R G B R G B ...; otherwise all are of one channel
    bool streaming;   // stores go past the caches
    const uint8_t *codes;
    int64_t count;
    void *output;
} code_run;

typedef void write_function(const code_run *run);

typedef struct {
    // R G B R G B ... to planes, and back
    void (*split)(const uint8_t *pixels, int64_t count, uint8_t *const planes[FASTNORM_CHANNELS]);
    void (*join)(const uint8_t *const planes[FASTNORM_CHANNELS], int64_t count, uint8_t *pixels);
    write_function *write[3]; // one for each output dtype
} normalize_kernels;

extern const normalize_kernels normalize_portable, normalize_avx2, normalize_vnni;

const normalize_kernels *normalize_kernels_of(int64_t instructions);

// Whether every kernel of the instruction sets up to the best one gives every code's value.
bool normalize_self_test(int32_t best_instructions);

void split_portable(const uint8_t *pixels, int64_t count, uint8_t *const planes[FASTNORM_CHANNELS]);
void join_portable(const uint8_t *const planes[FASTNORM_CHANNELS], int64_t count, uint8_t *pixels);
void split_avx2(const uint8_t *pixels, int64_t count, uint8_t *const planes[FASTNORM_CHANNELS]);
void join_avx2(const uint8_t *const planes[FASTNORM_CHANNELS], int64_t count, uint8_t *pixels);

static inline int channel_of(const code_run *run, int64_t index) {
    return run->interleaved ? (int)((run->channel + index) % FASTNORM_CHANNELS) : run->channel;
}

// The values of the codes from `begin` to `end`, out of the tables.
static inline void look_up_float32(const code_run *run, int64_t begin, int64_t end) {
    const float(*table)[FASTNORM_CODES] = run->normalization->float32;
    const float *first = table[channel_of(run, begin)], *second = table[channel_of(run, begin + 1)];
    const float *third = table[channel_of(run, begin + 2)];
    float *output = run->output;
    int64_t i = begin;
    for (; i + 3 <= end; i += 3) {
        output[i] = first[run->codes[i]];
        output[i + 1] = second[run->codes[i + 1]];
        output[i + 2] = third[run->codes[i + 2]];
    }
    if (i < end) output[i] = first[run->codes[i]];
    if (i + 1 < end) output[i + 1] = second[run->codes[i + 1]];
}

static inline void look_up_half(
    const code_run *run, const uint16_t (*table)[FASTNORM_CODES], int64_t begin, int64_t end) {
    const uint16_t *first = table[channel_of(run, begin)], *second = table[channel_of(run, begin + 1)];
    const uint16_t *third = table[channel_of(run, begin + 2)];
    uint16_t *output = run->output;
    int64_t i = begin;
    for (; i + 3 <= end; i += 3) {
        output[i] = first[run->codes[i]];
        output[i + 1] = second[run->codes[i + 1]];
        output[i + 2] = third[run->codes[i + 2]];
    }
    if (i < end) output[i] = first[run->codes[i]];
    if (i + 1 < end) output[i + 1] = second[run->codes[i + 1]];
}

static inline void look_up(const code_run *run, int dtype, int64_t begin, int64_t end) {
    switch (dtype) {
    case FASTNORM_FLOAT32: look_up_float32(run, begin, end); break;
    case FASTNORM_FLOAT16: look_up_half(run, run->normalization->float16, begin, end); break;
    default: look_up_half(run, run->normalization->bfloat16, begin, end); break;
    }
}

// How many codes come before the first output element whose address is a multiple of `alignment` bytes.
static inline int64_t codes_before_aligned(const code_run *run, int64_t element_size, int64_t alignment) {
    const int64_t past = (int64_t)((uintptr_t)run->output % (uintptr_t)alignment);
    const int64_t before = past == 0 ? 0 : (alignment - past) / element_size;
    return before < run->count ? before : run->count;
}

#endif
