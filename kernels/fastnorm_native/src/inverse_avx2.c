// The way back, with AVX2.
#define TARGET __attribute__((target("avx2,fma,f16c")))
#define KERNELS inverse_avx2
#include "inverse_loops.h"
