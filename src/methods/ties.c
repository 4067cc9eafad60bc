/*
 * The threshold is an exact order statistic of all |task vector| elements, found by counting, never
 * by sorting: reals of one sign are ordered as their bits are, so a magnitude's bits are its key.
 * The first round looks at some leaves only and gives a bracket of keys that the wanted one very
 * likely lies in; the second counts everything, and inside the bracket by bins. Usually that is
 * exact, because bins remember their smallest and largest key; if not, or if the bracket missed,
 * further rounds narrow it.
 */
#include <mergecraft/method.h>

/* Magnitudes, NaN above infinity. */
#define KEY_LIMIT MC_TOP_BIT
#define KEY_BITS (8 * sizeof(mc_bits) - 1)

typedef struct key_bin {
    uint64_t count;
    mc_bits largest, inverse_smallest; /* the complement, so that 0 is the neutral start of both */
} key_bin;

typedef struct key_counts {
    uint64_t below;        /* keys below the bracket */
    mc_bits inverse_above; /* of the smallest key above it, 0 if there is none */
    key_bin bins[];
} key_counts;

typedef struct key_search {
    mc_bits first, span; /* the bracket: keys first … first + span; 0, 0 at first: all */
    double threshold;
    bool narrowed;
} key_search;

static uint64_t key_count(const mc_layer *layer)
{
    return (uint64_t)layer->size * layer->model_count;
}

/* A power of two; as many as there are keys, within reason. */
static size_t bin_count(const mc_layer *layer)
{
    size_t bins = 256;
    while (bins < 65536 && bins < key_count(layer))
        bins *= 2;
    return bins;
}

static size_t search_size(const mc_layer *layer)
{
    (void)layer;
    return sizeof(key_search);
}

static size_t counts_size(const mc_layer *layer)
{
    return sizeof(key_counts) + bin_count(layer) * sizeof(key_bin);
}

static key_search bracket_of(const mc_layer *layer)
{
    const key_search found = *(const key_search *)layer->state;
    return found.narrowed ? found : (key_search){.first = 0, .span = KEY_LIMIT - 1};
}

/* How far right a key's distance from the bracket's start is shifted to give its bin. */
static unsigned bin_shift(const mc_layer *layer, mc_bits span)
{
    unsigned shift = 0;
    while (span >> shift >= bin_count(layer))
        shift++;
    return shift;
}

/* The first round of a large layer samples; an odd stride does not walk in step with rows. */
static int64_t stride(const mc_layer *layer, int round)
{
    const int64_t wanted = layer->size / MC_LEAF / 32;
    return round > 0 || wanted < 2 ? 1 : (wanted < 16 ? wanted : 16) | 1;
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

static void accumulate(const mc_layer *layer, void *partial)
{
    const key_search bracket = bracket_of(layer);
    const unsigned shift = bin_shift(layer, bracket.span);
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
            for (size_t i = 0; i < collected; i++)
                count_key(&found->bins[(keys[i] - bracket.first) >> shift], keys[i]);
        }
    }
}

static void combine(const mc_layer *layer, void *into, const void *from)
{
    key_counts *const all = into;
    const key_counts *const more = from;
    all->below += more->below;
    if (more->inverse_above > all->inverse_above)
        all->inverse_above = more->inverse_above;
    for (size_t i = 0; i < bin_count(layer); i++) {
        key_bin *const a = &all->bins[i];
        const key_bin *const b = &more->bins[i];
        a->count += b->count;
        a->largest = b->largest > a->largest ? b->largest : a->largest;
        a->inverse_smallest = b->inverse_smallest > a->inverse_smallest ? b->inverse_smallest
                                                                        : a->inverse_smallest;
    }
}

static void set_bracket(key_search *search, mc_bits first, mc_bits last)
{
    search->first = first;
    search->span = last - first;
    search->narrowed = true;
}

/*
 * The bin that holds the key of rank `rank` among the counted ones, which becomes its rank in the
 * bin.
 */
static size_t bin_of_rank(const key_counts *found, size_t bins, uint64_t *rank)
{
    size_t i = 0;
    for (; i + 1 < bins && *rank >= found->bins[i].count; i++)
        *rank -= found->bins[i].count;
    return i;
}

/*
 * Takes the sample's keys around the wanted quantile for the bracket. The margin falls with the
 * number of leaves rather than of keys: neighbours are alike, leaves differ.
 */
static void bracket_sample(const mc_layer *layer, key_search *search, const key_counts *found,
                           double quantile)
{
    const size_t bins = bin_count(layer);
    const unsigned shift = bin_shift(layer, KEY_LIMIT - 1);
    uint64_t sampled = 0;
    for (size_t i = 0; i < bins; i++)
        sampled += found->bins[i].count;
    const double leaves = (double)sampled / (double)layer->model_count / MC_LEAF;
    const double margin = .1 / sqrt(leaves), last = (double)sampled - 1;
    const double low = quantile - margin, high = quantile + margin;
    uint64_t low_rank = low > 0 ? (uint64_t)(low * last) : 0;
    uint64_t high_rank = high < 1 ? (uint64_t)(high * last) : sampled - 1;
    const mc_bits first = low > 0 ? (mc_bits)bin_of_rank(found, bins, &low_rank) : 0;
    const mc_bits end = high < 1 ? (mc_bits)bin_of_rank(found, bins, &high_rank) : bins - 1;
    set_bracket(search, first << shift, ((end + 1) << shift) - 1);
}

