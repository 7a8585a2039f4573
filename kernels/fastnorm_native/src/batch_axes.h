// The axes of a batch of images: joined where memory allows it, and cut into units of work.
#ifndef FASTNORM_BATCH_AXES_H
#define FASTNORM_BATCH_AXES_H

#include <stdbool.h>

#include "fastnorm.h"

enum { UNIT = 1 << 15 }; // pixels that a thread takes at once, some tens of microseconds

typedef struct {
    int64_t images, height, width;
} batch_shape;

typedef struct {
    int64_t image, row, column;
} place;

// Some rows of an image, or a part of a long row.
typedef struct {
    place first;
    int64_t end_row, end_column;
} unit_of_work;

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static inline int64_t element_at(const fastnorm_strides *strides, place at) {
    return at.image * strides->image + at.row * strides->row + at.column * strides->column;
}

static inline bool is_interleaved(const fastnorm_strides *strides) {
    return strides->channel == 1 && strides->column == FASTNORM_CHANNELS;
}

// Makes one long row of an image's rows, and of all images', if every one of the tensors lies in memory like that.
void join_axes(batch_shape *shape, fastnorm_strides *const *tensors, int64_t count);

int64_t count_units(const batch_shape *shape);
unit_of_work unit_at(const batch_shape *shape, int64_t index);

#endif
