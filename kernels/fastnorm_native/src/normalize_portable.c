// Without vector instructions a table look-up is the fastest exact form.
#include "normalize_kernels.h"

void split_portable(const uint8_t *pixels, int64_t count, uint8_t *const planes[FASTNORM_CHANNELS]) {
    for (int64_t i = 0; i < count; i++)
        for (int c = 0; c < FASTNORM_CHANNELS; c++) planes[c][i] = pixels[FASTNORM_CHANNELS * i + c];
}

void join_portable(const uint8_t *const planes[FASTNORM_CHANNELS], int64_t count, uint8_t *pixels) {
    for (int64_t i = 0; i < count; i++)
        for (int c = 0; c < FASTNORM_CHANNELS; c++) pixels[FASTNORM_CHANNELS * i + c] = planes[c][i];
}

static void write_float32(const code_run *run) { look_up(run, FASTNORM_FLOAT32, 0, run->count); }
static void write_float16(const code_run *run) { look_up(run, FASTNORM_FLOAT16, 0, run->count); }
static void write_bfloat16(const code_run *run) { look_up(run, FASTNORM_BFLOAT16, 0, run->count); }

const normalize_kernels normalize_portable = {
    .split = split_portable,
    .join = join_portable,
    .write = {write_float32, write_float16, write_bfloat16},
};
