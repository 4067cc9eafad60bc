/*
 * A random choice by rank, as in DELLA: of each row the element of rank r in the order of
 * magnitudes is kept with a probability that rises linearly from density − epsilon to density +
 * epsilon. Of equal magnitudes the lower index has the lower rank.
 *
 * A row is not sorted. The random number of an element determines from which rank on it is kept, so
 * its exact rank matters only near that. A histogram of magnitudes gives the ranks between which
 * the elements of a bin lie. For most elements that decides; the others are few, and their ranks
 * are counted. Only rows with many undecided elements, which have many equal magnitudes, are put in
 * order, bin by bin.
 */
#ifndef MC_METHODS_MERGEKIT_RANKED_H
#define MC_METHODS_MERGEKIT_RANKED_H

#include <mergecraft/method.h>

/*
 * Bins cover eight binades below the largest magnitude; bin 0 takes all that is smaller. A row of
 * eight times as many elements as bins costs least: more bins take longer to clear and to sum up,
 * fewer leave more elements undecided.
 */
enum {
    RANKED_MOST_BINS = 1024,
    RANKED_LEAST_BINS = 64,
    RANKED_ROW_PER_BIN = 8,
    RANKED_BINADES = 8
};

/* Elements of a row: the last dimension. A vector is one row. */
static inline size_t ranked_row(const mc_layer *layer)
{
    const int64_t row = layer->rank > 0 ? layer->shape[layer->rank - 1] : 1;
    return row > 0 ? (size_t)row : 1;
}

typedef struct ranked_space {
    mc_bits *keys;       /* [row] */
    uint32_t *random;    /* [row] */
    uint32_t *members;   /* [row] elements, by bin; or those that are undecided */
    uint32_t *bins;      /* [row] the bin of each element */
    unsigned char *open; /* [row + 8] whether its bin leaves an element open */
} ranked_space;

static inline size_t ranked_row_room(const mc_layer *layer)
{
    return (ranked_row(layer) + 15) / 16 * 16;
}

static inline size_t ranked_scratch(const mc_layer *layer)
{
    return ranked_row_room(layer) * (sizeof(mc_bits) + 3 * sizeof(uint32_t) + 1) + 8;
}

/* Behind the units of task.h. */
static inline ranked_space ranked_space_of(const mc_layer *layer)
{
    const size_t row = ranked_row_room(layer);
    char *at = (char *)layer->scratch + layer->model_count * ranked_row(layer) * sizeof(mc_real);
    ranked_space space;
    space.keys = (mc_bits *)(void *)at;
    space.random = (uint32_t *)(void *)(at += row * sizeof *space.keys);
    space.members = (uint32_t *)(void *)(at += row * sizeof *space.random);
    space.bins = (uint32_t *)(void *)(at += row * sizeof *space.members);
    space.open = (unsigned char *)(at + row * sizeof *space.bins);
    return space;
}

/* How keys are sorted into bins: bin 0 is below everything that the others cover. */
typedef struct ranked_cut {
    mc_bits base; /* the largest key of bin 0 */
    unsigned shift;
    size_t bins; /* a power of two */
} ranked_cut;

static inline ranked_cut ranked_cut_of(const mc_bits *keys, size_t count)
{
    mc_bits largest = 0;
    for (size_t i = 0; i < count; i++)
        largest = keys[i] > largest ? keys[i] : largest;
#ifdef MC_REAL_IS_DOUBLE
    const unsigned mantissa = 52;
#else
    const unsigned mantissa = 23;
#endif
    size_t bins = RANKED_LEAST_BINS;
    unsigned shift = mantissa;
    while (bins < RANKED_MOST_BINS && bins * RANKED_ROW_PER_BIN < count)
        bins *= 2;
    for (size_t per_binade = bins / RANKED_BINADES; per_binade > 1; per_binade /= 2)
        shift--;
    const mc_bits span = (mc_bits)(bins - 1) << shift;
    return (ranked_cut){largest > span ? largest - span : 0, shift, bins};
}

/* Keys and bins of a row. */
MC_PASS void ranked_classify(const mc_real *task, mc_bits *keys, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        keys[i] = mc_bits_of(mc_absolute(task[i]));
}

