/*
 * The exact threshold of magnitudes: an order statistic of all |values| of a layer, or of one
 * model's, found by counting, never by sorting. Reals of one sign are ordered as their bits are, so
 * a magnitude's bits are its key. Any method may use it for the values that it takes; values of all
 * models may go into one search, or each model have its own, side by side in state and partial
 * results.
 *
 * The first round looks at some leaves only and gives a bracket of keys that very likely contains
 * the wanted one. The second counts the keys below the bracket and lists those inside, from which
 * the wanted one is selected. So a layer is read twice: once here, once to be merged. If a list
 * would be too long, or the bracket missed, keys are counted by bins, in rounds that narrow the
 * bracket. A small layer is listed as a whole. Everything counted is exact in any order:
 *
 *     statistics.begin         threshold_begin
 *     statistics.partial_size  threshold_partial_size, partial_zeros likewise
 *     statistics.stride        threshold_stride
 *     statistics.accumulate    threshold_add, per model
 *     statistics.combine       threshold_combine
 *     statistics.next          threshold_next; then search->threshold
 */
#ifndef MC_METHODS_THRESHOLD_H
#define MC_METHODS_THRESHOLD_H

#include <mergecraft/method.h>

#include <assert.h>

/* The number of keys: bits of magnitudes, with NaN above infinity. */
#define THRESHOLD_KEYS MC_TOP_BIT

enum {
    THRESHOLD_BINS = 65536,
    THRESHOLD_SMALL_LIST = 65536,   /* keys of a layer that is listed at once */
    THRESHOLD_LARGE_LIST = 1 << 22, /* keys that a list has room for at most */
    THRESHOLD_DIGIT_BITS = 11,
    THRESHOLD_DIGITS = 1 << THRESHOLD_DIGIT_BITS
};

typedef struct threshold_bin {
    uint64_t count;
    mc_bits largest, inverse_smallest; /* the complement, so that 0 is the neutral start of both */
} threshold_bin;

/* What one round finds; followed by THRESHOLD_BINS bins, or by a list of keys. */
typedef struct threshold_counts {
    uint64_t below;         /* keys below the bracket */
    uint64_t inside;        /* keys inside it: listed as long as there is room */
    uint64_t inverse_above; /* of the smallest key above it, 0 if there is none */
} threshold_counts;

/* A search, in the state of a method. */
typedef struct threshold_search {
    uint64_t keys;       /* values in all … */
    uint64_t columns;    /* … so many per element of the layer */
    mc_bits first, span; /* the bracket: keys first … first + span */
    uint64_t room;       /* keys that are listed; 0: they are counted by bins */
    double threshold;    /* the result */
    bool done;
} threshold_search;

/* The order statistic that is wanted: between the values of rank `rank` and rank + 1, from 0. */
typedef struct threshold_place {
    uint64_t rank;
    double fraction;
} threshold_place;

/* Begins a search over `columns` values per element: all models' values, or one model's. */
static inline void threshold_begin(threshold_search *search, int64_t size, size_t columns)
{
    const uint64_t keys = (uint64_t)size * columns;
    *search = (threshold_search){.keys = keys,
                                 .columns = columns,
                                 .span = THRESHOLD_KEYS - 1,
                                 .room = keys <= THRESHOLD_SMALL_LIST ? keys : 0,
                                 .done = keys == 0};
}

/* The place below which a share of 1 − density of the values lies, interpolated as numpy does. */
static inline threshold_place threshold_of_density(const threshold_search *search, double density)
{
    const double place = (double)(search->keys - 1) * (1 - density);
    return (threshold_place){.rank = (uint64_t)place, .fraction = place - floor(place)};
}

/* The place of the count-th largest value; 1 ≤ count ≤ keys. */
static inline threshold_place threshold_of_count(const threshold_search *search, uint64_t count)
{
    return (threshold_place){.rank = search->keys - count};
}

