// The loops beside single operations, which no compiler can merge or reorder.
#include "half.h"
#include "inverse_kernels.h"

enum { VALUES = 200 }; // four blocks and a part of one

static float exact(volatile float value) { return value; }

static inverse_constants clip_to_imagenet(void) {
    inverse_constants k;
    for (int i = 0; i < BLOCK; i++) {
        k.std[i] = 0.26862954f, k.mean[i] = 0.48145466f;
        k.target_std[i] = 0.229f, k.target_mean[i] = 0.485f;
    }
    return k;
}

// From black to white and somewhat beyond.
static float value_at(int i) { return -2.0f + 0.0213f * (float)i; }

static bool converts(const inverse_kernels *kernels) {
    const inverse_constants k = clip_to_imagenet();
    float values[VALUES], unit[VALUES], renormalized[VALUES];
    uint8_t codes[VALUES];
    for (int i = 0; i < VALUES; i++) values[i] = value_at(i);
    kernels->to_codes(values, &k, VALUES, codes);
    kernels->to_unit(values, &k, VALUES, unit);
    kernels->renormalize(values, &k, VALUES, renormalized);
    for (int i = 0; i < VALUES; i++) {
        const float pixel = exact(exact(values[i] * k.std[0]) + k.mean[0]), d = exact(pixel - k.target_mean[0]);
        const float within = pixel < 0.0f ? 0.0f : pixel > 1.0f ? 1.0f : pixel;
        if (unit[i] != within || renormalized[i] != exact(d / k.target_std[0])) return false;
        const float distance = exact(within * 255.0f) - (float)codes[i];
        if (distance > 0.5f || distance < -0.5f) return false;
    }
    return true;
}

static bool rounds(const inverse_kernels *kernels) {
    static const float values[] = {1.0f + 0x1p-11f, 1.0f + 3 * 0x1p-11f, 1.0f + 0x1p-8f, 65520.0f, -0x1.8p-24f, -0.0f};
    static const uint16_t float16[] = {0x3c00, 0x3c02, 0x3c04, 0x7c00, 0x8002, 0x8000};
    static const uint16_t bfloat16[] = {0x3f80, 0x3f80, 0x3f80, 0x4780, 0xb3c0, 0x8000};
    enum { COUNT = sizeof values / sizeof *values };
    uint16_t halves[COUNT];
    float again[COUNT];
    kernels->to_float16(values, COUNT, halves);
    for (int i = 0; i < COUNT; i++) {
        if (halves[i] != float16[i]) return false;
    }
    kernels->from_float16(halves, COUNT, again);
    if (again[1] != 1.0f + 0x1p-9f || again[4] != -0x1p-23f) return false;
    kernels->to_bfloat16(values, COUNT, halves);
    for (int i = 0; i < COUNT; i++) {
        if (halves[i] != bfloat16[i]) return false;
    }
    kernels->from_bfloat16(halves, COUNT, again);
    return again[0] == 1.0f && again[4] == -0x1.8p-24f;
}

bool inverse_self_test(int32_t best_instructions) {
    for (int32_t i = 0; i <= best_instructions; i++) {
        if (!converts(inverse_kernels_of(i)) || !rounds(inverse_kernels_of(i))) return false;
    }
    return true;
}