MC_PASS void ranked_find_bins(ranked_cut cut, const mc_bits *keys, uint32_t *bins, size_t count)
{
    const mc_bits base = cut.base;
    const unsigned shift = cut.shift;
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_bits above = ((keys[i] - base - 1) >> shift) + 1;
        bins[i] = (uint32_t)(keys[i] <= base ? 0 : above);
    }
}

/* Sorts the elements of a bin by key and index (Shell's method; they are few). */
static inline void ranked_sort(const mc_bits *keys, uint32_t *members, size_t count)
{
    size_t gap = 1;
    while (gap < count / 3)
        gap = 3 * gap + 1;
    for (; gap > 0; gap /= 3)
        for (size_t i = gap; i < count; i++) {
            const uint32_t member = members[i];
            size_t j = i;
            for (; j >= gap; j -= gap) {
                const uint32_t other = members[j - gap];
                if (keys[other] < keys[member] || (keys[other] == keys[member] && other < member))
                    break;
                members[j] = other;
            }
            members[j] = member;
        }
}

/*
 * An element with the random number u is kept from the rank on at which u < density − ε + 2ε · rank
 * / (count − 1).
 */
typedef struct ranked_chance {
    double lowest, slope; /* probability of rank 0, and how it rises from rank to rank */
} ranked_chance;

static inline bool ranked_keeps(ranked_chance chance, uint32_t random, size_t rank)
{
    return (double)random * 0x1p-32 < chance.lowest + chance.slope * (double)rank;
}

/* The smallest random numbers that drop the elements of ranks; chances are between 0 and 1. */
MC_PASS void ranked_limits(ranked_chance chance, const uint32_t *ranks, uint32_t *limits,
                           size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        limits[i] = (uint32_t)(int64_t)ceil(
            (chance.lowest + chance.slope * (double)(int32_t)ranks[i]) * 0x1p32);
}

/*
 * Finds the ranks at which bins begin, begins[bins + 1]. Four sets of counters, as increments of
 * one counter would wait for each other; they are added up apart from the running sum, which
 * compilers do not vectorise.
 */
static inline void ranked_count(const ranked_space *space, size_t bins, size_t count,
                                uint32_t *begins)
{
    uint32_t counts[4][RANKED_MOST_BINS];
    size_t i = 0;
    for (size_t k = 0; k < 4; k++)
        memset(counts[k], 0, bins * sizeof **counts);
    for (; i + 4 <= count; i += 4)
        for (size_t k = 0; k < 4; k++)
            counts[k][space->bins[i + k]]++;
    for (; i < count; i++)
        counts[0][space->bins[i]]++;
    for (size_t b = 0; b < bins; b++)
        counts[0][b] += counts[1][b] + counts[2][b] + counts[3][b];
    begins[0] = 0;
    for (size_t b = 0; b < bins; b++)
        begins[b + 1] = begins[b] + counts[0][b];
}

/* Puts the elements into `members` in the order of their bins. */
static inline void ranked_distribute(const ranked_space *space, size_t bins, size_t count,
                                     const uint32_t *begins)
{
    uint32_t next[RANKED_MOST_BINS];
    memcpy(next, begins, bins * sizeof *next);
    for (size_t i = 0; i < count; i++)
        space->members[next[space->bins[i]]++] = (uint32_t)i;
}

/* Decides by exact ranks in one bin. */
static inline void ranked_keep_bin(const ranked_space *space, ranked_chance chance, size_t begin,
                                   size_t end, mc_real *task)
{
    uint32_t *const members = space->members + begin;
    ranked_sort(space->keys, members, end - begin);
    for (size_t i = 0; i < end - begin; i++)
        if (!ranked_keeps(chance, space->random[members[i]], begin + i))
            task[members[i]] = 0;
}

/* Whether the lowest and the highest rank of a bin decide differently about any of its elements. */
static inline bool ranked_undecided(const ranked_space *space, ranked_chance chance, size_t begin,
                                    size_t end)
{
    bool undecided = false;
    for (size_t i = begin; i < end; i++) {
        const uint32_t random = space->random[space->members[i]];
        undecided |= ranked_keeps(chance, random, begin) != ranked_keeps(chance, random, end - 1);
    }
    return undecided;
}

