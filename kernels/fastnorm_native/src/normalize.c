// Normalising: all outputs from one read of the pixels, a chunk that stays in the first-level cache at a time.
#include <stdbool.h>
#include <string.h>
#include <xmmintrin.h>

#include "batch_axes.h"
#include "normalize_kernels.h"
#include "parallel.h"

enum {
    CHUNK = 512,      // pixels: 3 KiB of codes, in both arrangements
    MOST_OUTPUTS = 16 // from one read; more take another
};

// A job whose axes may have been joined.
typedef struct {
    const uint8_t *pixels;
    batch_shape shape;
    fastnorm_strides strides;
    const normalize_kernels *kernels;
    bool streaming;
    int64_t outputs;
    fastnorm_output output[MOST_OUTPUTS];
} normalize_task;

// The codes of one chunk, in the arrangements that the outputs ask for; each is made once, or is the source itself.
typedef struct {
    const normalize_task *task;
    const uint8_t *source; // the first pixel's first channel
    int64_t count;         // pixels
    const uint8_t *planes[FASTNORM_CHANNELS];
    const uint8_t *pixels;
    _Alignas(64) uint8_t plane_memory[FASTNORM_CHANNELS][CHUNK];
    _Alignas(64) uint8_t pixel_memory[FASTNORM_CHANNELS * CHUNK];
} chunk;

const normalize_kernels *normalize_kernels_of(int64_t instructions) {
    switch (instructions) {
    case FASTNORM_VNNI: return &normalize_vnni;
    case FASTNORM_AVX2: return &normalize_avx2;
    default: return &normalize_portable;
    }
}

static void need_planes(chunk *codes) {
    if (codes->planes[0]) return;
    const fastnorm_strides *strides = &codes->task->strides;
    uint8_t *const memory[FASTNORM_CHANNELS] = {
        codes->plane_memory[0], codes->plane_memory[1], codes->plane_memory[2]};
    if (is_interleaved(strides)) codes->task->kernels->split(codes->source, codes->count, memory);
    for (int c = 0; c < FASTNORM_CHANNELS; c++) {
        const uint8_t *source = codes->source + c * strides->channel;
        codes->planes[c] = strides->column == 1 ? source : memory[c];
        if (strides->column == 1 || is_interleaved(strides)) continue;
        for (int64_t i = 0; i < codes->count; i++) memory[c][i] = source[i * strides->column];
    }
}

static void need_pixels(chunk *codes) {
    if (codes->pixels) return;
    if (is_interleaved(&codes->task->strides)) {
        codes->pixels = codes->source;
        return;
    }
    need_planes(codes);
    codes->task->kernels->join(codes->planes, codes->count, codes->pixel_memory);
    codes->pixels = codes->pixel_memory;
}

static void write_run(const normalize_task *task, const fastnorm_output *output, const code_run *run) {
    const normalize_kernels *kernels = run->normalization->only_by_table ? &normalize_portable : task->kernels;
    kernels->write[output->dtype](run);
}

// Values that do not lie one after the other are made in a buffer and put where they belong.
static void write_apart(const normalize_task *task, const fastnorm_output *output, code_run run) {
    _Alignas(64) float memory[CHUNK];
    const int64_t step = output->strides.column;
    void *to = run.output;
    run.output = memory;
    run.streaming = false;
    write_run(task, output, &run);
    if (output->dtype == FASTNORM_FLOAT32) {
        for (int64_t i = 0; i < run.count; i++) ((float *)to)[i * step] = memory[i];
    } else {
        const uint16_t *halves = (const uint16_t *)memory;
        for (int64_t i = 0; i < run.count; i++) ((uint16_t *)to)[i * step] = halves[i];
    }
}

static void write_output(chunk *codes, const fastnorm_output *output, place at) {
    const normalize_task *task = codes->task;
    const int64_t size = output->dtype == FASTNORM_FLOAT32 ? 4 : 2;
    char *first = (char *)output->address + size * element_at(&output->strides, at);
    code_run run = {.normalization = output->normalization, .streaming = task->streaming, .output = first};
    if (is_interleaved(&output->strides)) {
        need_pixels(codes);
        run.interleaved = true;
        run.codes = codes->pixels;
        run.count = FASTNORM_CHANNELS * codes->count;
        write_run(task, output, &run);
        return;
    }
    need_planes(codes);
    for (int c = 0; c < FASTNORM_CHANNELS; c++) {
        run.channel = c;
        run.codes = codes->planes[c];
        run.count = codes->count;
        run.output = first + size * c * output->strides.channel;
        if (output->strides.column == 1)
            write_run(task, output, &run);
        else
            write_apart(task, output, run);
    }
}

static void write_columns(const normalize_task *task, place at, int64_t end) {
    for (; at.column < end; at.column += CHUNK) {
        chunk codes;
        codes.task = task;
        codes.source = task->pixels + element_at(&task->strides, at);
        codes.count = smaller(CHUNK, end - at.column);
        codes.planes[0] = codes.pixels = NULL;
        for (int64_t i = 0; i < task->outputs; i++) write_output(&codes, &task->output[i], at);
    }
}

// --- units of work

static void write_unit(const void *argument, int64_t index) {
    const normalize_task *task = argument;
    const unit_of_work unit = unit_at(&task->shape, index);
    place at = unit.first;
    for (; at.row < unit.end_row; at.row++) write_columns(task, at, unit.end_column);
    if (task->streaming) _mm_sfence(); // other threads see the values once they know that the unit is done
}

// --- the call

static void normalize_some(const fastnorm_normalize_job *job, int64_t first, int64_t count) {
    normalize_task task = {
        .pixels = job->pixels,
        .shape = {job->images, job->height, job->width},
        .strides = job->strides,
        .kernels = normalize_kernels_of(job->instructions),
        .streaming = job->streaming,
        .outputs = count,
    };
    memcpy(task.output, job->output + first, sizeof(fastnorm_output) * (size_t)count);
    fastnorm_strides *tensors[1 + MOST_OUTPUTS] = {&task.strides};
    for (int64_t i = 0; i < count; i++) tensors[1 + i] = &task.output[i].strides;
    join_axes(&task.shape, tensors, 1 + count);
    run_units(write_unit, &task, count_units(&task.shape), job->threads);
}

void fastnorm_normalize(const fastnorm_normalize_job *job) {
    if (job->images < 1 || job->height < 1 || job->width < 1) return;
    for (int64_t first = 0; first < job->outputs; first += MOST_OUTPUTS) {
        normalize_some(job, first, smaller(MOST_OUTPUTS, job->outputs - first));
    }
}
