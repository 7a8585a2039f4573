// One walk over the rows of an image writes all of its crops: resized as Pillow does, cut out and normalised.
//
// A step takes four rows. For each crop, the horizontal pass turns them into a group of words (see passes.h), which is
// kept in a ring as long as a window of rows needs it; a window whose last group has come makes an output row of pixel
// values. Those wait in a block until there are enough to be normalised, which fastnorm_normalize does.
//
// Where the rows are resized first, the ring holds the source's own columns. Its windows make resized rows, and every
// four of these take the horizontal pass.
#include <stdlib.h>
#include <string.h>

#include "parallel.h"
#include "passes.h"
#include "rows_in.h"

// Beyond this, windows of rows are so long that Pillow, which keeps all rows between its passes, does no worse.
static const int64_t MAX_RING_BYTES = (int64_t)64 << 20;

// Pixel values that wait for normalisation: a part of the first-level cache, and no more rows than that takes.
enum { BLOCK_BYTES = 16 << 10, MOST_BLOCK_ROWS = 16 };

typedef struct {
    uint32_t *words;
    int64_t groups; // a power of two
    size_t pitch;   // words of a line
    size_t lines;   // of a group
} ring;

// Rows of pixel values, [channel][row][pitch], with zeros where the crop shows none.
typedef struct {
    uint8_t *values;
    size_t pitch;
    int64_t rows, filled, written; // written: of the band
} block;

typedef struct {
    const fastnorm_crop *crop;
    horizontal_pass *horizontal;
    vertical_pass *vertical;
    interleaving *interleave;
    ring ring;
    const uint32_t **lines; // of a window
    // Rows of the table: the band's, and the one that is made next.
    int64_t begin, end, next;
    int64_t first_group, last_group; // that the band is made of
    block block;
    fastnorm_normalize_job *normalizing;
    const fastnorm_output *outputs;
    // Where rows are resized first: four resized rows, their words, and the weights that pick one row out of a word.
    uint8_t *resized;
    size_t resized_pitch;
    uint32_t *words;
    size_t words_pitch;
    int32_t pick[GROUP][WEIGHT_WORDS];
} crop_walk;

struct fastnorm_walk {
    crop_walk *crops;
    int32_t count;
    int64_t first_step, last_step;
    row_extent extent;
    uint8_t *memory; // for four rows
};

static size_t rounded_up(size_t length) { return (length + LINE - 1) / LINE * LINE; }

