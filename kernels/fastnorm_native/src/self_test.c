// Run once in each process, before the first call, in some microseconds: does this build compute what it should here?
#include "cpu_features.h"
#include "fastnorm.h"
#include "floating_point.h"
#include "half.h"
#include "inverse_kernels.h"
#include "normalize_kernels.h"
#include "passes.h"

enum { PASSED, WRONG_DIVISION, WRONG_NORMALIZING, WRONG_RESIZING, WRONG_INVERSE };

static int32_t test_division(void) {
    for (int code = 0; code < FASTNORM_CODES; code++) {
        if (float_bits(fast_quotient(code, INVERSE_255_HIGH, INVERSE_255_LOW)) != float_bits((float)code / 255.0f)) return WRONG_DIVISION;
    }
    return PASSED;
}

int32_t fastnorm_self_test(void) {
    const floating_point_state before = use_ieee_arithmetic();
    int32_t result = test_division();
    if (result == PASSED && !normalize_self_test(cpu_instructions())) result = WRONG_NORMALIZING;
    if (result == PASSED && resize_self_test(cpu_instructions()) != 0) result = WRONG_RESIZING;
    if (result == PASSED && !inverse_self_test(cpu_instructions())) result = WRONG_INVERSE;
    restore_arithmetic(before);
    return result;
}
