// Independent units of work on threads that live as long as the call.
#ifndef FASTNORM_PARALLEL_H
#define FASTNORM_PARALLEL_H

#include <stdint.h>

typedef void unit_function(const void *job, int64_t unit);

// Call work(job, unit) for every unit, on the calling thread and at most threads - 1 others.
void run_units(unit_function *work, const void *job, int64_t units, int64_t threads);

#endif