static inline size_t threshold_partial_size(const threshold_search *search)
{
    const size_t list = (size_t)search->room * sizeof(mc_bits);
    if (search->done)
        return 0;
    return sizeof(threshold_counts) +
           (search->room > 0 ? (list + 7) / 8 * 8 : THRESHOLD_BINS * sizeof(threshold_bin));
}

/*
 * How many of those bytes must be zero at first. A list needs no zeros, so its memory is touched
 * only as far as it is filled.
 */
static inline size_t threshold_partial_zeros(const threshold_search *search)
{
    return search->room > 0 && !search->done ? sizeof(threshold_counts)
                                             : threshold_partial_size(search);
}

static inline threshold_bin *threshold_bins_of(const threshold_counts *found)
{
    return (threshold_bin *)(uintptr_t)(found + 1);
}

static inline mc_bits *threshold_list_of(const threshold_counts *found)
{
    return (mc_bits *)(uintptr_t)(found + 1);
}

/* The shift that turns a key's distance from the bracket's start into its bin. */
static inline unsigned threshold_bin_shift(mc_bits span)
{
    unsigned shift = 0;
    while (span >> shift >= THRESHOLD_BINS)
        shift++;
    return shift;
}

/*
 * The first round of a large layer samples every so many leaves. The stride is odd: an even one
 * could walk in step with rows and see the same columns only.
 */
static inline int64_t threshold_stride(const threshold_search *search, int64_t size, int round)
{
    const int64_t wanted = size / MC_LEAF / 32;
    if (round > 0 || wanted < 2 || search->keys <= THRESHOLD_SMALL_LIST)
        return 1;
    return (wanted < 16 ? wanted : 16) | 1;
}

/*
 * Finds the keys of a block; which of them are inside the bracket (a byte each), how many are below
 * it, and the inverse of the smallest above. Written without branches, for vectors.
 */
MC_PASS void threshold_classify(const mc_real *model, const mc_real *base, threshold_search bracket,
                                mc_bits *keys, unsigned char *inside, threshold_counts *found,
                                size_t count)
{
    const mc_bits last = bracket.first + bracket.span;
    mc_bits below = 0, above = 0;
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_bits key = mc_bits_of(mc_absolute(model[i] - base[i]));
        const mc_bits inverse = ~key & -(mc_bits)(key > last); /* a mask: ?: is not vectorised */
        keys[i] = key;
        inside[i] = key - bracket.first <= bracket.span;
        below += key < bracket.first;
        above = inverse > above ? inverse : above;
    }
    found->below += below;
    found->inverse_above = above > found->inverse_above ? above : found->inverse_above;
}

static inline void threshold_count_key(threshold_bin *bin, mc_bits key)
{
    bin->count++;
    bin->largest = key > bin->largest ? key : bin->largest;
    bin->inverse_smallest = ~key > bin->inverse_smallest ? ~key : bin->inverse_smallest;
}

/*
 * Moves the keys that are inside to the front, and returns how many there are. Few are, at places
 * that no branch predictor could foresee: so the groups of eight with any are listed first, then
 * their members, without a branch.
 */
static inline size_t threshold_collect(mc_bits keys[MC_TILE_BLOCK],
                                       const unsigned char inside[MC_TILE_BLOCK])
{
    uint16_t groups[MC_TILE_BLOCK / 8];
    size_t group_count = 0, collected = 0;
    for (size_t start = 0; start < MC_TILE_BLOCK; start += 8) {
        uint64_t any;
        memcpy(&any, inside + start, sizeof any);
        groups[group_count] = (uint16_t)start;
        group_count += any != 0;
    }
    for (size_t g = 0; g < group_count; g++) {
        for (size_t i = groups[g]; i < groups[g] + (size_t)8; i++) {
            keys[collected] = keys[i];
            collected += inside[i];
        }
    }
    return collected;
}

/*
 * Lists keys while there is room, and counts all: the next round then knows how much room it needs.
 */