/* Decides all of a row in the order of the bins. */
static inline void ranked_keep_in_order(const ranked_space *space, ranked_chance chance,
                                        const uint32_t *begins, size_t bins, size_t count,
                                        mc_real *task)
{
    ranked_distribute(space, bins, count, begins);
    for (size_t b = 0; b < bins; b++) {
        const size_t begin = begins[b], end = begins[b + 1];
        if (end > begin && ranked_undecided(space, chance, begin, end))
            ranked_keep_bin(space, chance, begin, end, task);
    }
}

/* Zeroes what the bins decide to drop; a byte per element says whether its bin leaves it open. */
MC_PASS void ranked_keep_decided(const ranked_space *space, const uint32_t *low,
                                 const uint32_t *high, mc_real *task, unsigned char *open,
                                 size_t count)
{
    const uint32_t *const bins = space->bins, *const random = space->random;
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const bool may_stay = random[i] < high[bins[i]], stays = random[i] < low[bins[i]];
        open[i] = may_stay & !stays & (task[i] != 0); /* of a zero it does not matter */
        task[i] = may_stay ? task[i] : 0;
    }
}

/* The rank of an element, by counting. */
MC_PASS size_t ranked_count_below(const mc_bits *keys, size_t at, size_t count)
{
    const mc_bits key = keys[at];
    mc_bits below = 0;
    for (size_t i = 0; i < at; i++) /* of equal ones those before it */
        below += keys[i] <= key;
    for (size_t i = at + 1; i < count; i++)
        below += keys[i] < key;
    return below;
}

/* Lists the open elements of a row; at most `most` of them, of which there may be more. */
static inline size_t ranked_list_open(const unsigned char *open, size_t count, uint32_t *members,
                                      size_t most)
{
    size_t listed = 0;
    for (size_t start = 0; start < count && listed <= most; start += 8) {
        uint64_t any;
        memcpy(&any, open + start, sizeof any);
        for (size_t i = start; any && i < start + 8; i++)
            if (open[i] && listed++ < most)
                members[listed - 1] = (uint32_t)i;
    }
    return listed;
}

/*
 * The chances of a row. A row of one element has no order: it is kept with the probability
 * `density`.
 */
static inline ranked_chance ranked_chance_of(const mc_layer *layer, size_t model, size_t count)
{
    const double density = mc_numbers(layer, "density")[model];
    const double epsilon = mc_numbers(layer, "epsilon")[model];
    return count > 1 ? (ranked_chance){density - epsilon, 2 * epsilon / (double)(count - 1)}
                     : (ranked_chance){density, 0};
}

/* Above so many open elements it is faster to put the row in order. */
enum { RANKED_MOST_OPEN = 64 };

/* Zeroes what is dropped of a row of a model's task vector. */
static inline void ranked_keep(const mc_layer *layer, size_t model, size_t start, mc_real *task)
{
    const size_t count = ranked_row(layer);
    const ranked_space space = ranked_space_of(layer);
    const ranked_chance chance = ranked_chance_of(layer, model, count);
    uint32_t begins[RANKED_MOST_BINS + 1], lasts[RANKED_MOST_BINS];
    uint32_t low[RANKED_MOST_BINS], high[RANKED_MOST_BINS];
    ranked_classify(task, space.keys, count);
    const ranked_cut cut = ranked_cut_of(space.keys, count);
    ranked_find_bins(cut, space.keys, space.bins, count);
    mc_random_u32(layer->random_key, (uint32_t)model, layer->first + (int64_t)start, count,
                  space.random);
    ranked_count(&space, cut.bins, count, begins);
    for (size_t b = 0; b < cut.bins; b++)
        lasts[b] = begins[b + 1] - (begins[b + 1] > begins[b]);
    ranked_limits(chance, begins, low, cut.bins);
    ranked_limits(chance, lasts, high, cut.bins);
    memset(space.open + count, 0, 8);
    ranked_keep_decided(&space, low, high, task, space.open, count);
    const size_t open = ranked_list_open(space.open, count, space.members, RANKED_MOST_OPEN);
    if (open > RANKED_MOST_OPEN) {
        ranked_keep_in_order(&space, chance, begins, cut.bins, count, task);
        return;
    }
    for (size_t i = 0; i < open; i++) {
        const uint32_t at = space.members[i];
        if (!ranked_keeps(chance, space.random[at], ranked_count_below(space.keys, at, count)))
            task[at] = 0;
    }
}

#endif
