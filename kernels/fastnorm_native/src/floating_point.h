// Arithmetic as the contract wants it, whatever the calling thread has chosen.
#ifndef FASTNORM_FLOATING_POINT_H
#define FASTNORM_FLOATING_POINT_H

#include <math.h>
#include <xmmintrin.h>

// 1 / 255 in two parts: x / 255 is fma(x, high, x * low), rounded as a division is, for every code. The self-test
// proves it.
#define INVERSE_255_HIGH 0x1.010102p-8f
#define INVERSE_255_LOW (-0x1.fdfdfep-33f)

static inline float fast_quotient(int code, float high, float low) {
    const float x = (float)code;
    return fmaf(x, high, x * low);
}

typedef unsigned int floating_point_state;

// Round to nearest, keep subnormal numbers: torch.set_flush_denormal(True) would drop them.
static inline floating_point_state use_ieee_arithmetic(void) {
    const floating_point_state before = _mm_getcsr();
    _mm_setcsr(0x1f80); // the state in which a program begins
    return before;
}

static inline void restore_arithmetic(floating_point_state before) { _mm_setcsr(before); }

#endif
