// Normalises and goes back in memory of exactly the size that is needed, for sanitizers; every instruction set against the
// tables, and against plain C.
//
//     driver COUNT      COUNT random calls on every instruction set
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_features.h"
#include "fastnorm.h"

enum { MOST_OUTPUTS = 18, MOST_IMAGES = 3, MOST_SIDE = 70 };

static const float MEAN[] = {0.48145466f, 0.4578275f, 0.40821073f}, STD[] = {0.26862954f, 0.26130258f, 0.27577711f};

static uint64_t state = 1;

static int64_t any(int64_t low, int64_t high) { // both included
    state = state * 6364136223846793005u + 1442695040888963407u;
    return low + (int64_t)((state >> 33) % (uint64_t)(high - low + 1));
}

typedef struct {
    int64_t images, height, width;
} shape;

// Strides of one of the usual layouts, or of one with gaps, and the elements from the first to the end of the last.
static int64_t any_layout(shape s, fastnorm_strides *strides) {
    const int64_t gap = any(0, 1) * any(1, 5);
    switch (any(0, 2)) {
    case 0: // planes
        *strides = (fastnorm_strides){.row = s.width + gap, .column = 1};
        strides->channel = s.height * strides->row;
        strides->image = FASTNORM_CHANNELS * strides->channel;
        break;
    case 1: // interleaved
        *strides = (fastnorm_strides){.channel = 1, .column = FASTNORM_CHANNELS};
        strides->row = FASTNORM_CHANNELS * s.width + gap;
        strides->image = s.height * strides->row;
        break;
    default: // columns of images
        *strides = (fastnorm_strides){.channel = 1, .image = FASTNORM_CHANNELS + gap};
        strides->row = s.images * strides->image;
        strides->column = s.height * strides->row;
    }
    return 1 + (s.images - 1) * strides->image + (FASTNORM_CHANNELS - 1) * strides->channel +
           (s.height - 1) * strides->row + (s.width - 1) * strides->column;
}

// Not for the thread sanitizer, in what reads values when all threads have ended: it would take longer than the calls.
#define ONE_THREAD __attribute__((no_sanitize("thread")))

ONE_THREAD static int64_t place(const fastnorm_strides *strides, int64_t image, int64_t channel, int64_t row, int64_t column) {
    return image * strides->image + channel * strides->channel + row * strides->row + column * strides->column;
}

ONE_THREAD static bool holds(const fastnorm_output *output, int64_t at, int channel, uint8_t code) {
    if (output->dtype == FASTNORM_FLOAT32) {
        const float *values = output->address;
        const union { float value; uint32_t bits; } got = {values[at]},
                                                    expected = {output->normalization->float32[channel][code]};
        return got.bits == expected.bits;
    }
    const uint16_t *values = output->address;
    const bool wide = output->dtype == FASTNORM_FLOAT16;
    return values[at] == (wide ? output->normalization->float16 : output->normalization->bfloat16)[channel][code];
}

ONE_THREAD static void check(const fastnorm_normalize_job *job, const fastnorm_output *output) {
    for (int64_t image = 0; image < job->images; image++) {
        for (int channel = 0; channel < FASTNORM_CHANNELS; channel++) {
            for (int64_t row = 0; row < job->height; row++) {
                for (int64_t column = 0; column < job->width; column++) {
                    const uint8_t code = job->pixels[place(&job->strides, image, channel, row, column)];
                    if (holds(output, place(&output->strides, image, channel, row, column), channel, code)) continue;
                    fprintf(stderr, "wrong value, instruction set %d\n", (int)job->instructions);
                    exit(1);
                }
            }
        }
    }
}

static int64_t size_of(int64_t dtype) { return dtype == FASTNORM_FLOAT32 ? 4 : dtype == FASTNORM_UINT8 ? 1 : 2; }

