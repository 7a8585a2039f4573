// The inner loops of resizing, one set for each instruction set. Between the passes pixel values lie in groups: word i
// of a channel's line holds, as its bytes, column i of four rows.
//
//     value = clip((HALF + sum of x * K) >> FRACTION_BITS, 0, 255)
//
// Lines are worked on in whole vectors: their length is rounded up to LINE values, and memory behind them is there.
#ifndef FASTNORM_PASSES_H
#define FASTNORM_PASSES_H

#include <stddef.h>

#include "tables.h"

enum { LINE = 64 };

// The bytes that a horizontal pass reads behind the last pixel that it covers: it loads 16 bytes at a time, which are 5
// pixels of 3 bytes and one byte.
enum { READ_BEHIND = 4 };

// Four rows, which begin at the table's first column, to three lines of words, `pitch` words apart. Pixels have 3 or 4
// bytes.
typedef void horizontal_pass(const uint8_t *const rows[GROUP], int32_t pixel_bytes, const fastnorm_table *columns,
                             uint32_t *words, size_t pitch);

// `count` lines of words, with WEIGHT_WORDS weights each, to one line of values.
typedef void vertical_pass(const uint32_t *const *lines, int32_t count, const int32_t *weights, int32_t length,
                           uint8_t *values);

// Four rows of bytes to one line of words: what a horizontal pass does where rows are resized first.
typedef void interleaving(const uint8_t *const rows[GROUP], int32_t length, uint32_t *words);

typedef struct {
    horizontal_pass *horizontal;
    vertical_pass *vertical;
    interleaving *interleave;
} passes;

extern const passes PORTABLE_PASSES, AVX2_PASSES, VNNI_PASSES;

// Whether the tables are right, and the passes of all instruction sets up to `instructions`: 0, or what is wrong.
int32_t resize_self_test(int32_t instructions);

static inline uint8_t value_of(int32_t sum) {
    const int32_t value = sum >> FRACTION_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

#endif
