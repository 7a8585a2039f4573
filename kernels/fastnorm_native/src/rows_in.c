#include "rows_in.h"

#include <stdbool.h>
#include <string.h>

static bool lies_as_wanted(const fastnorm_pixels *pixels) {
    return pixels->channel_stride == 1 && (pixels->column_stride == 3 || pixels->column_stride == 4);
}

int32_t pixel_bytes_of(const fastnorm_pixels *pixels) {
    return lies_as_wanted(pixels) ? (int32_t)pixels->column_stride : WIDEST_PIXEL;
}

// How many bytes there are from the first pixel to the end of the last.
static int64_t bytes_of(const fastnorm_pixels *pixels) {
    return (pixels->rows - 1) * pixels->row_stride + (pixels->columns - 1) * pixels->column_stride +
           (FASTNORM_CHANNELS - 1) * pixels->channel_stride + 1;
}

static void interleave_planes(const uint8_t *red, int64_t plane, int64_t count, uint8_t *memory) {
    const uint8_t *green = red + plane, *blue = green + plane;
    for (int64_t i = 0; i < count; i++) {
        const uint32_t pixel = (uint32_t)red[i] | (uint32_t)green[i] << 8 | (uint32_t)blue[i] << 16;
        memcpy(memory + WIDEST_PIXEL * i, &pixel, sizeof pixel);
    }
}

static void gather(const uint8_t *from, int64_t step, int64_t channel_step, int64_t count, uint8_t *memory) {
    for (int64_t i = 0; i < count; i++) {
        for (int c = 0; c < FASTNORM_CHANNELS; c++) {
            memory[WIDEST_PIXEL * i + c] = from[i * step + c * channel_step];
        }
    }
}

const uint8_t *row_in(const fastnorm_pixels *pixels, const row_extent *extent, int64_t row, uint8_t *memory) {
    const int64_t at = (row - pixels->first_row) * pixels->row_stride +
                       (extent->first - pixels->first_column) * pixels->column_stride;
    const uint8_t *from = pixels->address + at;
    if (lies_as_wanted(pixels)) {
        const int64_t step = pixels->column_stride;
        if (at + extent->room * step + ROOM_BEHIND <= bytes_of(pixels)) return from;
        memcpy(memory, from, (size_t)((extent->columns - 1) * step + FASTNORM_CHANNELS));
    } else if (pixels->column_stride == 1) {
        interleave_planes(from, pixels->channel_stride, extent->columns, memory);
    } else {
        gather(from, pixels->column_stride, pixels->channel_stride, extent->columns, memory);
    }
    return memory;
}
