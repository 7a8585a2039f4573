// Pillow's and torch's antialiasing tables, packed for the passes that use them.
#ifndef FASTNORM_TABLES_H
#define FASTNORM_TABLES_H

#include <stdbool.h>
#include <stdint.h>

#include "resize.h"

// Fixed point with 22 bits behind the point, as Pillow's: an output value is clip((HALF + sum) >> FRACTION_BITS).
enum { FRACTION_BITS = 22, INT16_BITS = 15, ONE = 1 << FRACTION_BITS, HALF = ONE / 2 };

// Both passes take four source pixels at a time, a group: the bytes of one 32-bit word. The weights of a group are
// packed into three words.
enum { GROUP = 4, WEIGHT_WORDS = 3 };

// How the weights K of a group are split into limbs that multiply bytes. Sums of limbs are put together modulo 2^32,
// where the sum of x * K is exact: it always fits (see fastnorm.spec.filters).
typedef enum {
    // K = hi * 2^16 + lo with hi in int8 and lo in int16; words: hi of taps 0 to 3; lo of 0 and 2; lo of 1 and 3.
    HIGH_AND_LOW,
    // K = b2 * 2^16 + b1 * 2^8 + b0 with all three in int8; words: b0 of taps 0 to 3; b1; b2.
    THREE_BYTES,
} weight_packing;

struct fastnorm_table {
    weight_packing packing;
    int32_t count;       // output pixels
    int32_t first, stop; // the source pixels that windows begin at and end before
    int32_t groups;      // of the longest window; column windows all have as many, some with weights of zero
    int32_t reach;       // columns: source pixels from `first` on that groups cover
    int32_t depth;       // rows: how many groups there are between the oldest that is still needed and the newest
    // HIGH_AND_LOW: the sums of |hi| over taps 0 and 1 of all groups of a window, and over taps 2 and 3, are at most
    // 128. Products with bytes then add up to 255 * 128 < 2^15, in any order. The filters' sums stay near 100; each
    // table is asked all the same.
    bool high_sums_fit_int16;
    int32_t *start;   // of each window: columns: source pixel, counted from `first`; rows: group, counted from row 0
    int32_t *length;  // rows: groups of each window
    int32_t *weights; // [pixels][groups][WEIGHT_WORDS]; column tables end with copies up to a multiple of four pixels
};

static inline const int32_t *weights_of(const fastnorm_table *table, int64_t pixel) {
    return table->weights + pixel * table->groups * WEIGHT_WORDS;
}

// Packs the weights K of one group; false where one does not fit into the limbs.
bool pack_group(weight_packing packing, const int32_t weights[GROUP], int32_t words[WEIGHT_WORDS]);

#endif
