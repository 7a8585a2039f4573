// The rows of an image as the horizontal pass wants them: pixels of 3 or 4 bytes, with memory behind them.
#ifndef FASTNORM_ROWS_IN_H
#define FASTNORM_ROWS_IN_H

#include <stddef.h>

#include "resize.h"

// The columns that a walk reads: `columns` of the image from `first` on, and memory for `room` columns and ROOM_BEHIND
// bytes.
typedef struct {
    int64_t first, columns, room;
} row_extent;

enum { WIDEST_PIXEL = 4, ROOM_BEHIND = 64 };

// How many bytes the pixels of `row_in` have.
int32_t pixel_bytes_of(const fastnorm_pixels *pixels);

// Row `row` of the image from column `extent->first` on: where it lies, or, if it does not lie as wanted or too close to
// the end of the pixels' memory, a copy in `memory`, which has room for the extent.
const uint8_t *row_in(const fastnorm_pixels *pixels, const row_extent *extent, int64_t row, uint8_t *memory);

#endif
