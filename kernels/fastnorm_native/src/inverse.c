// The way back: pixels from normalised values, or values of another normalisation, a chunk that stays in the first-level
// cache at a time.
#include <string.h>

#include "batch_axes.h"
#include "inverse_kernels.h"
#include "normalize_kernels.h"
#include "parallel.h"

enum { CHUNK = 512, MOST_VALUES = FASTNORM_CHANNELS * CHUNK }; // pixels, of whole blocks

typedef struct {
    const fastnorm_inverse_job *job;
    batch_shape shape;
    fastnorm_strides from, to; // of axes that may have been joined
    const inverse_kernels *kernels;
    inverse_constants of_channel[FASTNORM_CHANNELS], interleaved;
} inverse_task;

const inverse_kernels *inverse_kernels_of(int64_t instructions) {
    switch (instructions) {
    case FASTNORM_VNNI: return &inverse_vnni;
    case FASTNORM_AVX2: return &inverse_avx2;
    default: return &inverse_portable;
    }
}

static int64_t size_of(int64_t dtype) {
    switch (dtype) {
    case FASTNORM_FLOAT32: return 4;
    case FASTNORM_UINT8: return 1;
    default: return 2;
    }
}

// Values that lie one after the other, and results that do too.
static void convert_run(const inverse_task *task, const void *from, const inverse_constants *constants, int64_t count,
                        void *to) {
    _Alignas(64) float wide[MOST_VALUES], results[MOST_VALUES];
    const inverse_kernels *kernels = task->kernels;
    const int64_t dtype = task->job->dtype, output_dtype = task->job->output_dtype;
    const float *values = dtype == FASTNORM_FLOAT32 ? from : wide;
    if (dtype == FASTNORM_FLOAT16) kernels->from_float16(from, count, wide);
    if (dtype == FASTNORM_BFLOAT16) kernels->from_bfloat16(from, count, wide);
    if (output_dtype == FASTNORM_UINT8) {
        kernels->to_codes(values, constants, count, to);
        return;
    }
    conversion *convert = task->job->renormalizes ? kernels->renormalize : kernels->to_unit;
    convert(values, constants, count, output_dtype == FASTNORM_FLOAT32 ? to : results);
    if (output_dtype == FASTNORM_FLOAT16) kernels->to_float16(results, count, to);
    if (output_dtype == FASTNORM_BFLOAT16) kernels->to_bfloat16(results, count, to);
}

// Elements of 1, 2 or 4 bytes, so many elements apart.
static void copy_apart(const void *from, int64_t from_step, void *to, int64_t to_step, int64_t count, int64_t size) {
    if (size == 4) {
        for (int64_t i = 0; i < count; i++) ((uint32_t *)to)[i * to_step] = ((const uint32_t *)from)[i * from_step];
    } else if (size == 2) {
        for (int64_t i = 0; i < count; i++) ((uint16_t *)to)[i * to_step] = ((const uint16_t *)from)[i * from_step];
    } else {
        for (int64_t i = 0; i < count; i++) ((uint8_t *)to)[i * to_step] = ((const uint8_t *)from)[i * from_step];
    }
}

static void convert_planes(const inverse_task *task, const char *from, char *to, int64_t count) {
    _Alignas(64) char memory[FASTNORM_CHANNELS][sizeof(float) * CHUNK], gathered[sizeof(float) * CHUNK];
    const fastnorm_inverse_job *job = task->job;
    const int64_t size = size_of(job->dtype), output_size = size_of(job->output_dtype);
    const bool joins = job->output_dtype == FASTNORM_UINT8 && is_interleaved(&task->to);
    for (int c = 0; c < FASTNORM_CHANNELS; c++) {
        const char *values = from + size * c * task->from.channel;
        char *results = to + output_size * c * task->to.channel;
        const bool apart = task->to.column != 1;
        if (task->from.column != 1) {
            copy_apart(values, task->from.column, gathered, 1, count, size);
            values = gathered;
        }
        convert_run(task, values, &task->of_channel[c], count, apart ? memory[c] : results);
        if (apart && !joins) copy_apart(memory[c], 1, results, task->to.column, count, output_size);
    }
    if (joins) {
        const uint8_t *const planes[] = {(uint8_t *)memory[0], (uint8_t *)memory[1], (uint8_t *)memory[2]};
        normalize_kernels_of(job->instructions)->join(planes, count, (uint8_t *)to);
    }
}

static void convert_columns(const inverse_task *task, place at, int64_t end) {
    const fastnorm_inverse_job *job = task->job;
    for (; at.column < end; at.column += CHUNK) {
        const char *from = (const char *)job->values + size_of(job->dtype) * element_at(&task->from, at);
        char *to = (char *)job->output + size_of(job->output_dtype) * element_at(&task->to, at);
        const int64_t count = smaller(CHUNK, end - at.column);
        if (is_interleaved(&task->from) && is_interleaved(&task->to)) {
            convert_run(task, from, &task->interleaved, FASTNORM_CHANNELS * count, to);
        } else {
            convert_planes(task, from, to, count);
        }
    }
}

static void convert_unit(const void *argument, int64_t index) {
    const inverse_task *task = argument;
    const unit_of_work unit = unit_at(&task->shape, index);
    place at = unit.first;
    for (; at.row < unit.end_row; at.row++) convert_columns(task, at, unit.end_column);
}

static void set_constants(inverse_constants *constants, const fastnorm_inverse_job *job, int i, int channel) {
    constants->std[i] = job->std[channel];
    constants->mean[i] = job->mean[channel] + 0.0f; // -0.0 becomes 0.0, and no pixel is -0.0
    constants->target_mean[i] = job->target_mean[channel];
    constants->target_std[i] = job->target_std[channel];
}

void fastnorm_inverse(const fastnorm_inverse_job *job) {
    if (job->images < 1 || job->height < 1 || job->width < 1) return;
    inverse_task task = {
        .job = job,
        .shape = {job->images, job->height, job->width},
        .from = job->strides,
        .to = job->output_strides,
        .kernels = inverse_kernels_of(job->instructions),
    };
    for (int i = 0; i < BLOCK; i++) {
        for (int c = 0; c < FASTNORM_CHANNELS; c++) set_constants(&task.of_channel[c], job, i, c);
        set_constants(&task.interleaved, job, i, i % FASTNORM_CHANNELS);
    }
    fastnorm_strides *const tensors[] = {&task.from, &task.to};
    join_axes(&task.shape, tensors, 2);
    run_units(convert_unit, &task, count_units(&task.shape), job->threads);
}
