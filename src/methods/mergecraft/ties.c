/*
 * The threshold is an exact order statistic of all |task vector| elements, found by counting, never
 * by sorting: reals of one sign are ordered as their bits are, so a magnitude's bits are its key.
 * The first round looks at some leaves only and gives a bracket of keys that the wanted one very
 * likely lies in. The second counts the keys below the bracket and lists those inside, from which
 * the wanted one is selected. So a layer is read twice: once here, once to be merged. Where a list
 * would be too long, or the bracket missed, keys are counted by bins, in rounds that narrow the
 * bracket. A small layer is listed as a whole.
 */
#include "methods/weights.h"

#include <assert.h>

enum { K, WEIGHTS }; /* parameters */

/* Magnitudes, NaN above infinity. */
#define KEY_LIMIT MC_TOP_BIT

enum {
    BINS = 65536,
    SMALL_LIST = 65536,   /* keys of a layer that is listed at once */
    LARGE_LIST = 1 << 22, /* keys that a list has room for at most */
    DIGIT_BITS = 11,
    DIGITS = 1 << DIGIT_BITS
};

typedef struct key_bin {
    uint64_t count;
    mc_bits largest, inverse_smallest; /* the complement, so that 0 is the neutral start of both */
} key_bin;

/* What a round finds; followed by BINS bins, or by a list of keys. */
typedef struct key_counts {
    uint64_t below;         /* keys below the bracket */
    uint64_t inside;        /* keys inside it: listed as long as there is room */
    uint64_t inverse_above; /* of the smallest key above it, 0 if there is none */
} key_counts;

typedef struct key_search {
    mc_bits first, span; /* the bracket: keys first … first + span */
    uint64_t room;       /* keys that are listed; 0: they are counted by bins */
    double threshold;
    bool narrowed; /* false: nothing is known yet, the bracket is all */
} key_search;

static uint64_t key_count(const mc_layer *layer)
{
    return (uint64_t)layer->size * layer->model_count;
}

static size_t search_size(const mc_layer *layer)
{
    (void)layer;
    return sizeof(key_search);
}

/* Where the search is; before the first round the state is all zeros. */
static key_search search_of(const mc_layer *layer)
{
    const key_search found = *(const key_search *)layer->state;
    if (found.narrowed)
        return found;
    const uint64_t keys = key_count(layer);
    return (key_search){.span = KEY_LIMIT - 1, .room = keys <= SMALL_LIST ? keys : 0};
}

static size_t counts_size(const mc_layer *layer)
{
    const size_t room = (size_t)search_of(layer).room;
    return sizeof(key_counts) + (room > 0 ? room * sizeof(mc_bits) : BINS * sizeof(key_bin));
}

/* A list needs no zeros. */
static size_t counts_zeros(const mc_layer *layer)
{
    return search_of(layer).room > 0 ? sizeof(key_counts) : counts_size(layer);
}

static key_bin *bins_of(const key_counts *found)
{
    return (key_bin *)(uintptr_t)(found + 1);
}

static mc_bits *list_of(const key_counts *found)
{
    return (mc_bits *)(uintptr_t)(found + 1);
}

/* How far right a key's distance from the bracket's start is shifted to give its bin. */
static unsigned bin_shift(mc_bits span)
{
    unsigned shift = 0;
    while (span >> shift >= BINS)
        shift++;
    return shift;
}

/* The first round of a large layer samples; an odd stride does not walk in step with rows. */
static int64_t stride(const mc_layer *layer, int round)
{
    const int64_t wanted = layer->size / MC_LEAF / 32;
    if (round > 0 || wanted < 2 || key_count(layer) <= SMALL_LIST)
        return 1;
    return (wanted < 16 ? wanted : 16) | 1;
}

/*
 * The keys of a block; which are inside the bracket (a byte each), how many below it, and the
 * inverse of the smallest above.
 */
MC_PASS void classify(const mc_real *model, const mc_real *base, key_search bracket, mc_bits *keys,
                      unsigned char *inside, key_counts *found, size_t count)
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

static void count_key(key_bin *bin, mc_bits key)
{
    bin->count++;
    bin->largest = key > bin->largest ? key : bin->largest;
    bin->inverse_smallest = ~key > bin->inverse_smallest ? ~key : bin->inverse_smallest;
}

/*
 * Moves the keys that are inside to the front, and returns how many they are. Few are, at places
 * that no branch could foresee: so first the groups of eight with any are listed, then their
 * members, without a branch.
 */
static size_t collect(mc_bits keys[MC_TILE_BLOCK], const unsigned char inside[MC_TILE_BLOCK])
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

