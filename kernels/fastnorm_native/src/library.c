// What the host asks before it trusts the library.
#include "cpu_features.h"
#include "fastnorm.h"

#ifndef FASTNORM_FINGERPRINT
#define FASTNORM_FINGERPRINT "unknown"
#endif

const char *fastnorm_fingerprint(void) { return FASTNORM_FINGERPRINT; }

int64_t fastnorm_record_size(int32_t record) {
    switch (record) {
    case FASTNORM_NORMALIZATION_RECORD: return sizeof(fastnorm_normalization);
    case FASTNORM_OUTPUT_RECORD: return sizeof(fastnorm_output);
    case FASTNORM_NORMALIZE_JOB_RECORD: return sizeof(fastnorm_normalize_job);
    case FASTNORM_INVERSE_JOB_RECORD: return sizeof(fastnorm_inverse_job);
    default: return -1;
    }
}

int32_t fastnorm_best_instructions(void) { return cpu_instructions(); }
