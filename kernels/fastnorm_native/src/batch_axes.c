#include "batch_axes.h"

static void join_rows(batch_shape *shape, fastnorm_strides *const *tensors, int64_t count) {
    for (int64_t i = 0; i < count && shape->width > 1; i++) {
        if (tensors[i]->row != shape->width * tensors[i]->column) return;
    }
    for (int64_t i = 0; i < count && shape->width == 1; i++) tensors[i]->column = tensors[i]->row;
    shape->width *= shape->height;
    shape->height = 1;
}

static void join_images(batch_shape *shape, fastnorm_strides *const *tensors, int64_t count) {
    if (shape->height > 1) return;
    for (int64_t i = 0; i < count && shape->width > 1; i++) {
        if (tensors[i]->image != shape->width * tensors[i]->column) return;
    }
    for (int64_t i = 0; i < count && shape->width == 1; i++) tensors[i]->column = tensors[i]->image;
    shape->width *= shape->images;
    shape->images = 1;
}

void join_axes(batch_shape *shape, fastnorm_strides *const *tensors, int64_t count) {
    join_rows(shape, tensors, count);
    join_images(shape, tensors, count);
}

static int64_t rows_in_unit(const batch_shape *shape) {
    return shape->width >= UNIT ? 1 : smaller(shape->height, UNIT / shape->width);
}

static int64_t units_along(int64_t length, int64_t step) { return (length + step - 1) / step; }

int64_t count_units(const batch_shape *shape) {
    return shape->images * units_along(shape->height, rows_in_unit(shape)) * units_along(shape->width, UNIT);
}

unit_of_work unit_at(const batch_shape *shape, int64_t index) {
    const int64_t rows = rows_in_unit(shape);
    const int64_t across = units_along(shape->width, UNIT), down = units_along(shape->height, rows);
    const place first = {index / across / down, index / across % down * rows, index % across * UNIT};
    return (unit_of_work){first, smaller(first.row + rows, shape->height), smaller(first.column + UNIT, shape->width)};
}