static void *zeros(size_t count, size_t size) {
    if (size != 0 && count > SIZE_MAX / 2 / size) return NULL;
    const size_t bytes = rounded_up(count * size);
    void *memory = aligned_alloc(LINE, bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}

// --- pixel values to outputs

static void *element_of(const fastnorm_output *output, int64_t row, int64_t column) {
    const int64_t size = output->dtype == FASTNORM_FLOAT32 ? 4 : 2;
    return (char *)output->address + size * (row * output->strides.row + column * output->strides.column);
}

// Normalises `rows` rows, `row_step` bytes apart, into the crop's rows from `first` on, or backwards from there.
static void normalize_rows(crop_walk *w, const uint8_t *values, size_t row_step, int64_t first, int64_t rows,
                           int64_t direction) {
    fastnorm_normalize_job *job = w->normalizing;
    job->pixels = values;
    job->height = rows;
    job->strides.row = (int64_t)row_step;
    for (int64_t i = 0; i < w->crop->outputs; i++) {
        job->output[i].address = element_of(&w->outputs[i], first, 0);
        job->output[i].strides.row = direction * w->outputs[i].strides.row;
    }
    fastnorm_normalize(job);
}

static void write_block(crop_walk *w) {
    const fastnorm_crop *crop = w->crop;
    block *b = &w->block;
    const int64_t row = w->begin + b->written;
    const int64_t first = crop->row_offset + (crop->rows_mirrored ? crop->rows->count - 1 - row : row);
    normalize_rows(w, b->values, b->pitch, first, b->filled, crop->rows_mirrored ? -1 : 1);
    b->written += b->filled;
    b->filled = 0;
}

// The zeros above and below what the crop shows, by the first band and the last; the block is still empty.
static void write_padding(crop_walk *w) {
    const fastnorm_crop *crop = w->crop;
    const int64_t above = w->begin == 0 ? crop->row_offset : 0, end = crop->row_offset + crop->rows->count;
    const int64_t below = w->end == crop->rows->count ? crop->row_length - end : 0;
    if (above > 0) normalize_rows(w, w->block.values, 0, 0, above, 1);
    if (below > 0) normalize_rows(w, w->block.values, 0, end, below, 1);
}

// --- the passes

static uint32_t *group_of(const crop_walk *w, int64_t group) {
    return w->ring.words + (size_t)(group & (w->ring.groups - 1)) * w->ring.lines * w->ring.pitch;
}

static void resize_window(crop_walk *w, int64_t row, size_t line, int32_t length, uint8_t *values) {
    const fastnorm_table *rows = w->crop->rows;
    for (int32_t i = 0; i < rows->length[row]; i++) {
        w->lines[i] = group_of(w, rows->start[row] + i) + line * w->ring.pitch;
    }
    w->vertical(w->lines, rows->length[row], weights_of(rows, row), length, values);
}

// Where the next row's values of a channel go.
static uint8_t *values_of(const crop_walk *w, int channel) {
    const block *b = &w->block;
    return b->values + (size_t)(channel * b->rows + b->filled) * b->pitch + w->crop->column_offset;
}

static void end_row(crop_walk *w) {
    const fastnorm_crop *crop = w->crop;
    const int64_t shown = crop->columns->count, right = crop->column_length - crop->column_offset - shown;
    for (int c = 0; c < FASTNORM_CHANNELS && right > 0; c++) { // passes write whole vectors
        memset(values_of(w, c) + shown, 0, (size_t)right);
    }
    w->block.filled++;
    if (w->block.filled == w->block.rows || w->begin + w->block.written + w->block.filled == w->end) write_block(w);
}

static bool is_ready(const crop_walk *w, int64_t groups) {
    const fastnorm_table *rows = w->crop->rows;
    return w->next < w->end && rows->start[w->next] + rows->length[w->next] <= groups;
}

static void step_columns_first(crop_walk *w, const uint8_t *const rows[GROUP], int32_t pixel_bytes, int64_t step) {
    const fastnorm_table *columns = w->crop->columns;
    w->horizontal(rows, pixel_bytes, columns, group_of(w, step), w->ring.pitch);
    for (; is_ready(w, step + 1); w->next++) {
        for (int c = 0; c < FASTNORM_CHANNELS; c++) {
            resize_window(w, w->next, (size_t)c, columns->count, values_of(w, c));
        }
        end_row(w);
    }
}

// The last one to four resized rows, which wait in `resized`, take the horizontal pass.
static void finish_resized_rows(crop_walk *w, int32_t pixel_bytes, int64_t rows) {
    const uint8_t *four[GROUP];
    for (int i = 0; i < GROUP; i++) four[i] = w->resized + (size_t)i * w->resized_pitch;
    w->horizontal(four, pixel_bytes, w->crop->columns, w->words, w->words_pitch);
    for (int64_t row = 0; row < rows; row++) {
        for (int c = 0; c < FASTNORM_CHANNELS; c++) {
            const uint32_t *line = w->words + (size_t)c * w->words_pitch;
            w->vertical(&line, 1, w->pick[row], w->crop->columns->count, values_of(w, c));
        }
        end_row(w);
    }
}

static void step_rows_first(crop_walk *w, const uint8_t *const rows[GROUP], int32_t pixel_bytes, int64_t step) {
    const fastnorm_table *columns = w->crop->columns;
    const int32_t length = (columns->stop - columns->first) * pixel_bytes;
    w->interleave(rows, length, group_of(w, step));
    for (; is_ready(w, step + 1); w->next++) {
        const int64_t waiting = (w->next - w->begin) % GROUP;
        resize_window(w, w->next, 0, length, w->resized + (size_t)waiting * w->resized_pitch);
        if (waiting == GROUP - 1 || w->next + 1 == w->end) {
            finish_resized_rows(w, pixel_bytes, waiting + 1);
        }
    }
}

static void step_crop(fastnorm_walk *walk, crop_walk *w, const uint8_t *const rows[GROUP], int32_t pixel_bytes,
                      int64_t step) {
    if (step < w->first_group || step > w->last_group) return;
    const int64_t left = (w->crop->columns->first - walk->extent.first) * pixel_bytes;
    const uint8_t *const from[GROUP] = {rows[0] + left, rows[1] + left, rows[2] + left, rows[3] + left};
    if (w->crop->vertical_first) {
        step_rows_first(w, from, pixel_bytes, step);
    } else {
        step_columns_first(w, from, pixel_bytes, step);
    }
}

// --- set-up

static const passes *passes_of(int32_t instructions) {
    switch (instructions) {
    case FASTNORM_VNNI: return &VNNI_PASSES;
    case FASTNORM_AVX2: return &AVX2_PASSES;
    default: return &PORTABLE_PASSES;
    }
}

// Plain C takes any weights of the same packing.
static const passes *passes_for(const fastnorm_table *table, int32_t instructions) {
    const bool any = table->packing == THREE_BYTES || table->high_sums_fit_int16;
    return passes_of(any ? instructions : FASTNORM_PORTABLE);
}

static void choose_passes(crop_walk *w, int32_t instructions) {
    w->horizontal = passes_for(w->crop->columns, instructions)->horizontal;
    w->vertical = passes_for(w->crop->rows, instructions)->vertical;
    w->interleave = passes_of(instructions)->interleave;
}

static fastnorm_status new_ring(crop_walk *w) {
    const fastnorm_table *columns = w->crop->columns, *rows = w->crop->rows;
    ring *r = &w->ring;
    const int64_t length = w->crop->vertical_first ? (int64_t)columns->reach * WIDEST_PIXEL : columns->count;
    r->lines = w->crop->vertical_first ? 1 : FASTNORM_CHANNELS;
    r->pitch = rounded_up((size_t)length);
    for (r->groups = 1; r->groups < rows->depth;) r->groups *= 2;
    if (r->groups * (int64_t)(r->lines * r->pitch * sizeof *r->words) > MAX_RING_BYTES) return FASTNORM_RING_TOO_LARGE;
    r->words = zeros((size_t)r->groups * r->lines * r->pitch, sizeof *r->words);
    w->lines = malloc(sizeof *w->lines * (size_t)rows->groups);
    return r->words && w->lines ? FASTNORM_DONE : FASTNORM_NO_MEMORY;
}

static fastnorm_status new_resized_rows(crop_walk *w) {
    if (!w->crop->vertical_first) return FASTNORM_DONE;
    w->resized_pitch = w->ring.pitch + ROOM_BEHIND;
    w->resized = zeros(GROUP * w->resized_pitch, 1);
    w->words_pitch = rounded_up((size_t)w->crop->columns->count);
    w->words = zeros(FASTNORM_CHANNELS * w->words_pitch, sizeof *w->words);
    for (int row = 0; row < GROUP; row++) {
        int32_t weights[GROUP] = {0, 0, 0, 0};
        weights[row] = ONE;
        pack_group(w->crop->rows->packing, weights, w->pick[row]);
    }
    return w->resized && w->words ? FASTNORM_DONE : FASTNORM_NO_MEMORY;
}

static int64_t block_rows(const crop_walk *w) {
    const int64_t fitting = BLOCK_BYTES / (FASTNORM_CHANNELS * (int64_t)w->block.pitch);
    const int64_t rows = fitting < MOST_BLOCK_ROWS ? fitting : MOST_BLOCK_ROWS;
    if (rows < 1) return 1;
    return rows < w->end - w->begin ? rows : w->end - w->begin;
}

static fastnorm_status new_block(crop_walk *w, int32_t instructions) {
    const fastnorm_crop *crop = w->crop;
    block *b = &w->block;
    const size_t shown = (size_t)crop->column_offset + rounded_up((size_t)crop->columns->count);
    const size_t whole = (size_t)crop->column_length;
    b->pitch = rounded_up(shown > whole ? shown : whole);
    b->rows = block_rows(w);
    b->values = zeros(FASTNORM_CHANNELS * (size_t)b->rows * b->pitch, 1);
    w->normalizing = malloc(sizeof *w->normalizing + (size_t)crop->outputs * sizeof *w->outputs);
    if (!b->values || !w->normalizing) return FASTNORM_NO_MEMORY;
    *w->normalizing = (fastnorm_normalize_job){
        .images = 1,
        .width = crop->column_length,
        .strides = {.channel = b->rows * (int64_t)b->pitch, .column = 1},
        .instructions = instructions,
        .threads = 1,
        .outputs = crop->outputs,
    };
    memcpy(w->normalizing->output, w->outputs, (size_t)crop->outputs * sizeof *w->outputs);
    return FASTNORM_DONE;
}

static void choose_band(crop_walk *w, int32_t band, int32_t bands) {
    const fastnorm_table *rows = w->crop->rows;
    w->begin = w->next = (int64_t)rows->count * band / bands;
    w->end = (int64_t)rows->count * (band + 1) / bands;
    for (int64_t row = w->begin; row < w->end; row++) {
        const int64_t first = rows->start[row], last = first + rows->length[row] - 1;
        if (row == w->begin || first < w->first_group) w->first_group = first;
        if (row == w->begin || last > w->last_group) w->last_group = last;
    }
}

static fastnorm_status set_up(crop_walk *w, int32_t instructions) {
    choose_passes(w, instructions);
    fastnorm_status status = new_ring(w);
    if (status == FASTNORM_DONE) status = new_resized_rows(w);
    if (status == FASTNORM_DONE) status = new_block(w, instructions);
    return status;
}

static void extend(fastnorm_walk *walk, const crop_walk *w, bool is_first) {
    const fastnorm_table *columns = w->crop->columns;
    row_extent *e = &walk->extent;
    const int64_t first = is_first || columns->first < e->first ? columns->first : e->first;
    const int64_t stop = is_first ? columns->stop : e->first + e->columns;
    const int64_t reach = is_first ? 0 : e->first + e->room, its = (int64_t)columns->first + columns->reach;
    e->columns = (columns->stop > stop ? columns->stop : stop) - first;
    e->room = (its > reach ? its : reach) - first;
    e->first = first;
    if (is_first || w->first_group < walk->first_step) walk->first_step = w->first_group;
    if (is_first || w->last_group > walk->last_step) walk->last_step = w->last_group;
}

static size_t row_memory(const fastnorm_walk *walk) {
    return rounded_up((size_t)walk->extent.room * WIDEST_PIXEL + ROOM_BEHIND);
}

static fastnorm_status set_up_all(fastnorm_walk *walk, const fastnorm_crop *crops, const fastnorm_output *outputs,
                                  int32_t band, int32_t bands, int32_t instructions) {
    for (int32_t i = 0; i < walk->count; i++) {
        walk->crops[i].crop = &crops[i];
        walk->crops[i].outputs = outputs;
        outputs += crops[i].outputs;
        choose_band(&walk->crops[i], band, bands);
        extend(walk, &walk->crops[i], i == 0);
        const fastnorm_status status = set_up(&walk->crops[i], instructions);
        if (status != FASTNORM_DONE) return status;
    }
    walk->memory = zeros(GROUP, row_memory(walk));
    return walk->memory ? FASTNORM_DONE : FASTNORM_NO_MEMORY;
}

fastnorm_walk *fastnorm_walk_new(const fastnorm_crop *crops, int32_t count, const fastnorm_output *outputs,
                                 int32_t band, int32_t bands, int32_t instructions, int32_t *status) {
    fastnorm_walk *walk = calloc(1, sizeof *walk);
    *status = FASTNORM_NO_MEMORY;
    if (walk) walk->crops = calloc((size_t)count, sizeof *walk->crops);
    if (walk && walk->crops) {
        walk->count = count;
        *status = (int32_t)set_up_all(walk, crops, outputs, band, bands, instructions);
    }
    if (*status == FASTNORM_DONE) return walk;
    fastnorm_walk_free(walk);
    return NULL;
}

void fastnorm_walk_free(fastnorm_walk *walk) {
    if (!walk) return;
    for (int32_t i = 0; i < walk->count; i++) {
        crop_walk *w = &walk->crops[i];
        free(w->ring.words);
        free(w->lines);
        free(w->block.values);
        free(w->normalizing);
        free(w->resized);
        free(w->words);
    }
    free(walk->crops);
    free(walk->memory);
    free(walk);
}

// --- the walk

void fastnorm_walk_extent(const fastnorm_walk *walk, int32_t extent[4]) {
    extent[0] = (int32_t)walk->first_step * GROUP;
    extent[1] = (int32_t)(walk->last_step + 1) * GROUP;
    extent[2] = (int32_t)walk->extent.first;
    extent[3] = (int32_t)(walk->extent.first + walk->extent.columns);
}

static void take_step(fastnorm_walk *walk, const fastnorm_pixels *pixels, int64_t step) {
    const uint8_t *rows[GROUP];
    const int64_t last = pixels->first_row + pixels->rows - 1;
    for (int64_t i = 0; i < GROUP; i++) {
        const int64_t row = step * GROUP + i;
        // Behind the image any row will do: its weights are zero.
        rows[i] = i > 0 && row > last
                      ? rows[i - 1]
                      : row_in(pixels, &walk->extent, row, walk->memory + (size_t)i * row_memory(walk));
    }
    for (int32_t i = 0; i < walk->count; i++) step_crop(walk, &walk->crops[i], rows, pixel_bytes_of(pixels), step);
}

void fastnorm_walk_rows(fastnorm_walk *walk, const fastnorm_pixels *pixels) {
    const int64_t begin = (pixels->first_row + GROUP - 1) / GROUP;
    const int64_t end = (pixels->first_row + pixels->rows + GROUP - 1) / GROUP;
    for (int64_t step = begin > walk->first_step ? begin : walk->first_step; step < end; step++) {
        if (step > walk->last_step) break;
        for (int32_t i = 0; i < walk->count && step == walk->first_step; i++) write_padding(&walk->crops[i]);
        take_step(walk, pixels, step);
    }
}

typedef struct {
    const fastnorm_pixels *pixels;
    fastnorm_walk **walks;
} band_work;

static void walk_band(const void *argument, int64_t band) {
    const band_work *work = argument;
    fastnorm_walk_rows(work->walks[band], work->pixels);
}

int32_t fastnorm_resize(const fastnorm_pixels *pixels, const fastnorm_crop *crops, int32_t count,
                        const fastnorm_output *outputs, int32_t bands, int32_t instructions) {
    fastnorm_walk **walks = calloc((size_t)bands, sizeof *walks);
    int32_t status = walks ? FASTNORM_DONE : FASTNORM_NO_MEMORY;
    for (int32_t band = 0; band < bands && status == FASTNORM_DONE; band++) {
        walks[band] = fastnorm_walk_new(crops, count, outputs, band, bands, instructions, &status);
    }
    const band_work work = {pixels, walks};
    if (status == FASTNORM_DONE) run_units(walk_band, &work, bands, bands);
    for (int32_t band = 0; walks && band < bands; band++) fastnorm_walk_free(walks[band]);
    free(walks);
    return status;
}
