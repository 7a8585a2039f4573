// Does this build resize as it should here? Known weights, and a small image by plain loops beside every instruction set.
#include <string.h>

#include "passes.h"

enum { PASSED, WRONG_WEIGHTS, WRONG_VALUES };

// Black and white, so that filters that go below zero overshoot, and codes between.
enum { WIDTH = 23, HEIGHT = 14, COLUMNS = 9, ROWS = 5, PIXEL = 3 };

typedef struct {
    uint8_t rows[HEIGHT][WIDTH * PIXEL + 64]; // with what passes read behind a row
    uint8_t expected[ROWS][COLUMNS][FASTNORM_CHANNELS];
} sample;

typedef struct {
    fastnorm_filter filter;
    fastnorm_arithmetic arithmetic;
    int32_t weights[7];
} known_table;

// Lanczos asks the C library for sines, bicubic has no function of its own; all make the middle pixel of 7 to 3.
static bool weights_are_known(void) {
    static const known_table known[] = {
        {FASTNORM_LANCZOS, FASTNORM_PILLOW, {-244898, 245227, 1223174, 1747299, 1223174, 245227, -244898}},
        {FASTNORM_BICUBIC, FASTNORM_PILLOW, {-128031, 189486, 1157403, 1756589, 1157403, 189486, -128031}},
        {FASTNORM_BICUBIC, FASTNORM_TORCH, {-128000, 189504, 1157376, 1756608, 1157376, 189504, -128000}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        int32_t status, found[7];
        fastnorm_table *table = fastnorm_table_new(FASTNORM_COLUMNS, known[i].filter, known[i].arithmetic, 7, 3, 1, 1, 0,
                                                   FASTNORM_PORTABLE, &status);
        if (!table) return false;
        fastnorm_table_unpack(table, 7, found);
        fastnorm_table_free(table);
        if (memcmp(found, known[i].weights, sizeof found) != 0) return false;
    }
    return true;
}

static void fill(sample *s) {
    uint32_t random = 1;
    for (int row = 0; row < HEIGHT; row++) {
        for (int i = 0; i < WIDTH * PIXEL; i++) {
            random = random * 1664525u + 1013904223u;
            s->rows[row][i] = random >> 31 ? (uint8_t)(random >> 16) : random >> 30 & 1 ? 255 : 0;
        }
    }
}

static fastnorm_table *columns_for(int32_t instructions) {
    int32_t status;
    return fastnorm_table_new(FASTNORM_COLUMNS, FASTNORM_BICUBIC, FASTNORM_TORCH, WIDTH, COLUMNS, 0, COLUMNS, 0, instructions, &status);
}

static fastnorm_table *rows_for(int32_t instructions) {
    int32_t status;
    return fastnorm_table_new(FASTNORM_ROWS, FASTNORM_BILINEAR, FASTNORM_PILLOW, HEIGHT, ROWS, 0, ROWS, 0, instructions, &status);
}

// The definition, with nothing packed.
static void expect(sample *s, const fastnorm_table *columns, const fastnorm_table *rows) {
    int32_t column_weights[COLUMNS][WIDTH], row_weights[ROWS][HEIGHT];
    uint8_t between[COLUMNS][FASTNORM_CHANNELS][HEIGHT];
    fastnorm_table_unpack(columns, WIDTH, column_weights[0]);
    fastnorm_table_unpack(rows, HEIGHT, row_weights[0]);
    for (int row = 0; row < HEIGHT; row++) {
        for (int i = 0; i < COLUMNS * FASTNORM_CHANNELS; i++) {
            const int column = i / FASTNORM_CHANNELS, channel = i % FASTNORM_CHANNELS;
            int32_t sum = HALF;
            for (int x = 0; x < WIDTH; x++) sum += column_weights[column][x] * s->rows[row][PIXEL * x + channel];
            between[column][channel][row] = value_of(sum);
        }
    }
    for (int row = 0; row < ROWS; row++) {
        for (int i = 0; i < COLUMNS * FASTNORM_CHANNELS; i++) {
            const int column = i / FASTNORM_CHANNELS, channel = i % FASTNORM_CHANNELS;
            int32_t sum = HALF;
            for (int y = 0; y < HEIGHT; y++) sum += row_weights[row][y] * between[column][channel][y];
            s->expected[row][column][channel] = value_of(sum);
        }
    }
}

static bool values_are_expected(const sample *s, const passes *p, const fastnorm_table *columns,
                                const fastnorm_table *rows) {
    _Alignas(64) uint32_t words[(HEIGHT + GROUP - 1) / GROUP][FASTNORM_CHANNELS][LINE];
    _Alignas(64) uint8_t values[LINE];
    memset(words, 0, sizeof words);
    for (int row = 0; row < HEIGHT; row += GROUP) {
        const uint8_t *four[GROUP];
        for (int i = 0; i < GROUP; i++) four[i] = s->rows[row + i < HEIGHT ? row + i : HEIGHT - 1];
        for (int i = 0; i < GROUP; i++) four[i] += (size_t)columns->first * PIXEL;
        p->horizontal(four, PIXEL, columns, words[row / GROUP][0], LINE);
    }
    for (int row = 0; row < ROWS; row++) {
        for (int c = 0; c < FASTNORM_CHANNELS; c++) {
            const uint32_t *lines[(HEIGHT + GROUP - 1) / GROUP];
            for (int i = 0; i < rows->length[row]; i++) lines[i] = words[rows->start[row] + i][c];
            p->vertical(lines, rows->length[row], weights_of(rows, row), COLUMNS, values);
            for (int column = 0; column < COLUMNS; column++) {
                if (values[column] != s->expected[row][column][c]) return false;
            }
        }
    }
    return true;
}

static int32_t test_values(sample *s, const passes *p, int32_t instructions) {
    fastnorm_table *columns = columns_for(instructions), *rows = rows_for(instructions);
    int32_t result = WRONG_VALUES;
    if (columns && rows) {
        if (instructions == FASTNORM_PORTABLE) expect(s, columns, rows);
        if (values_are_expected(s, p, columns, rows)) result = PASSED;
    }
    fastnorm_table_free(columns);
    fastnorm_table_free(rows);
    return result;
}

int32_t resize_self_test(int32_t instructions) {
    const passes *const sets[FASTNORM_INSTRUCTION_SETS] = {&PORTABLE_PASSES, &AVX2_PASSES, &VNNI_PASSES};
    sample s;
    memset(&s, 0, sizeof s);
    fill(&s);
    if (!weights_are_known()) return WRONG_WEIGHTS;
    for (int32_t i = FASTNORM_PORTABLE; i <= instructions; i++) {
        if (test_values(&s, sets[i], i) != PASSED) return WRONG_VALUES;
    }
    return PASSED;
}