static inline void threshold_list_keys(threshold_counts *found, uint64_t room, const mc_bits *keys,
                                       uint64_t count)
{
    const uint64_t left = found->inside < room ? room - found->inside : 0;
    const uint64_t listed = count < left ? count : left;
    if (listed > 0)
        memcpy(threshold_list_of(found) + found->inside, keys, (size_t)listed * sizeof *keys);
    found->inside += count;
}

static inline void threshold_count_keys(threshold_counts *found, const threshold_search *bracket,
                                        unsigned shift, const mc_bits *keys, size_t count)
{
    threshold_bin *const bins = threshold_bins_of(found);
    for (size_t i = 0; i < count; i++)
        threshold_count_key(&bins[(keys[i] - bracket->first) >> shift], keys[i]);
    found->inside += count;
}

/* Counts the magnitudes of `count` values less those of `base`; base may be NULL. */
static inline void threshold_add(const threshold_search *search, void *partial,
                                 const mc_real *values, const mc_real *base, size_t count)
{
    static const mc_real zeros[MC_TILE_BLOCK];
    const unsigned shift = threshold_bin_shift(search->span);
    threshold_counts *const found = partial;
    mc_bits keys[MC_TILE_BLOCK];
    unsigned char inside[MC_TILE_BLOCK];
    for (size_t start = 0; start < count && !search->done; start += MC_TILE_BLOCK) {
        const size_t length = mc_tile_block(start, count);
        if (length < MC_TILE_BLOCK) { /* collect looks at a whole block */
            memset(keys, 0, sizeof keys);
            memset(inside, 0, sizeof inside);
        }
        threshold_classify(values + start, base ? base + start : zeros, *search, keys, inside,
                           found, length);
        const size_t collected = threshold_collect(keys, inside);
        if (search->room > 0)
            threshold_list_keys(found, search->room, keys, collected);
        else
            threshold_count_keys(found, search, shift, keys, collected);
    }
}

static inline void threshold_combine_bins(threshold_bin *into, const threshold_bin *from)
{
    for (size_t i = 0; i < THRESHOLD_BINS; i++) {
        threshold_bin *const a = &into[i];
        const threshold_bin *const b = &from[i];
        a->count += b->count;
        a->largest = b->largest > a->largest ? b->largest : a->largest;
        a->inverse_smallest = b->inverse_smallest > a->inverse_smallest ? b->inverse_smallest
                                                                        : a->inverse_smallest;
    }
}

static inline void threshold_combine(const threshold_search *search, void *into, const void *from)
{
    const uint64_t room = search->room;
    threshold_counts *const all = into;
    const threshold_counts *const more = from;
    if (search->done)
        return;
    all->below += more->below;
    if (more->inverse_above > all->inverse_above)
        all->inverse_above = more->inverse_above;
    if (room > 0) {
        threshold_list_keys(all, room, threshold_list_of(more),
                            more->inside < room ? more->inside : room);
        all->inside += more->inside < room ? 0 : more->inside - room;
        return;
    }
    all->inside += more->inside;
    threshold_combine_bins(threshold_bins_of(all), threshold_bins_of(more));
}

/*
 * Sets the bracket of the next round, first … last. It lists keys if the expected number is not too
 * long for a list, and counts them by bins otherwise.
 */
static inline void threshold_set_bracket(threshold_search *search, mc_bits first, mc_bits last,
                                         uint64_t expected)
{
    search->first = first;
    search->span = last - first;
    search->room = expected <= THRESHOLD_LARGE_LIST ? expected : 0;
}

/*
 * The bin that holds the key of rank `rank` among the counted ones, which becomes its rank in the
 * bin.
 */
static inline size_t threshold_bin_of_rank(const threshold_bin *bins, uint64_t *rank)
{
    size_t i = 0;
    for (; i + 1 < THRESHOLD_BINS && *rank >= bins[i].count; i++)
        *rank -= bins[i].count;
    return i;
}

/*
 * Takes the sample's keys around the wanted quantile as the bracket. The margin shrinks with the
 * number of leaves rather than of keys: neighbouring values are alike, leaves differ. A missed
 * bracket costs a round and no exactness.
 */