/* The key of rank `rank` in a bin, if it follows from what the bin remembers. */
static bool key_in_bin(const key_bin *bin, uint64_t rank, mc_bits *key)
{
    const mc_bits smallest = ~bin->inverse_smallest;
    *key = rank == 0 ? smallest : bin->largest;
    return rank == 0 || rank + 1 == bin->count || smallest == bin->largest;
}

/* The key that follows the last of a bin. */
static mc_bits key_after(const key_counts *found, size_t bins, size_t i)
{
    for (i++; i < bins; i++)
        if (found->bins[i].count > 0)
            return ~found->bins[i].inverse_smallest;
    return ~found->inverse_above;
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
static bool threshold_in_bin(const mc_layer *layer, const key_counts *found, size_t i,
                             uint64_t rank, double fraction, double *threshold)
{
    const key_bin *const bin = &found->bins[i];
    const bool last = rank + 1 == bin->count;
    mc_bits low = 0, high = 0;
    if (!key_in_bin(bin, rank, &low))
        return false;
    if (fraction > 0 && last)
        high = key_after(found, bin_count(layer), i);
    else if (fraction > 0 && !key_in_bin(bin, rank + 1, &high))
        return false;
    *threshold = between(low, high, fraction);
    return true;
}

/*
 * Digests a count of all keys: true if it tells the threshold, else there is a bracket for another
 * round.
 */
static bool find_threshold(const mc_layer *layer, key_search *search, const key_counts *found,
                           uint64_t rank, double fraction)
{
    if (rank < found->below) {
        set_bracket(search, 0, search->first - 1);
        return false;
    }
    rank -= found->below;
    const size_t i = bin_of_rank(found, bin_count(layer), &rank);
    const key_bin *const bin = &found->bins[i];
    if (rank >= bin->count) {
        set_bracket(search, search->first + search->span + 1, KEY_LIMIT - 1);
        return false;
    }
    if (threshold_in_bin(layer, found, i, rank, fraction, &search->threshold))
        return true;
    set_bracket(search, ~bin->inverse_smallest, bin->largest);
    return false;
}

static bool next(const mc_layer *layer, int round, void *state, const void *total)
{
    key_search *const search = state;
    const double quantile = 1 - mc_number(layer, "k");
    const double place = (double)(key_count(layer) - 1) * quantile;
    if (key_count(layer) == 0)
        return false;
    if (stride(layer, round) > 1) {
        bracket_sample(layer, search, total, quantile);
        return true;
    }
    if (!search->narrowed)
        set_bracket(search, 0, KEY_LIMIT - 1);
    return !find_threshold(layer, search, total, (uint64_t)place, place - floor(place));
}

static const mc_statistics statistics = {.state_size = search_size,
                                         .partial_size = counts_size,
                                         .order_free = true,
                                         .stride = stride,
                                         .accumulate = accumulate,
                                         .combine = combine,
                                         .next = next};

/* sum += the model's task vector where it is large enough (or NaN) */
MC_PASS void add_kept(mc_real *sum, const mc_real *model, const mc_real *base, mc_real threshold,
                      size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_real task = model[i] - base[i];
        sum[i] += mc_absolute(task) < threshold ? 0 : task;
    }
}

/*
 * Where the task vector is large enough and has the elected sign (0: none): agreed += it, votes +=
 * 1.
 */
MC_PASS void add_agreeing(mc_real *agreed, mc_real *votes, const mc_real *signs,
                          const mc_real *model, const mc_real *base, mc_real threshold,
                          size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_real task = model[i] - base[i];
        const mc_real kept = mc_absolute(task) < threshold ? 0 : task;
        const bool agrees = kept * signs[i] > 0;
        agreed[i] += agrees ? kept : 0;
        votes[i] += agrees ? (mc_real)1 : (mc_real)0;
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

static void merge_block(const mc_layer *layer, mc_real threshold, size_t start, size_t count)
{
    mc_real total[MC_TILE_BLOCK] = {0}, agreed[MC_TILE_BLOCK] = {0}, votes[MC_TILE_BLOCK] = {0};
    mc_real signs[MC_TILE_BLOCK];
    const mc_real *const base = layer->base + start;
    for (size_t m = 0; m < layer->model_count; m++)
        add_kept(total, layer->models[m] + start, base, threshold, count);
    mc_tile_sign(signs, total, count);
    for (size_t m = 0; m < layer->model_count; m++)
        add_agreeing(agreed, votes, signs, layer->models[m] + start, base, threshold, count);
    add_mean(layer->out + start, base, total, agreed, votes, count);
}

MC_LAYER_MERGE(
    ties,
    .help = "base plus the mean of the large task vector elements that agree with the elected sign",
    .paper = "Yadav et al. 2023, TIES-Merging, arXiv:2306.01708", .scope = MC_ELEMENTWISE,
    .needs_base = true, .statistics = &statistics,
    .params = MC_PARAMS({"k", MC_NUMBER,
                         "share of the task vector elements, over all models, that is kept",
                         .fallback = .1, .maximum = 1}))
{
    const key_search *const found = layer->state;
    for (size_t start = 0; start < layer->count; start += MC_TILE_BLOCK)
        merge_block(layer, (mc_real)found->threshold, start, mc_tile_block(start, layer->count));
}
