/*
 * A random choice by rank, as DELLA has it: of each row the element of rank r in the order of
 * magnitudes is kept with a probability that rises linearly from density − epsilon to density +
 * epsilon. Of equal magnitudes the lower index has the lower rank.
 *
 * A row is not sorted. The random number of an element says from which rank on it is kept, so the
 * exact rank only matters where that is near: ranks are first known by bins of a histogram, and the
 * elements of the few bins in which something is undecided are sorted.
 */
#ifndef MC_METHODS_MERGEKIT_RANKED_H
#define MC_METHODS_MERGEKIT_RANKED_H

#include <mergecraft/method.h>

/* Bins cover eight binades below the largest magnitude, the last one all that is smaller. */
enum { RANKED_BINS = 1024, RANKED_BINADES = 8 };

/* Elements of a row: the last dimension. A vector is one row. */
static inline size_t ranked_row(const mc_layer *layer)
{
    const int64_t row = layer->rank > 0 ? layer->shape[layer->rank - 1] : 1;
    return row > 0 ? (size_t)row : 1;
}

typedef struct ranked_space {
    mc_bits *keys;     /* [row] */
    uint32_t *random;  /* [row] */
    uint32_t *members; /* [row] elements, by bin */
    uint16_t *bins;    /* [row] the bin of each element */
} ranked_space;

static inline size_t ranked_row_room(const mc_layer *layer)
{
    return (ranked_row(layer) + 15) / 16 * 16;
}

static inline size_t ranked_scratch(const mc_layer *layer)
{
    return ranked_row_room(layer) * (sizeof(mc_bits) + 2 * sizeof(uint32_t) + sizeof(uint16_t));
}

/* Behind the units of task.h. */
static inline ranked_space ranked_space_of(const mc_layer *layer)
{
    const size_t units = layer->model_count < 2 ? 2 : layer->model_count,
                 row = ranked_row_room(layer);
    char *at = (char *)layer->scratch + units * ranked_row(layer) * sizeof(mc_real);
    ranked_space space;
    space.keys = (mc_bits *)(void *)at;
    space.random = (uint32_t *)(void *)(at += row * sizeof *space.keys);
    space.members = (uint32_t *)(void *)(at += row * sizeof *space.random);
    space.bins = (uint16_t *)(void *)(at + row * sizeof *space.members);
    return space;
}

/* How keys are sorted into bins: bin 0 is below everything that the others cover. */
typedef struct ranked_cut {
    mc_bits base; /* the largest key of bin 0 */
    unsigned shift;
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
    const unsigned shift = mantissa - 7; /* RANKED_BINS / RANKED_BINADES bins a binade */
    const mc_bits span = (mc_bits)(RANKED_BINS - 1) << shift;
    return (ranked_cut){largest > span ? largest - span : 0, shift};
}

static inline uint16_t ranked_bin(ranked_cut cut, mc_bits key)
{
    return key <= cut.base ? 0 : (uint16_t)(((key - cut.base - 1) >> cut.shift) + 1);
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
 * An element is kept from this rank on, of which there are count: u < density − ε + 2ε · rank /
 * (count − 1)
 */
typedef struct ranked_chance {
    double lowest, slope; /* probability of rank 0, and how it rises from rank to rank */
} ranked_chance;

static inline bool ranked_keeps(ranked_chance chance, uint32_t random, size_t rank)
{
    return (double)random * 0x1p-32 < chance.lowest + chance.slope * (double)rank;
}

/* Where each bin's elements begin in `members`, in which they are put; begins[RANKED_BINS + 1]. */
static inline void ranked_distribute(const ranked_space *space, size_t count, uint32_t *begins)
{
    uint32_t next[RANKED_BINS];
    memset(begins, 0, (RANKED_BINS + 1) * sizeof *begins);
    for (size_t i = 0; i < count; i++)
        begins[space->bins[i] + 1]++;
    for (size_t b = 0; b < RANKED_BINS; b++) {
        begins[b + 1] += begins[b];
        next[b] = begins[b];
    }
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

/* Zeroes what is dropped of a row of a model's task vector. */
static inline void ranked_keep(const mc_layer *layer, size_t model, size_t start, mc_real *task)
{
    const size_t count = ranked_row(layer);
    const ranked_space space = ranked_space_of(layer);
    const double density = mc_numbers(layer, "density")[model];
    const double epsilon = mc_numbers(layer, "epsilon")[model];
    uint32_t begins[RANKED_BINS + 1];
    /* A row of one has no order: its element is kept with the probability `density`. */
    const ranked_chance chance = count > 1 ? (ranked_chance){density - epsilon,
                                                             2 * epsilon / (double)(count - 1)}
                                           : (ranked_chance){density, 0};
    for (size_t i = 0; i < count; i++)
        space.keys[i] = mc_bits_of(mc_absolute(task[i]));
    const ranked_cut cut = ranked_cut_of(space.keys, count);
    for (size_t i = 0; i < count; i++)
        space.bins[i] = ranked_bin(cut, space.keys[i]);
    mc_random_u32(layer->random_key, (uint32_t)model, layer->first + (int64_t)start, count,
                  space.random);
    ranked_distribute(&space, count, begins);
    for (size_t b = 0; b < RANKED_BINS; b++) {
        const size_t begin = begins[b], end = begins[b + 1];
        if (end > begin && ranked_undecided(&space, chance, begin, end))
            ranked_keep_bin(&space, chance, begin, end, task);
        else
            for (size_t i = begin; i < end; i++)
                if (!ranked_keeps(chance, space.random[space.members[i]], begin))
                    task[space.members[i]] = 0;
    }
}

#endif
