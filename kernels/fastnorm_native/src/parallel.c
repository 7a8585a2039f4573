// Threads take unit after unit until none is left, so that one which another process keeps from running holds up no
// more than the unit that it has. They begin and end with the call: nothing is left behind that a fork would break.
#define _POSIX_C_SOURCE 200809L
#include "parallel.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "floating_point.h"

enum { MOST_HELPERS = 255 };

typedef struct {
    unit_function *work;
    const void *job;
    int64_t units;
    atomic_int_fast64_t next;
} shared_work;

static void *take_units(void *argument) {
    shared_work *shared = argument;
    const floating_point_state before = use_ieee_arithmetic();
    for (;;) {
        const int64_t unit = atomic_fetch_add_explicit(&shared->next, 1, memory_order_relaxed);
        if (unit >= shared->units) break;
        shared->work(shared->job, unit);
    }
    restore_arithmetic(before);
    return NULL;
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Fewer where no more can be had: the caller does the rest.
static int64_t start_helpers(pthread_t *helpers, int64_t wanted, shared_work *shared) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); // signals, such as Ctrl-C, are for the program's own threads
    int64_t started = 0;
    while (started < wanted && pthread_create(&helpers[started], NULL, take_units, shared) == 0) started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

void run_units(unit_function *work, const void *job, int64_t units, int64_t threads) {
    shared_work shared = {.work = work, .job = job, .units = units};
    atomic_init(&shared.next, 0);
    pthread_t helpers[MOST_HELPERS];
    const int64_t wanted = smaller(smaller(threads, units) - 1, MOST_HELPERS);
    const int64_t started = wanted > 0 ? start_helpers(helpers, wanted, &shared) : 0;
    take_units(&shared);
    for (int64_t i = 0; i < started; i++) pthread_join(helpers[i], NULL);
}
