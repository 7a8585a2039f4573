// Which source pixels make an output pixel, and how much each counts: Pillow's double arithmetic, operation by operation,
// which is torch's too.
#include "tables.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "floating_point.h"

static const double PI = 3.14159265358979323846;

// --- filters: the weight at a distance from the centre, in output pixels

static double box(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

static double bilinear(double x) {
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static double sinc(double x) {
    if (x == 0.0) return 1.0;
    const double angle = x * PI;
    return sin(angle) / angle;
}

static double hamming(double x) {
    x = fabs(x);
    if (x == 0.0) return 1.0;
    if (x >= 1.0) return 0.0;
    // Single-precision constants, which widen to other doubles than 0.54 and 0.46.
    return sinc(x) * ((double)0.54f + (double)0.46f * cos(x * PI));
}

static double bicubic(double x) {
    x = fabs(x);
    if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1.0;
    if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5;
    return 0.0;
}

static double lanczos(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0; }

typedef struct {
    double support; // the distance from which the weight is zero
    double (*weight)(double x);
} filter;

static const filter FILTERS[FASTNORM_FILTERS] = {
    [FASTNORM_BOX] = {0.5, box},         [FASTNORM_BILINEAR] = {1.0, bilinear}, [FASTNORM_HAMMING] = {1.0, hamming},
    [FASTNORM_BICUBIC] = {2.0, bicubic}, [FASTNORM_LANCZOS] = {3.0, lanczos},
};

// --- the window of one output pixel

typedef struct {
    const filter *filter;
    int32_t source;
    double scale, support, inverse;
    bool identity; // an axis that keeps its size has no pass
    int32_t bits;  // fraction bits of the weights
} resampling;

typedef struct {
    int32_t first, taps;
} window;

static resampling resampling_of(const filter *filter, int32_t source, int32_t resized) {
    const double scale = (double)source / resized;
    const double widening = scale < 1.0 ? 1.0 : scale; // a filter widens when an image shrinks, not when it grows
    return (resampling){.filter = filter,
                        .source = source,
                        .scale = scale,
                        .support = filter->support * widening,
                        .inverse = 1.0 / widening,
                        .identity = source == resized,
                        .bits = FRACTION_BITS};
}

static int32_t most_taps(const resampling *r) { return r->identity ? 1 : (int32_t)ceil(r->support) * 2 + 1; }

// Rounded to so many fraction bits, as an integer of which ONE is 1.0.
static int32_t fixed_point(double weight, int32_t bits) {
    const int32_t rounded = (int32_t)((weight < 0 ? -0.5 : 0.5) + weight * (double)(1 << bits)); // truncates towards zero
    return rounded * (1 << (FRACTION_BITS - bits));
}

// Weights that round to zero at either end are left out: they make no difference to the sum.
static window trimmed(window w, int32_t *fixed) {
    int32_t lead = 0;
    while (w.taps > 0 && fixed[w.taps - 1] == 0) w.taps--;
    while (lead < w.taps && fixed[lead] == 0) lead++;
    memmove(fixed, fixed + lead, sizeof *fixed * (size_t)(w.taps - lead));
    return (window){w.first + lead, w.taps - lead};
}

static double centre_of(const resampling *r, int32_t pixel) { return (pixel + 0.5) * r->scale; }

// The source pixels that are asked for their weight.
static window window_of(const resampling *r, int32_t pixel) {
    if (r->identity) return (window){pixel, 1};
    const double centre = centre_of(r, pixel);
    int32_t first = (int32_t)(centre - r->support + 0.5), stop = (int32_t)(centre + r->support + 0.5);
    if (first < 0) first = 0;
    if (stop > r->source) stop = r->source;
    return (window){first, stop - first};
}

// Writes the weights of a resized pixel.
static void weigh(const resampling *r, int32_t pixel, window w, double *exact) {
    const double centre = centre_of(r, pixel);
    double total = 0.0;
    for (int32_t tap = 0; tap < w.taps; tap++) {
        exact[tap] = r->filter->weight((tap + w.first - centre + 0.5) * r->inverse);
        total += exact[tap];
    }
    for (int32_t tap = 0; tap < w.taps && total != 0.0; tap++) exact[tap] /= total;
}

// Writes the weights of a resized pixel in fixed point; `exact` has room for as many.
static window weigh_fixed(const resampling *r, int32_t pixel, double *exact, int32_t *fixed) {
    const window all = window_of(r, pixel);
    if (r->identity) {
        fixed[0] = ONE;
        return all;
    }
    weigh(r, pixel, all, exact);
    for (int32_t tap = 0; tap < all.taps; tap++) fixed[tap] = fixed_point(exact[tap], r->bits);
    return trimmed(all, fixed);
}

// The most fraction bits with which int16 holds the weights of all pixels.
static int32_t int16_precision(const resampling *r, int32_t resized, double *exact) {
    double largest = 0.0;
    for (int32_t pixel = 0; pixel < resized; pixel++) {
        const window w = window_of(r, pixel);
        weigh(r, pixel, w, exact);
        for (int32_t tap = 0; tap < w.taps; tap++) largest = exact[tap] > largest ? exact[tap] : largest;
    }
    int32_t bits = 0;
    while (bits < FRACTION_BITS && (int32_t)(0.5 + largest * (double)(1 << (bits + 1))) < 1 << INT16_BITS) bits++;
    return bits;
}

// --- packing

static int32_t low_byte(int32_t k) { return (int8_t)(k & 0xff); }
static int32_t low_half(int32_t k) { return (int16_t)(k & 0xffff); }
static int32_t high_half(int32_t k) { return (k - low_half(k)) / 65536; } // exact

static bool pack_high_and_low(const int32_t k[GROUP], int32_t words[WEIGHT_WORDS]) {
    uint32_t high = 0, low[GROUP];
    for (int tap = 0; tap < GROUP; tap++) {
        const int32_t h = high_half(k[tap]);
        if (h != (int8_t)h) return false;
        high |= (uint32_t)(uint8_t)h << 8 * tap;
        low[tap] = (uint16_t)low_half(k[tap]);
    }
    words[0] = (int32_t)high;
    words[1] = (int32_t)(low[0] | low[2] << 16);
    words[2] = (int32_t)(low[1] | low[3] << 16);
    return true;
}

static bool pack_three_bytes(const int32_t k[GROUP], int32_t words[WEIGHT_WORDS]) {
    uint32_t bytes[WEIGHT_WORDS] = {0, 0, 0};
    for (int tap = 0; tap < GROUP; tap++) {
        int32_t rest = k[tap];
        for (int limb = 0; limb < WEIGHT_WORDS; limb++) {
            const int32_t byte = low_byte(rest);
            bytes[limb] |= (uint32_t)(uint8_t)byte << 8 * tap;
            rest = (rest - byte) / 256; // exact
        }
        if (rest != 0) return false;
    }
    for (int limb = 0; limb < WEIGHT_WORDS; limb++) words[limb] = (int32_t)bytes[limb];
    return true;
}

bool pack_group(weight_packing packing, const int32_t weights[GROUP], int32_t words[WEIGHT_WORDS]) {
    return packing == THREE_BYTES ? pack_three_bytes(weights, words) : pack_high_and_low(weights, words);
}

static int32_t unpacked(weight_packing packing, const int32_t *words, int tap) {
    const int32_t byte = (int8_t)((uint32_t)words[0] >> 8 * tap & 0xff);
    if (packing == HIGH_AND_LOW) {
        return byte * 65536 + (int16_t)((uint32_t)words[1 + (tap & 1)] >> 16 * (tap >> 1) & 0xffff);
    }
    const int32_t middle = (int8_t)((uint32_t)words[1] >> 8 * tap & 0xff);
    return byte + middle * 256 + (int8_t)((uint32_t)words[2] >> 8 * tap & 0xff) * 65536;
}

// --- the table

static int32_t groups_for(int32_t taps) { return (taps + GROUP - 1) / GROUP; }

static bool high_sums_fit(const int32_t *fixed, int32_t taps) {
    int64_t sums[2] = {0, 0};
    for (int32_t tap = 0; tap < taps; tap++) sums[tap >> 1 & 1] += labs(high_half(fixed[tap]));
    return sums[0] <= 128 && sums[1] <= 128;
}

// One window's weights, after `lead` zeros, as the groups of an output pixel.
static bool set_weights(fastnorm_table *table, int64_t pixel, int32_t *fixed, int32_t lead, int32_t taps) {
    memmove(fixed + lead, fixed, sizeof *fixed * (size_t)taps);
    memset(fixed, 0, sizeof *fixed * (size_t)lead);
    const int32_t end = table->groups * GROUP;
    memset(fixed + lead + taps, 0, sizeof *fixed * (size_t)(end - lead - taps));
    table->high_sums_fit_int16 &= high_sums_fit(fixed, end);
    int32_t *words = table->weights + pixel * table->groups * WEIGHT_WORDS;
    for (int32_t group = 0; group < table->groups; group++) {
        if (!pack_group(table->packing, fixed + group * GROUP, words + group * WEIGHT_WORDS)) return false;
    }
    return true;
}

typedef struct {
    fastnorm_axis axis;
    fastnorm_arithmetic arithmetic;
    int32_t resized, start, count, mirrored;
} selection;

static int32_t selected(const selection *s, int32_t pixel) {
    return s->mirrored ? s->start + s->count - 1 - pixel : s->start + pixel;
}

// Windows of rows are made of whole groups from row 0 on, which all tables share; those of columns begin anywhere.
static int32_t lead_of(fastnorm_axis axis, window w) { return axis == FASTNORM_ROWS ? w.first % GROUP : 0; }

static bool fill(fastnorm_table *table, const resampling *r, const selection *s, double *exact, int32_t *fixed) {
    for (int32_t pixel = 0; pixel < s->count; pixel++) {
        const window w = weigh_fixed(r, selected(s, pixel), exact, fixed);
        const int32_t lead = lead_of(s->axis, w), groups = groups_for(lead + w.taps);
        table->start[pixel] = s->axis == FASTNORM_ROWS ? w.first / GROUP : w.first;
        if (s->axis == FASTNORM_ROWS) table->length[pixel] = groups > 0 ? groups : 1;
        if (pixel == 0 || w.first < table->first) table->first = w.first;
        if (w.first + w.taps > table->stop) table->stop = w.first + w.taps;
        if (!set_weights(table, pixel, fixed, lead, w.taps)) return false;
    }
    if (table->stop <= table->first) table->stop = table->first + 1; // weights of zero alone
    return true;
}

static void finish_columns(fastnorm_table *table) {
    for (int32_t pixel = 0; pixel < table->count; pixel++) {
        table->start[pixel] -= table->first;
        const int32_t end = table->start[pixel] + table->groups * GROUP;
        if (end > table->reach) table->reach = end;
    }
    const size_t words = (size_t)table->groups * WEIGHT_WORDS;
    for (int64_t pixel = table->count; pixel % GROUP != 0; pixel++) { // passes take four pixels at a time
        table->start[pixel] = table->start[table->count - 1];
        memcpy(table->weights + (size_t)pixel * words, weights_of(table, table->count - 1), sizeof(int32_t) * words);
    }
}

// Rows are made in order, each as soon as its last group is there.
static void finish_rows(fastnorm_table *table) {
    int32_t newest = 0;
    for (int32_t pixel = 0; pixel < table->count; pixel++) {
        const int32_t last = table->start[pixel] + table->length[pixel] - 1;
        if (pixel == 0 || last > newest) newest = last;
        const int32_t depth = newest - table->start[pixel] + 1;
        if (depth > table->depth) table->depth = depth;
    }
}

static int32_t longest(const resampling *r, const selection *s) {
    int32_t groups = 1;
    for (int32_t pixel = 0; pixel < s->count && !r->identity; pixel++) {
        const window w = window_of(r, s->start + pixel);
        const int32_t its = groups_for(lead_of(s->axis, w) + w.taps);
        if (its > groups) groups = its;
    }
    return groups;
}

static fastnorm_status make(fastnorm_table *table, resampling *r, const selection *s) {
    const size_t taps = (size_t)most_taps(r) + 2 * GROUP, padded = ((size_t)s->count + GROUP - 1) / GROUP * GROUP;
    double *exact = malloc(sizeof *exact * taps);
    int32_t *fixed = malloc(sizeof *fixed * taps);
    fastnorm_status status = FASTNORM_NO_MEMORY;
    if (exact && fixed) {
        if (s->arithmetic == FASTNORM_TORCH && !r->identity) r->bits = int16_precision(r, s->resized, exact);
        table->groups = longest(r, s);
        table->start = malloc(sizeof *table->start * padded);
        table->length = s->axis == FASTNORM_ROWS ? malloc(sizeof *table->length * padded) : NULL;
        table->weights = malloc(sizeof *table->weights * padded * (size_t)table->groups * WEIGHT_WORDS);
        if (table->start && table->weights && (table->length || s->axis == FASTNORM_COLUMNS)) {
            status = fill(table, r, s, exact, fixed) ? FASTNORM_DONE : FASTNORM_WEIGHTS_TOO_LARGE;
        }
    }
    if (status == FASTNORM_DONE) (s->axis == FASTNORM_COLUMNS ? finish_columns : finish_rows)(table);
    free(exact);
    free(fixed);
    return status;
}

fastnorm_table *fastnorm_table_new(fastnorm_axis axis, fastnorm_filter filter, fastnorm_arithmetic arithmetic,
                                   int32_t source, int32_t resized, int32_t start, int32_t count, int32_t mirrored,
                                   int32_t instructions, int32_t *status) {
    const floating_point_state before = use_ieee_arithmetic();
    resampling r = resampling_of(&FILTERS[filter], source, resized);
    const selection s = {axis, arithmetic, resized, start, count, mirrored};
    fastnorm_table *table = calloc(1, sizeof *table);
    *status = FASTNORM_NO_MEMORY;
    if (table) {
        table->packing = instructions == FASTNORM_VNNI ? THREE_BYTES : HIGH_AND_LOW;
        table->count = count;
        table->high_sums_fit_int16 = true;
        *status = (int32_t)make(table, &r, &s);
    }
    if (*status != FASTNORM_DONE) {
        fastnorm_table_free(table);
        table = NULL;
    }
    restore_arithmetic(before);
    return table;
}

void fastnorm_table_free(fastnorm_table *table) {
    if (!table) return;
    free(table->start);
    free(table->length);
    free(table->weights);
    free(table);
}

int32_t fastnorm_table_count(const fastnorm_table *table) { return table->count; }

void fastnorm_table_unpack(const fastnorm_table *table, int32_t width, int32_t *fixed) {
    memset(fixed, 0, sizeof *fixed * (size_t)width * (size_t)table->count);
    for (int64_t pixel = 0; pixel < table->count; pixel++) {
        const int32_t *words = weights_of(table, pixel);
        const int64_t start = table->length ? (int64_t)table->start[pixel] * GROUP : table->first + table->start[pixel];
        for (int32_t tap = 0; tap < table->groups * GROUP; tap++) {
            const int32_t k = unpacked(table->packing, words + tap / GROUP * WEIGHT_WORDS, tap % GROUP);
            if (start + tap < width) fixed[pixel * width + start + tap] = k;
        }
    }
}
