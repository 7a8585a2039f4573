// Walks in memory of exactly the size that they need, for sanitizers; every instruction set against plain C.
//
//     driver COUNT             COUNT random walks on every instruction set
//     driver COUNT, -DFAIL     COUNT walks, each with its first allocation failing, then its second, and so on
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tables.h"

enum { MOST_CROPS = 3, MOST_SIDE = 60 };

static uint64_t state = 1;

static int32_t any(int32_t low, int32_t high) { // both included
    state = state * 6364136223846793005u + 1442695040888963407u;
    return low + (int32_t)((state >> 33) % (uint64_t)(high - low + 1));
}

static void check(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s\n", what);
    exit(1);
}

// --- allocations that fail

#ifdef FAIL
static int64_t allocations, failing = -1;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size) { return allocations++ == failing ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t count, size_t size) { return allocations++ == failing ? NULL : __real_calloc(count, size); }
void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return allocations++ == failing ? NULL : __real_aligned_alloc(alignment, size);
}
#endif

// --- a random image

typedef struct {
    uint8_t *memory;
    fastnorm_pixels pixels;
} image;

static image any_image(void) {
    const int64_t height = any(1, MOST_SIDE), width = any(1, MOST_SIDE), gap = any(0, 1) * any(1, 9);
    fastnorm_pixels p = {.rows = height, .columns = width};
    switch (any(0, 3)) {
    case 0: p.row_stride = 3 * width + gap, p.column_stride = 3, p.channel_stride = 1; break;
    case 1: p.row_stride = 4 * width + gap, p.column_stride = 4, p.channel_stride = 1; break;
    case 2: p.row_stride = width + gap, p.column_stride = 1, p.channel_stride = height * p.row_stride; break;
    default: p.row_stride = 7 * width + gap, p.column_stride = 7, p.channel_stride = 2; break;
    }
    const int64_t bytes =
        (height - 1) * p.row_stride + (width - 1) * p.column_stride + 2 * p.channel_stride + 1;
    uint8_t *memory = malloc((size_t)bytes);
    const int32_t contents = any(0, 2);
    for (int64_t i = 0; i < bytes; i++) {
        memory[i] = contents == 0 ? 255 : contents == 1 ? (uint8_t)(255 * any(0, 1)) : (uint8_t)any(0, 255);
    }
    p.address = memory;
    return (image){memory, p};
}

// --- a random crop of it

typedef struct {
    int32_t resized, start, count, offset, length, mirrored;
} span;

typedef struct {
    fastnorm_filter filter;
    fastnorm_arithmetic arithmetic;
    span rows, columns;
    int32_t vertical_first;
    int64_t dtype;
    fastnorm_strides strides;
    int64_t elements;
} target;

static span any_span(int64_t source) {
    span s = {.resized = any(0, 3) ? any(1, MOST_SIDE) : (int32_t)source};
    s.start = any(0, s.resized - 1);
    s.count = any(1, s.resized - s.start);
    s.offset = any(0, 1) * any(0, 9);
    s.length = s.offset + s.count + any(0, 1) * any(0, 9);
    s.mirrored = any(0, 1);
    return s;
}

static target any_target(const fastnorm_pixels *pixels) {
    target t = {.filter = (fastnorm_filter)any(0, FASTNORM_FILTERS - 1),
                .arithmetic = any(0, 1) ? FASTNORM_PILLOW : FASTNORM_TORCH,
                .rows = any_span(pixels->rows),
                .columns = any_span(pixels->columns),
                .vertical_first = any(0, 1),
                .dtype = any(FASTNORM_FLOAT32, FASTNORM_BFLOAT16)};
    const int64_t height = t.rows.length, width = t.columns.length, gap = any(0, 1) * any(1, 9);
    switch (any(0, 2)) {
    case 0: t.strides = (fastnorm_strides){0, height * (width + gap), width + gap, 1}; break;
    case 1: t.strides = (fastnorm_strides){0, 1, 3 * width + gap, 3}; break;
    default: t.strides = (fastnorm_strides){0, height * (2 * width + gap), 2 * width + gap, 2}; break;
    }
    t.elements = 2 * t.strides.channel + (height - 1) * t.strides.row + (width - 1) * t.strides.column + 1;
    return t;
}

// --- one walk

static size_t bytes_of(const target *t) { return (size_t)t->elements * (t->dtype == FASTNORM_FLOAT32 ? 4 : 2); }

static fastnorm_table *table_of(const target *t, fastnorm_axis axis, int64_t source, int32_t instructions) {
    const span *s = axis == FASTNORM_ROWS ? &t->rows : &t->columns;
    int32_t status;
    fastnorm_table *table =
        fastnorm_table_new(axis, t->filter, t->arithmetic, (int32_t)source, s->resized, s->start, s->count,
                           axis == FASTNORM_COLUMNS && s->mirrored, instructions, &status);
    check((table != NULL) == (status == FASTNORM_DONE), "a table without a status");
    // No filter makes sums so large; plain C has to do for a table that says so.
    if (table && any(0, 3) == 0) table->high_sums_fit_int16 = false;
    return table;
}

