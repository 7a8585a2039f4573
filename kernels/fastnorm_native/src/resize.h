// Resizing as Pillow does, cropping and normalising: what the library exports for it. Python's side is resize.py.
#ifndef FASTNORM_RESIZE_H
#define FASTNORM_RESIZE_H

#include "fastnorm.h"

typedef enum {
    FASTNORM_BOX,
    FASTNORM_BILINEAR,
    FASTNORM_HAMMING,
    FASTNORM_BICUBIC,
    FASTNORM_LANCZOS,
    FASTNORM_FILTERS
} fastnorm_filter;

typedef enum {
    FASTNORM_DONE,
    FASTNORM_NO_MEMORY,
    FASTNORM_WEIGHTS_TOO_LARGE, // a weight does not fit into its limbs: not for this code
    FASTNORM_RING_TOO_LARGE,    // windows so long that the rows between the passes would fill memory: not for this code
} fastnorm_status;

// The table of one axis, packed for an instruction set. Never written after it is made: threads may share it.
typedef struct fastnorm_table fastnorm_table;

typedef enum { FASTNORM_COLUMNS, FASTNORM_ROWS } fastnorm_axis;

// Pixels `start` to `start + count` of an axis that is resized from `source` to `resized` pixels, in reverse order if
// `mirrored` (columns only). NULL and why in `status`, if it cannot be made.
FASTNORM_EXPORT fastnorm_table *fastnorm_table_new(fastnorm_axis axis, fastnorm_filter filter, int32_t source,
                                                   int32_t resized, int32_t start, int32_t count, int32_t mirrored,
                                                   int32_t instructions, int32_t *status);
FASTNORM_EXPORT void fastnorm_table_free(fastnorm_table *table);
FASTNORM_EXPORT int64_t fastnorm_table_bytes(const fastnorm_table *table);
// The table as integers of 22 bits behind the point, for tests: fixed[count][width], the weights of the source pixels
// 0 to width.
FASTNORM_EXPORT void fastnorm_table_unpack(const fastnorm_table *table, int32_t width, int32_t *fixed);

// Where the pixels of an image lie, or those of a part of it: rows and columns counted in the image. Strides in bytes,
// none negative.
typedef struct {
    const uint8_t *address; // of the first channel of the part's first pixel
    int64_t row_stride, column_stride, channel_stride;
    int32_t first_row, rows;
    int32_t first_column, columns;
} fastnorm_pixels;

// One tensor to write: the crop, of one image, by one normalisation.
typedef struct {
    void *address;
    int64_t channel_stride, row_stride, column_stride; // in elements
    const fastnorm_normalization *normalization;
    int64_t dtype;
} fastnorm_output;

// One resized and cropped image: the pixels that the tables make, in a frame of zeros.
typedef struct {
    const fastnorm_table *columns, *rows;
    int32_t vertical_first;
    int32_t rows_mirrored;
    int32_t row_offset, row_length;       // zeros before the rows, and all rows of the crop
    int32_t column_offset, column_length; // likewise
    int32_t outputs;                      // how many tensors show it: that many of the call's outputs, in order
    int32_t reserved;
} fastnorm_crop;

// One walk over an image's rows that writes all crops. A step takes four rows, whose numbers begin with a multiple of
// four.
typedef struct fastnorm_walk fastnorm_walk;

// A walk over an image of `height` rows; the records must outlive it. NULL and why in `status`, before anything is
// written.
FASTNORM_EXPORT fastnorm_walk *fastnorm_walk_new(int32_t height, const fastnorm_crop *crops, int32_t count,
                                                 const fastnorm_output *outputs, int32_t instructions,
                                                 int32_t *status);
// The part of the image that the walk reads: first row, end of the rows, first column, end of the columns. The rows
// begin at a multiple of four.
FASTNORM_EXPORT void fastnorm_walk_extent(const fastnorm_walk *walk, int32_t extent[4]);
// Walks over the steps that lie in `pixels`, which begins where the last call's ended; all of the extent's columns
// have to be there.
FASTNORM_EXPORT void fastnorm_walk_rows(fastnorm_walk *walk, const fastnorm_pixels *pixels);
FASTNORM_EXPORT void fastnorm_walk_free(fastnorm_walk *walk);

// All of it for an image whose pixels lie together. The same status as fastnorm_walk_new.
FASTNORM_EXPORT int32_t fastnorm_resize(const fastnorm_pixels *pixels, const fastnorm_crop *crops, int32_t count,
                                        const fastnorm_output *outputs, int32_t instructions);

#endif