static inline void threshold_bracket_sample(threshold_search *search, const threshold_counts *found,
                                            double quantile)
{
    const threshold_bin *const bins = threshold_bins_of(found);
    const unsigned shift = threshold_bin_shift(THRESHOLD_KEYS - 1);
    const uint64_t sampled = found->inside;
    const double leaves = (double)sampled / (double)search->columns / MC_LEAF;
    const double margin = .1 / sqrt(leaves), last = (double)sampled - 1;
    const double low = quantile - margin, high = quantile + margin;
    uint64_t low_rank = low > 0 ? (uint64_t)(low * last) : 0;
    uint64_t high_rank = high < 1 ? (uint64_t)(high * last) : sampled - 1;
    const mc_bits first = low > 0 ? (mc_bits)threshold_bin_of_rank(bins, &low_rank) : 0;
    const mc_bits end = high < 1 ? (mc_bits)threshold_bin_of_rank(bins, &high_rank)
                                 : THRESHOLD_BINS - 1;
    uint64_t inside = 0;
    for (size_t i = first; i <= end; i++)
        inside += bins[i].count;
    const double share = (double)inside / (double)sampled * 1.25;
    threshold_set_bracket(search, first << shift, ((end + 1) << shift) - 1,
                          (uint64_t)(share * (double)search->keys) + THRESHOLD_SMALL_LIST);
}

/* The key of rank `rank` in a bin, if it follows from what the bin remembers. */
static inline bool threshold_key_in_bin(const threshold_bin *bin, uint64_t rank, mc_bits *key)
{
    const mc_bits smallest = ~bin->inverse_smallest;
    *key = rank == 0 ? smallest : bin->largest;
    return rank == 0 || rank + 1 == bin->count || smallest == bin->largest;
}

static inline mc_bits threshold_key_above(const threshold_counts *found)
{
    return ~(mc_bits)found->inverse_above;
}

/* The key that follows the last of a bin. */
static inline mc_bits threshold_key_after(const threshold_counts *found, size_t i)
{
    const threshold_bin *const bins = threshold_bins_of(found);
    for (i++; i < THRESHOLD_BINS; i++)
        if (bins[i].count > 0)
            return ~bins[i].inverse_smallest;
    return threshold_key_above(found);
}

static inline double threshold_magnitude_of(mc_bits key)
{
    const double value = (double)mc_real_of(key);
    return value != value ? (double)INFINITY : value;
}

/* The threshold between two keys that follow each other. */
static inline double threshold_between(mc_bits low_key, mc_bits high_key, double fraction)
{
    const double low = threshold_magnitude_of(low_key), high = threshold_magnitude_of(high_key);
    return fraction == 0 || low == high ? low : low + (high - low) * fraction;
}

/*
 * The threshold from the keys of rank `rank` in bin i and the next one; false if the bin does not
 * hold enough to know them.
 */
static inline bool threshold_in_bin(const threshold_counts *found, size_t i, uint64_t rank,
                                    double fraction, double *threshold)
{
    const threshold_bin *const bin = &threshold_bins_of(found)[i];
    const bool last = rank + 1 == bin->count;
    mc_bits low = 0, high = 0;
    if (!threshold_key_in_bin(bin, rank, &low))
        return false;
    if (fraction > 0 && last)
        high = threshold_key_after(found, i);
    else if (fraction > 0 && !threshold_key_in_bin(bin, rank + 1, &high))
        return false;
    *threshold = threshold_between(low, high, fraction);
    return true;
}

/* The bin becomes the next bracket, tightened to its own smallest and largest key. */
static inline bool threshold_by_bins(threshold_search *search, const threshold_counts *found,
                                     uint64_t rank, double fraction)
{
    const size_t i = threshold_bin_of_rank(threshold_bins_of(found), &rank);
    const threshold_bin *const bin = &threshold_bins_of(found)[i];
    if (threshold_in_bin(found, i, rank, fraction, &search->threshold))
        return true;
    threshold_set_bracket(search, ~bin->inverse_smallest, bin->largest, bin->count);
    return false;
}