/* Lists keys as long as there is room, and counts all. */
static void list_keys(key_counts *found, uint64_t room, const mc_bits *keys, uint64_t count)
{
    const uint64_t left = found->inside < room ? room - found->inside : 0;
    const uint64_t listed = count < left ? count : left;
    if (listed > 0)
        memcpy(list_of(found) + found->inside, keys, (size_t)listed * sizeof *keys);
    found->inside += count;
}

static void count_keys(key_counts *found, const key_search *bracket, unsigned shift,
                       const mc_bits *keys, size_t count)
{
    key_bin *const bins = bins_of(found);
    for (size_t i = 0; i < count; i++)
        count_key(&bins[(keys[i] - bracket->first) >> shift], keys[i]);
    found->inside += count;
}

static mc_status accumulate(const mc_layer *layer, void *partial)
{
    const key_search bracket = search_of(layer);
    const unsigned shift = bin_shift(bracket.span);
    key_counts *const found = partial;
    mc_bits keys[MC_TILE_BLOCK] = {0};
    unsigned char inside[MC_TILE_BLOCK];
    for (size_t start = 0; start < layer->count; start += MC_TILE_BLOCK) {
        const size_t length = mc_tile_block(start, layer->count);
        memset(inside, 0, sizeof inside);
        for (size_t m = 0; m < layer->model_count; m++) {
            classify(layer->models[m] + start, layer->base + start, bracket, keys, inside, found,
                     length);
            const size_t collected = collect(keys, inside);
            if (bracket.room > 0)
                list_keys(found, bracket.room, keys, collected);
            else
                count_keys(found, &bracket, shift, keys, collected);
        }
    }
    return MC_OK;
}

static void combine_bins(key_bin *into, const key_bin *from)
{
    for (size_t i = 0; i < BINS; i++) {
        key_bin *const a = &into[i];
        const key_bin *const b = &from[i];
        a->count += b->count;
        a->largest = b->largest > a->largest ? b->largest : a->largest;
        a->inverse_smallest = b->inverse_smallest > a->inverse_smallest ? b->inverse_smallest
                                                                        : a->inverse_smallest;
    }
}

static void combine(const mc_layer *layer, void *into, const void *from)
{
    const uint64_t room = search_of(layer).room;
    key_counts *const all = into;
    const key_counts *const more = from;
    all->below += more->below;
    if (more->inverse_above > all->inverse_above)
        all->inverse_above = more->inverse_above;
    if (room > 0) {
        list_keys(all, room, list_of(more), more->inside < room ? more->inside : room);
        all->inside += more->inside < room ? 0 : more->inside - room;
        return;
    }
    all->inside += more->inside;
    combine_bins(bins_of(all), bins_of(more));
}

/* The next round counts by bins, unless a list for the keys that are expected is not too long. */
static void set_bracket(key_search *search, mc_bits first, mc_bits last, uint64_t expected)
{
    search->first = first;
    search->span = last - first;
    search->room = expected <= LARGE_LIST ? expected : 0;
    search->narrowed = true;
}

/*
 * The bin that holds the key of rank `rank` among the counted ones, which becomes its rank in the
 * bin.
 */
static size_t bin_of_rank(const key_bin *bins, uint64_t *rank)
{
    size_t i = 0;
    for (; i + 1 < BINS && *rank >= bins[i].count; i++)
        *rank -= bins[i].count;
    return i;
}

/*
 * Takes the sample's keys around the wanted quantile for the bracket. The margin falls with the
 * number of leaves rather than of keys: neighbours are alike, leaves differ.
 */
static void bracket_sample(const mc_layer *layer, key_search *search, const key_counts *found,
                           double quantile)
{
    const key_bin *const bins = bins_of(found);
    const unsigned shift = bin_shift(KEY_LIMIT - 1);
    const uint64_t sampled = found->inside;
    const double leaves = (double)sampled / (double)layer->model_count / MC_LEAF;
    const double margin = .1 / sqrt(leaves), last = (double)sampled - 1;
    const double low = quantile - margin, high = quantile + margin;
    uint64_t low_rank = low > 0 ? (uint64_t)(low * last) : 0;
    uint64_t high_rank = high < 1 ? (uint64_t)(high * last) : sampled - 1;
    const mc_bits first = low > 0 ? (mc_bits)bin_of_rank(bins, &low_rank) : 0;
    const mc_bits end = high < 1 ? (mc_bits)bin_of_rank(bins, &high_rank) : BINS - 1;
    uint64_t inside = 0;
    for (size_t i = first; i <= end; i++)
        inside += bins[i].count;
    const double share = (double)inside / (double)sampled * 1.25;
    set_bracket(search, first << shift, ((end + 1) << shift) - 1,
                (uint64_t)(share * (double)key_count(layer)) + SMALL_LIST);
}

