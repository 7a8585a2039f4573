// float32 to the half types, rounded to nearest even. No input is a NaN: a finite difference divided by a positive std.
#ifndef FASTNORM_HALF_H
#define FASTNORM_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline uint16_t bfloat16_of(float value) {
    const uint32_t bits = float_bits(value);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16); // infinity stays what it is
}

static inline uint16_t float16_of(float value) {
    const uint32_t bits = float_bits(value);
    const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00); // 65520 and above round to infinity
    const int32_t exponent = (int32_t)(magnitude >> 23) - 127;
    if (exponent < -25) return (uint16_t)sign; // less than half of the smallest subnormal
    // Below 2^-14 numbers are multiples of 2^-24: the mantissa moves further, with its leading one.
    const int32_t shift = exponent < -14 ? -1 - exponent : 13;
    const uint32_t mantissa = exponent < -14 ? (magnitude & 0x7fffff) | 0x800000 : magnitude - (112u << 23);
    const uint32_t half = (1u << (shift - 1)) - 1 + (mantissa >> shift & 1);
    return (uint16_t)(sign | (mantissa + half) >> shift);
}

#endif
