// Normalises in memory of exactly the size that is needed, for sanitizers; every instruction set against the tables.
//
//     driver COUNT      COUNT random calls on every instruction set
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_features.h"
#include "fastnorm.h"

enum { MOST_OUTPUTS = 18, MOST_IMAGES = 3, MOST_SIDE = 70 };

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

static int64_t place(const fastnorm_strides *strides, int64_t image, int64_t channel, int64_t row, int64_t column) {
    return image * strides->image + channel * strides->channel + row * strides->row + column * strides->column;
}

static bool holds(const fastnorm_output *output, int64_t at, int channel, uint8_t code) {
    if (output->dtype == FASTNORM_FLOAT32) {
        const float *values = output->address;
        return memcmp(&values[at], &output->normalization->float32[channel][code], sizeof(float)) == 0;
    }
    const uint16_t *values = output->address;
    const bool wide = output->dtype == FASTNORM_FLOAT16;
    return values[at] == (wide ? output->normalization->float16 : output->normalization->bfloat16)[channel][code];
}

static void check(const fastnorm_normalize_job *job, const fastnorm_output *output) {
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

static void random_call(const fastnorm_normalization *normalizations) {
    const shape s = {any(1, MOST_IMAGES), any(1, MOST_SIDE), any(1, MOST_SIDE) * (any(0, 20) == 0 ? 500 : 1)};
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
        const int64_t size = output->dtype == FASTNORM_FLOAT32 ? 4 : 2;
        output->address = malloc((size_t)(size * any_layout(s, &output->strides)));
    }
    for (job->instructions = 0; job->instructions <= cpu_instructions(); job->instructions++) {
        job->threads = any(1, 3);
        job->streaming = any(0, 1);
        fastnorm_normalize(job);
        for (int64_t i = 0; i < outputs; i++) check(job, &job->output[i]);
    }
    for (int64_t i = 0; i < outputs; i++) free(job->output[i].address);
    free(pixels);
    free(job);
}

int main(int count, char **arguments) {
    const float mean[] = {0.48145466f, 0.4578275f, 0.40821073f}, std[] = {0.26862954f, 0.26130258f, 0.27577711f};
    const float hostile_mean[] = {1e30f, -0.0f, 0.5f}, hostile_std[] = {1e-40f, 3e38f, 1e-45f};
    fastnorm_normalization normalizations[2];
    fastnorm_prepare(&normalizations[0], mean, std, FASTNORM_TO_TENSOR);
    fastnorm_prepare(&normalizations[1], hostile_mean, hostile_std, FASTNORM_FUSED);
    if (fastnorm_self_test() != 0) return 1;
    const int64_t calls = count > 1 ? atoll(arguments[1]) : 0;
    for (int64_t i = 0; i < calls; i++) random_call(normalizations);
    printf("%lld calls\n", (long long)calls);
    return 0;
}
