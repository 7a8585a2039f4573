// The way back, with AVX-512, of which the set named VNNI is the only one here.
#define TARGET __attribute__((target("avx2,fma,f16c,avx512f,avx512dq,avx512bw,avx512vl,avx512vnni")))
#define KERNELS inverse_vnni
#include "inverse_loops.h"