/*
 * The key of rank `rank` in a list: digit by digit from the top, by counting the keys whose digits
 * above are those found so far. The rank becomes that among the keys equal to it, whose number is
 * `equal`.
 */
static inline mc_bits threshold_select_key(const mc_bits *list, size_t count,
                                           const threshold_search *bracket, uint64_t *rank,
                                           uint64_t *equal)
{
    mc_bits prefix = 0; /* of the distance from the bracket's start */
    unsigned shift = 0;
    while (bracket->span >> shift > THRESHOLD_DIGITS - 1)
        shift += THRESHOLD_DIGIT_BITS;
    for (mc_bits mask = 0;; shift -= THRESHOLD_DIGIT_BITS) {
        assert(shift < 8 * sizeof prefix);
        uint32_t counts[THRESHOLD_DIGITS] = {0};
        for (size_t i = 0; i < count; i++) {
            const mc_bits distance = list[i] - bracket->first;
            counts[(distance >> shift) & (THRESHOLD_DIGITS - 1)] += (distance & mask) == prefix;
        }
        size_t digit = 0;
        for (; *rank >= counts[digit]; digit++)
            *rank -= counts[digit];
        prefix |= (mc_bits)digit << shift;
        mask |= (mc_bits)(THRESHOLD_DIGITS - 1) << shift;
        *equal = counts[digit];
        if (shift == 0)
            return bracket->first + prefix;
    }
}

/* The smallest key that is larger than a key of the list. */
static inline mc_bits threshold_next_in_list(const threshold_counts *found, mc_bits key)
{
    const mc_bits *const list = threshold_list_of(found);
    mc_bits smallest = threshold_key_above(found);
    for (uint64_t i = 0; i < found->inside; i++)
        if (list[i] > key && list[i] < smallest)
            smallest = list[i];
    return smallest;
}

static inline bool threshold_by_list(threshold_search *search, const threshold_counts *found,
                                     uint64_t rank, double fraction)
{
    if (found->inside > search->room) { /* as many as are there now fit, or none are listed */
        threshold_set_bracket(search, search->first, search->first + search->span, found->inside);
        return false;
    }
    uint64_t equal = 0;
    const mc_bits low = threshold_select_key(threshold_list_of(found), (size_t)found->inside,
                                             search, &rank, &equal);
    const mc_bits high = fraction > 0 && rank + 1 >= equal ? threshold_next_in_list(found, low)
                                                           : low;
    search->threshold = threshold_between(low, high, fraction);
    return true;
}

/*
 * Digests a count of all keys. True if it determines the threshold; otherwise sets a bracket for
 * another round, on the side where the wanted key lies.
 */
static inline bool threshold_find(threshold_search *search, const threshold_counts *found,
                                  threshold_place place)
{
    const double fraction = place.fraction;
    uint64_t rank = place.rank;
    if (rank < found->below) {
        threshold_set_bracket(search, 0, search->first - 1, found->below);
        return false;
    }
    rank -= found->below;
    if (rank >= found->inside) {
        threshold_set_bracket(search, search->first + search->span + 1, THRESHOLD_KEYS - 1,
                              search->keys - found->below - found->inside);
        return false;
    }
    return search->room > 0 ? threshold_by_list(search, found, rank, fraction)
                            : threshold_by_bins(search, found, rank, fraction);
}

/* Digests a round's total. True if another round is needed; else search->threshold is known. */
static inline bool threshold_next(threshold_search *search, int64_t stride, const void *total,
                                  threshold_place place)
{
    if (search->done)
        return false;
    if (stride > 1) {
        const double quantile = ((double)place.rank + place.fraction) / (double)(search->keys - 1);
        threshold_bracket_sample(search, total, quantile);
        return true;
    }
    search->done = threshold_find(search, total, place);
    return !search->done;
}

#endif