// Writes all targets into `memory`; whether there was memory for it.
static bool walk(const fastnorm_pixels *pixels, const target *targets, int32_t count, int32_t instructions,
                 int32_t bands, const fastnorm_normalization *normalization, void *const *memory) {
    fastnorm_crop crops[MOST_CROPS];
    fastnorm_output outputs[MOST_CROPS];
    bool possible = true;
    for (int32_t i = 0; i < count; i++) {
        const target *t = &targets[i];
        crops[i] = (fastnorm_crop){table_of(t, FASTNORM_COLUMNS, pixels->columns, instructions),
                                   table_of(t, FASTNORM_ROWS, pixels->rows, instructions),
                                   t->vertical_first, t->rows.mirrored, t->rows.offset, t->rows.length,
                                   t->columns.offset, t->columns.length, 1};
        outputs[i] = (fastnorm_output){memory[i], normalization, t->dtype, t->strides};
        possible = possible && crops[i].columns && crops[i].rows;
    }
    if (possible) {
        const int32_t status = fastnorm_resize(pixels, crops, count, outputs, bands, instructions);
        check(status == FASTNORM_DONE || status == FASTNORM_NO_MEMORY, "an unexpected status");
        possible = status == FASTNORM_DONE;
    }
    for (int32_t i = 0; i < count; i++) {
        fastnorm_table_free((fastnorm_table *)crops[i].columns);
        fastnorm_table_free((fastnorm_table *)crops[i].rows);
    }
    return possible;
}

typedef struct {
    image source;
    target targets[MOST_CROPS];
    int32_t count, bands;
    void *expected[MOST_CROPS], *found[MOST_CROPS];
} experiment;

static void poison(const experiment *e, void *const *memory) {
    for (int32_t i = 0; i < e->count; i++) memset(memory[i], 0x5a, bytes_of(&e->targets[i]));
}

static experiment any_experiment(void) {
    experiment e = {.source = any_image(), .count = any(1, MOST_CROPS), .bands = any(1, 4)};
    for (int32_t i = 0; i < e.count; i++) {
        e.targets[i] = any_target(&e.source.pixels);
        if (e.targets[i].rows.count < e.bands) e.bands = e.targets[i].rows.count;
        e.expected[i] = malloc(bytes_of(&e.targets[i]));
        e.found[i] = malloc(bytes_of(&e.targets[i]));
    }
    poison(&e, e.expected);
    return e;
}

static void end(experiment *e) {
    for (int32_t i = 0; i < e->count; i++) {
        free(e->expected[i]);
        free(e->found[i]);
    }
    free(e->source.memory);
}

static bool run(const experiment *e, int32_t instructions, int32_t bands, const fastnorm_normalization *normalization,
                void *const *memory) {
    poison(e, memory);
    return walk(&e->source.pixels, e->targets, e->count, instructions, bands, normalization, memory);
}

static void compare(const experiment *e, const char *what) {
    for (int32_t i = 0; i < e->count; i++) {
        check(memcmp(e->expected[i], e->found[i], bytes_of(&e->targets[i])) == 0, what);
    }
}

int main(int argc, char **argv) {
    const int count = argc > 1 ? atoi(argv[1]) : 1;
    static fastnorm_normalization normalization;
    const float mean[] = {0.48145466f, 0.4578275f, 0.40821073f}, std[] = {0.26862954f, 0.26130258f, 0.27577711f};
    fastnorm_prepare(&normalization, mean, std, FASTNORM_TO_TENSOR);
    check(fastnorm_self_test() == 0, "the self-test fails");
    int64_t walks = 0;
    for (int i = 0; i < count; i++) {
        experiment e = any_experiment();
        for (int32_t instructions = 0; instructions <= fastnorm_best_instructions(); instructions++) {
#ifdef FAIL
            for (failing = allocations = 0;; failing++, allocations = 0) {
                walks++;
                if (run(&e, instructions, e.bands, &normalization, e.found)) break;
                compare(&e, "something was written without memory for all of it");
            }
            failing = -1;
#else
            walks++;
            void *const *memory = instructions == FASTNORM_PORTABLE ? e.expected : e.found;
            const int32_t bands = instructions == FASTNORM_PORTABLE ? 1 : e.bands;
            check(run(&e, instructions, bands, &normalization, memory), "no memory");
            if (instructions > FASTNORM_PORTABLE) compare(&e, "instruction sets differ");
#endif
        }
        end(&e);
    }
    printf("%lld walks\n", (long long)walks);
    return 0;
}
