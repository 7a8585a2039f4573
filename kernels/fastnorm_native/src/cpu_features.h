#ifndef FASTNORM_CPU_FEATURES_H
#define FASTNORM_CPU_FEATURES_H

#include <stdint.h>

// The best instruction set that the processor has and whose registers the operating system keeps.
int32_t cpu_instructions(void);

#endif