/* The key of rank `rank` in a bin, if it follows from what the bin remembers. */
static bool key_in_bin(const key_bin *bin, uint64_t rank, mc_bits *key)
{
    const mc_bits smallest = ~bin->inverse_smallest;
    *key = rank == 0 ? smallest : bin->largest;
    return rank == 0 || rank + 1 == bin->count || smallest == bin->largest;
}

static mc_bits key_above(const key_counts *found)
{
    return ~(mc_bits)found->inverse_above;
}

/* The key that follows the last of a bin. */
static mc_bits key_after(const key_counts *found, size_t i)
{
    const key_bin *const bins = bins_of(found);
    for (i++; i < BINS; i++)
        if (bins[i].count > 0)
            return ~bins[i].inverse_smallest;
    return key_above(found);
}

static double magnitude_of(mc_bits key)
{
    const double value = (double)mc_real_of(key);
    return value != value ? (double)INFINITY : value;
}

/* The threshold between two keys that follow each other. */
static double between(mc_bits low_key, mc_bits high_key, double fraction)
{
    const double low = magnitude_of(low_key), high = magnitude_of(high_key);
    return fraction == 0 || low == high ? low : low + (high - low) * fraction;
}

/*
 * The same for the keys of rank `rank` in bin i and the next; false if the bin does not remember
 * them.
 */
static bool threshold_in_bin(const key_counts *found, size_t i, uint64_t rank, double fraction,
                             double *threshold)
{
    const key_bin *const bin = &bins_of(found)[i];
    const bool last = rank + 1 == bin->count;
    mc_bits low = 0, high = 0;
    if (!key_in_bin(bin, rank, &low))
        return false;
    if (fraction > 0 && last)
        high = key_after(found, i);
    else if (fraction > 0 && !key_in_bin(bin, rank + 1, &high))
        return false;
    *threshold = between(low, high, fraction);
    return true;
}

static bool threshold_by_bins(key_search *search, const key_counts *found, uint64_t rank,
                              double fraction)
{
    const size_t i = bin_of_rank(bins_of(found), &rank);
    const key_bin *const bin = &bins_of(found)[i];
    if (threshold_in_bin(found, i, rank, fraction, &search->threshold))
        return true;
    set_bracket(search, ~bin->inverse_smallest, bin->largest, bin->count);
    return false;
}

/*
 * The key of rank `rank` in a list: digit by digit from the top, by counting the keys whose digits
 * above are those found so far. The rank becomes that among the keys equal to it, whose number is
 * `equal`.
 */
static mc_bits select_key(const mc_bits *list, size_t count, const key_search *bracket,
                          uint64_t *rank, uint64_t *equal)
{
    mc_bits prefix = 0; /* of the distance from the bracket's start */
    unsigned shift = 0;
    while (bracket->span >> shift > DIGITS - 1)
        shift += DIGIT_BITS;
    for (mc_bits mask = 0;; shift -= DIGIT_BITS) {
        assert(shift < 8 * sizeof prefix);
        uint32_t counts[DIGITS] = {0};
        for (size_t i = 0; i < count; i++) {
            const mc_bits distance = list[i] - bracket->first;
            counts[(distance >> shift) & (DIGITS - 1)] += (distance & mask) == prefix;
        }
        size_t digit = 0;
        for (; *rank >= counts[digit]; digit++)
            *rank -= counts[digit];
        prefix |= (mc_bits)digit << shift;
        mask |= (mc_bits)(DIGITS - 1) << shift;
        *equal = counts[digit];
        if (shift == 0)
            return bracket->first + prefix;
    }
}

/* The smallest key that is larger than a key of the list. */
static mc_bits next_in_list(const key_counts *found, mc_bits key)
{
    const mc_bits *const list = list_of(found);
    mc_bits smallest = key_above(found);
    for (uint64_t i = 0; i < found->inside; i++)
        if (list[i] > key && list[i] < smallest)
            smallest = list[i];
    return smallest;
}

static bool threshold_by_list(key_search *search, const key_counts *found, uint64_t rank,
                              double fraction)
{
    if (found->inside > search->room) { /* as many as are there now fit, or none are listed */
        set_bracket(search, search->first, search->first + search->span, found->inside);
        return false;
    }
    uint64_t equal = 0;
    const mc_bits low = select_key(list_of(found), (size_t)found->inside, search, &rank, &equal);
    const mc_bits high = fraction > 0 && rank + 1 >= equal ? next_in_list(found, low) : low;
    search->threshold = between(low, high, fraction);
    return true;
}

/*
 * Digests a count of all keys: true if it tells the threshold, else there is a bracket for another
 * round.
 */
