// Resizing as Pillow or torch does, cropping and normalising: what the library exports for it. Python's side is resize.py.
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

// Whose way to round the weights: nothing else differs, so that tables of both may be walked with.
typedef enum {
    FASTNORM_PILLOW, // to 22 fraction bits
    FASTNORM_TORCH,  // to int16, with as many fraction bits as the largest weight of the whole axis leaves room for
} fastnorm_arithmetic;

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
FASTNORM_EXPORT fastnorm_table *fastnorm_table_new(fastnorm_axis axis, fastnorm_filter filter,
                                                   fastnorm_arithmetic arithmetic, int32_t source, int32_t resized,
                                                   int32_t start, int32_t count, int32_t mirrored,
                                                   int32_t instructions, int32_t *status);
FASTNORM_EXPORT void fastnorm_table_free(fastnorm_table *table);
// For tests: how many pixels it makes, and the weights that source pixels 0 to `width` have in each, fixed[count][width].
FASTNORM_EXPORT int32_t fastnorm_table_count(const fastnorm_table *table);
FASTNORM_EXPORT void fastnorm_table_unpack(const fastnorm_table *table, int32_t width, int32_t *fixed);

// Where the pixels of an image lie, or those of a part of it: rows and columns counted in the image. Strides in bytes,
// none negative.
typedef struct {
    const uint8_t *address; // of the first channel of the part's first pixel
    int64_t row_stride, column_stride, channel_stride;
    int64_t first_row, rows;
    int64_t first_column, columns;
} fastnorm_pixels;

// One resized and cropped image: the pixels that the tables make, in a frame of zeros.
typedef struct {
    const fastnorm_table *columns, *rows;
    int64_t vertical_first;
    int64_t rows_mirrored;
    int64_t row_offset, row_length;       // zeros before the rows, and all rows of the crop
    int64_t column_offset, column_length; // likewise
    int64_t outputs;                      // how many tensors show it: that many of the call's outputs, in order
} fastnorm_crop;

// One walk over an image's rows that writes all crops. A step takes four rows, whose numbers begin with a multiple of
// four.
typedef struct fastnorm_walk fastnorm_walk;

// Band `band` of `bands`: each crop's rows are cut into so many bands, none of them empty, which threads may write at the
// same time. The records must outlive the walk. An output is one image: its image stride is not looked at. NULL and why in
// `status`, before anything is written.
FASTNORM_EXPORT fastnorm_walk *fastnorm_walk_new(const fastnorm_crop *crops, int32_t count,
                                                 const fastnorm_output *outputs, int32_t band, int32_t bands,
                                                 int32_t instructions, int32_t *status);
// The part of the image that the walk reads: first row, end of the rows, first column, end of the columns. The first row
// is a multiple of four; the end may lie up to three rows behind the image's.
FASTNORM_EXPORT void fastnorm_walk_extent(const fastnorm_walk *walk, int32_t extent[4]);
// Walks over the steps that begin in `pixels`, which holds all of the extent's columns and begins where the last call's
// ended, with the same strides between columns and channels. Its last step is whole, or ends with the image.
FASTNORM_EXPORT void fastnorm_walk_rows(fastnorm_walk *walk, const fastnorm_pixels *pixels);
FASTNORM_EXPORT void fastnorm_walk_free(fastnorm_walk *walk);

// All of it for an image whose pixels lie together, a thread for each band. The same status as fastnorm_walk_new.
FASTNORM_EXPORT int32_t fastnorm_resize(const fastnorm_pixels *pixels, const fastnorm_crop *crops, int32_t count,
                                        const fastnorm_output *outputs, int32_t bands, int32_t instructions);

#endif
