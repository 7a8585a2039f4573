// The way back, with what every x86-64 processor has.
#define TARGET
#define KERNELS inverse_portable
#include "inverse_loops.h"