// Every instruction set back from an output of a call. `comes_back` says whether its values hold all codes.
static void random_way_back(const fastnorm_normalize_job *normalized, const fastnorm_output *values, bool comes_back) {
    fastnorm_inverse_job job = {.values = values->address,
                                .dtype = values->dtype,
                                .strides = values->strides,
                                .images = normalized->images,
                                .height = normalized->height,
                                .width = normalized->width,
                                .output_dtype = any(FASTNORM_FLOAT32, FASTNORM_UINT8)};
    for (int c = 0; c < FASTNORM_CHANNELS; c++) {
        job.mean[c] = MEAN[c], job.std[c] = STD[c];
        job.target_mean[c] = 0.485f, job.target_std[c] = 0.229f;
    }
    job.renormalizes = job.output_dtype != FASTNORM_UINT8 && any(0, 1);
    const shape s = {job.images, job.height, job.width};
    const size_t bytes = (size_t)(any_layout(s, &job.output_strides) * size_of(job.output_dtype));
    uint8_t *expected = memset(malloc(bytes), 0x5a, bytes), *found = malloc(bytes);
    for (job.instructions = 0; job.instructions <= cpu_instructions(); job.instructions++) {
        job.output = job.instructions == FASTNORM_PORTABLE ? expected : memset(found, 0x5a, bytes);
        job.threads = any(1, 3);
        fastnorm_inverse(&job);
        if (job.instructions == FASTNORM_PORTABLE || memcmp(found, expected, bytes) == 0) continue;
        fprintf(stderr, "another value on the way back, instruction set %d\n", (int)job.instructions);
        exit(1);
    }
    for (int64_t i = 0; comes_back && job.output_dtype == FASTNORM_UINT8 && i < 3 * s.images * s.height * s.width; i++) {
        const int64_t column = i % s.width, row = i / s.width % s.height, channel = i / s.width / s.height % 3;
        const int64_t image = i / s.width / s.height / 3;
        const uint8_t code = normalized->pixels[place(&normalized->strides, image, channel, row, column)];
        if (expected[place(&job.output_strides, image, channel, row, column)] == code) continue;
        fprintf(stderr, "another code comes back\n");
        exit(1);
    }
    free(expected);
    free(found);
}

static shape any_shape(void) {
    if (any(0, 10) == 0) return (shape){1, any(1, 3), any(1, MOST_SIDE) * 500}; // rows that threads share
    return (shape){any(1, MOST_IMAGES), any(1, MOST_SIDE), any(1, MOST_SIDE)};
}

static void random_call(const fastnorm_normalization *normalizations) {
    const shape s = any_shape();
    const int64_t outputs = any(1, 4) == 1 ? MOST_OUTPUTS : any(1, 3);
    fastnorm_normalize_job *job = malloc(sizeof *job + (size_t)outputs * sizeof(fastnorm_output));
    *job = (fastnorm_normalize_job){.images = s.images, .height = s.height, .width = s.width, .outputs = outputs};
    const int64_t count = any_layout(s, &job->strides);
    uint8_t *pixels = malloc((size_t)count);
    for (int64_t i = 0; i < count; i++) pixels[i] = (uint8_t)any(0, 255);
    job->pixels = pixels;
    for (int64_t i = 0; i < outputs; i++) {
        fastnorm_output *output = &job->output[i];
        *output = (fastnorm_output){.normalization = &normalizations[any(0, 1)], .dtype = any(0, 2)};
        output->address = malloc((size_t)(size_of(output->dtype) * any_layout(s, &output->strides)));
    }
    for (job->instructions = 0; job->instructions <= cpu_instructions(); job->instructions++) {
        job->threads = any(1, 3);
        job->streaming = any(0, 1);
        fastnorm_normalize(job);
        for (int64_t i = 0; i < outputs; i++) check(job, &job->output[i]);
    }
    for (int64_t i = 0; i < outputs && i < 2; i++) {
        const fastnorm_output *output = &job->output[i];
        random_way_back(job, output, output->normalization == normalizations && output->dtype != FASTNORM_BFLOAT16);
    }
    for (int64_t i = 0; i < outputs; i++) free(job->output[i].address);
    free(pixels);
    free(job);
}

int main(int count, char **arguments) {
    const float hostile_mean[] = {1e30f, -0.0f, 0.5f}, hostile_std[] = {1e-40f, 3e38f, 1e-45f};
    fastnorm_normalization normalizations[2];
    fastnorm_prepare(&normalizations[0], MEAN, STD, FASTNORM_TO_TENSOR);
    fastnorm_prepare(&normalizations[1], hostile_mean, hostile_std, FASTNORM_FUSED);
    if (fastnorm_self_test() != 0) return 1;
    const int64_t calls = count > 1 ? atoll(arguments[1]) : 0;
    for (int64_t i = 0; i < calls; i++) random_call(normalizations);
    printf("%lld calls\n", (long long)calls);
    return 0;
}
