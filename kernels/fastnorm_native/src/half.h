// float32 and the half types. float32 is rounded to nearest even, and NaN stays NaN. Without branches: compilers turn these
// into vector code.
#ifndef FASTNORM_HALF_H
#define FASTNORM_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

enum { FLOAT32_INFINITY = 0x7f800000 };

static inline uint16_t bfloat16_of(float value) {
    const uint32_t bits = float_bits(value);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16; // infinity stays what it is
    return (uint16_t)((int32_t)(bits & 0x7fffffff) > FLOAT32_INFINITY ? 0x7fc0 : rounded);
}

static inline float float_of_bfloat16(uint16_t half) { return float_of_bits((uint32_t)half << 16); }

static inline uint16_t float16_of(float value) {
    const uint32_t bits = float_bits(value), sign = bits >> 16 & 0x8000;
    const int32_t magnitude = (int32_t)(bits & 0x7fffffff);
    // Below 2^-14 numbers are multiples of 2^-24, which is the last place of 0.5.
    const uint32_t subnormal = float_bits(float_of_bits((uint32_t)magnitude) + 0.5f) - 0x3f000000;
    const uint32_t normal = ((uint32_t)magnitude - (112u << 23) + 0xfff + ((uint32_t)magnitude >> 13 & 1)) >> 13;
    const uint32_t infinite = magnitude > FLOAT32_INFINITY ? 0x7e00 : 0x7c00;
    const uint32_t finite = magnitude < 0x38800000 ? subnormal : normal;
    return (uint16_t)(sign | (magnitude >= 0x477ff000 ? infinite : finite)); // 65520 and above round to infinity
}

static inline float float_of_float16(uint16_t half) {
    const int32_t magnitude = (half & 0x7fff) << 13; // the bits of 2^-112 times the number
    const uint32_t rest = magnitude >= 0x7c00 << 13 ? FLOAT32_INFINITY : 0;
    const float value = float_of_bits((uint32_t)magnitude) * 0x1p112f;
    return float_of_bits(float_bits(value) | rest | (uint32_t)(half & 0x8000) << 16);
}

#endif
