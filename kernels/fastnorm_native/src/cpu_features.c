// Asks the processor itself. Compilers' own __builtin_cpu_supports needs a runtime library, and zig's says no to all.
#include "cpu_features.h"

#include <cpuid.h>
#include <stdbool.h>

#include "fastnorm.h"

typedef struct {
    uint32_t a, b, c, d;
} registers;

static registers cpuid(uint32_t leaf) {
    registers r = {0, 0, 0, 0};
    __get_cpuid_count(leaf, 0, &r.a, &r.b, &r.c, &r.d);
    return r;
}

static bool has(uint32_t word, int bit) { return word >> bit & 1; }

// Which registers the operating system saves when it switches threads.
static uint32_t saved_state(void) {
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    (void)high;
    return low;
}

int32_t cpu_instructions(void) {
    const uint32_t ymm = 0x06, zmm = 0xe6; // bits 1 and 2: xmm, ymm; bits 5 to 7: mask registers, zmm
    const registers basic = cpuid(1), extended = cpuid(7);

    const bool xgetbv = has(basic.c, 27), fma = has(basic.c, 12), avx = has(basic.c, 28), f16c = has(basic.c, 29);
    const bool avx2 = has(extended.b, 5);
    if (!(xgetbv && fma && avx && f16c && avx2) || (saved_state() & ymm) != ymm) return FASTNORM_PORTABLE;

    const bool f = has(extended.b, 16), dq = has(extended.b, 17), bw = has(extended.b, 30), vl = has(extended.b, 31);
    const bool vnni = has(extended.c, 11);
    if (!(f && dq && bw && vl && vnni) || (saved_state() & zmm) != zmm) return FASTNORM_AVX2;
    return FASTNORM_VNNI;
}