static bool find_threshold(const mc_layer *layer, key_search *search, const key_counts *found,
                           uint64_t rank, double fraction)
{
    const uint64_t all = key_count(layer);
    if (rank < found->below) {
        set_bracket(search, 0, search->first - 1, found->below);
        return false;
    }
    rank -= found->below;
    if (rank >= found->inside) {
        set_bracket(search, search->first + search->span + 1, KEY_LIMIT - 1,
                    all - found->below - found->inside);
        return false;
    }
    return search->room > 0 ? threshold_by_list(search, found, rank, fraction)
                            : threshold_by_bins(search, found, rank, fraction);
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    key_search *const search = state;
    const double quantile = 1 - mc_number(layer, "k");
    const double place = (double)(key_count(layer) - 1) * quantile;
    if (key_count(layer) == 0)
        return MC_OK;
    if (stride(layer, round) > 1) {
        bracket_sample(layer, search, total, quantile);
        *more = true;
        return MC_OK;
    }
    *search = search_of(layer);
    *more = !find_threshold(layer, search, total, (uint64_t)place, place - floor(place));
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = search_size,
                                         .partial_size = counts_size,
                                         .partial_zeros = counts_zeros,
                                         .order_free = true,
                                         .stride = stride,
                                         .accumulate = accumulate,
                                         .combine = combine,
                                         .next = next};

static mc_status check(const mc_value *values, size_t model_count, mc_error *error)
{
    (void)model_count;
    return check_weights(&values[WEIGHTS], error);
}

/* sum += weight · the model's task vector where it is large enough (or NaN) */
MC_PASS void add_kept(mc_real *sum, mc_real weight, const mc_real *model, const mc_real *base,
                      mc_real threshold, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_real task = model[i] - base[i];
        sum[i] += mc_absolute(task) < threshold ? 0 : weight * task;
    }
}

/*
 * Where the task vector is large enough and has the elected sign (0: none): agreed += weight · it,
 * votes += weight.
 */
MC_PASS void add_agreeing(mc_real *agreed, mc_real *votes, const mc_real *signs, mc_real weight,
                          const mc_real *model, const mc_real *base, mc_real threshold,
                          size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_real task = model[i] - base[i];
        const mc_real kept = mc_absolute(task) < threshold ? 0 : task;
        const bool agrees = kept * signs[i] > 0;
        agreed[i] += agrees ? weight * kept : 0;
        votes[i] += agrees ? weight : 0;
    }
}

/* out = base + agreed / votes; NaN where the sum of the kept is. */
MC_PASS void add_mean(mc_real *out, const mc_real *base, const mc_real *total,
                      const mc_real *agreed, const mc_real *votes, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_real mean = agreed[i] / (votes[i] > 0 ? votes[i] : 1);
        out[i] = base[i] + (total[i] != total[i] ? total[i] : mean);
    }
}

static void merge_block(const mc_layer *layer, const double *weights, mc_real threshold,
                        size_t start, size_t count)
{
    mc_real total[MC_TILE_BLOCK] = {0}, agreed[MC_TILE_BLOCK] = {0}, votes[MC_TILE_BLOCK] = {0};
    mc_real signs[MC_TILE_BLOCK];
    const mc_real *const base = layer->base + start;
    for (size_t m = 0; m < layer->model_count; m++)
        add_kept(total, (mc_real)weights[m], layer->models[m] + start, base, threshold, count);
    mc_tile_sign(signs, total, count);
    for (size_t m = 0; m < layer->model_count; m++)
        add_agreeing(agreed, votes, signs, (mc_real)weights[m], layer->models[m] + start, base,
                     threshold, count);
    add_mean(layer->out + start, base, total, agreed, votes, count);
}

MC_LAYER_MERGE(
    ties,
    .help = "base plus the mean of the large task vector elements that agree with the elected sign",
    .paper = "Yadav et al. 2023, TIES-Merging, arXiv:2306.01708", .scope = MC_ELEMENTWISE,
    .needs_base = true, .check = check, .statistics = &statistics,
    .params = MC_PARAMS({"k", MC_NUMBER,
                         "share of the task vector elements, over all models, that is kept",
                         .fallback = .1, .maximum = 1},
                        {"weights", MC_NUMBER,
                         "weight of each model in the election of signs and in the mean",
                         .fallback = 1, .per_input = true}))
{
    const key_search *const found = layer->state;
    const double *const weights = mc_numbers(layer, "weights");
    for (size_t start = 0; start < layer->count; start += MC_TILE_BLOCK)
        merge_block(layer, weights, (mc_real)found->threshold, start,
                    mc_tile_block(start, layer->count));
    return MC_OK;
}
