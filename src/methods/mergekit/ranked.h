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
 * fewer leave more elements undecided. Heads are 16-bit numbers, of which vectors compare twice as
 * many as of keys.
 */
enum {
    RANKED_MOST_BINS = 1024,
    RANKED_LEAST_BINS = 64,
    RANKED_ROW_PER_BIN = 8,
    RANKED_BINADE_BITS = 3,
    RANKED_HEAD_BITS = 15
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
    uint16_t *heads;     /* [row] see ranked_find_heads */
    uint16_t *bins;      /* [row] the bin of each element: the first bits of its head */
    unsigned char *open; /* [row] whether its bin leaves an element open */
} ranked_space;

/* Arrays are padded to a multiple of it, so that loops have no remainder. */
enum { RANKED_GROUP = 64 };

static inline size_t ranked_row_room(const mc_layer *layer)
{
    return (ranked_row(layer) + RANKED_GROUP - 1) / RANKED_GROUP * RANKED_GROUP;
}

static inline size_t ranked_scratch(const mc_layer *layer)
{
    return ranked_row_room(layer) *
           (sizeof(mc_bits) + 2 * sizeof(uint32_t) + 2 * sizeof(uint16_t) + 1);
}

/* Behind the units of task.h. */
static inline ranked_space ranked_space_of(const mc_layer *layer)
{
    const size_t row = ranked_row_room(layer);
    const size_t units = (layer->model_count + 1) * ranked_row(layer);
    char *at = (char *)layer->scratch + units * sizeof(mc_real);
    ranked_space space;
    space.keys = (mc_bits *)(void *)at;
    space.random = (uint32_t *)(void *)(at += row * sizeof *space.keys);
    space.members = (uint32_t *)(void *)(at += row * sizeof *space.random);
    space.heads = (uint16_t *)(void *)(at += row * sizeof *space.members);
    space.bins = (uint16_t *)(void *)(at += row * sizeof *space.heads);
    space.open = (unsigned char *)(at + row * sizeof *space.bins);
    return space;
}

/* Which bits of keys are their heads, and which bits of heads are bins. */
typedef struct ranked_cut {
    mc_bits base;       /* of keys without their last `dropped` bits: it and what is smaller is 0 */
    unsigned dropped;   /* bits of keys that only show whether any of them is set */
    unsigned bin_shift; /* bits of heads within a bin */
    size_t bins;
} ranked_cut;

static inline ranked_cut ranked_cut_of(mc_bits largest, size_t count)
{
#ifdef MC_REAL_IS_DOUBLE
    const unsigned mantissa = 52;
#else
    const unsigned mantissa = 23;
#endif
    ranked_cut cut = {.dropped = mantissa + RANKED_BINADE_BITS - RANKED_HEAD_BITS,
                      .bin_shift = RANKED_HEAD_BITS + 1,
                      .bins = 1};
    while (cut.bins < RANKED_LEAST_BINS ||
           (cut.bins < RANKED_MOST_BINS && cut.bins * RANKED_ROW_PER_BIN < count)) {
        cut.bins *= 2;
        cut.bin_shift--;
    }
    const mc_bits top = largest >> cut.dropped, span = ((mc_bits)1 << RANKED_HEAD_BITS) - 1;
    cut.base = top > span ? top - span : 0;
    return cut;
}

/* Keys of a row; returns the largest. */
MC_PASS mc_bits ranked_classify(const mc_real *task, mc_bits *keys, size_t count)
{
    mc_bits largest = 0;
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_bits key = mc_bits_of(mc_absolute(task[i]));
        keys[i] = key;
        largest = key > largest ? key : largest;
    }
    return largest;
}

/*
 * The head of a key: the bits that matter of its distance from `base`, and whether more are set
 * below them. Heads are in the order of keys. Two that are equal are of equal keys if they are even
 * and not zero.
 */
MC_PASS void ranked_find_heads(ranked_cut cut, const mc_bits *keys, uint16_t *heads, uint16_t *bins,
                               size_t count)
{
    const mc_bits base = cut.base, rest = ((mc_bits)1 << cut.dropped) - 1;
    const unsigned dropped = cut.dropped, bin_shift = cut.bin_shift;
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_bits top = keys[i] >> dropped, more = (keys[i] & rest) != 0;
        const mc_bits head = top < base ? 0 : (top - base) << 1 | more;
        heads[i] = (uint16_t)head;
        bins[i] = (uint16_t)(head >> bin_shift);
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

/*
 * What the upper halves of random numbers decide about a bin. Its limit has two halves: all numbers
 * below the lower one keep any rank of the bin, all numbers above the upper one drop any. They are
 * in one word because each element looks up its bin, which is slow. A float is enough, as one is
 * taken off and added: what is between the halves is decided exactly.
 */
MC_PASS void ranked_limits(ranked_chance chance, const uint32_t *begins, uint32_t *limits,
                           size_t bins)
{
    const float lowest = (float)(chance.lowest * 0x1p16), slope = (float)(chance.slope * 0x1p16);
    MC_INDEPENDENT
    for (size_t b = 0; b < bins; b++) {
        const float first = lowest + slope * (float)(int32_t)begins[b];
        const float end = lowest + slope * (float)(int32_t)begins[b + 1];
        const int32_t low = (int32_t)(first < end ? first : end) - 1;
        const int32_t high = (int32_t)(first < end ? end : first) + 1;
        limits[b] = (uint32_t)(low > 0 ? low : 0) |
                    (uint32_t)(high < UINT16_MAX ? high : UINT16_MAX) << 16;
    }
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
MC_PASS void ranked_keep_decided(const uint16_t *bins, const uint32_t *random,
                                 const uint32_t *limits, mc_real *task, unsigned char *open,
                                 size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const uint32_t limit = limits[bins[i]], number = random[i] >> 16;
        const bool may_stay = number <= limit >> 16, stays = number < (limit & UINT16_MAX);
        open[i] = may_stay & !stays & (task[i] != 0); /* of a zero it does not matter */
        task[i] = may_stay ? task[i] : 0;
    }
}

/* The rank of an element, by counting: equal ones before it count as lower. */
MC_PASS size_t ranked_count_below(const mc_bits *keys, size_t at, size_t count)
{
    const mc_bits key = keys[at];
    mc_bits below = 0;
    for (size_t i = 0; i < at; i++)
        below += keys[i] <= key;
    for (size_t i = at + 1; i < count; i++)
        below += keys[i] < key;
    return below;
}

/* Counts the heads below a bound; rooms are a multiple of RANKED_GROUP, and at most UINT16_MAX. */
MC_PASS uint16_t ranked_count_heads(const uint16_t *heads, size_t groups, uint16_t bound)
{
    uint16_t below = 0;
    MC_INDEPENDENT
    for (size_t i = 0; i < groups * RANKED_GROUP; i++)
        below += heads[i] < bound;
    return below;
}

/* The rank of an element with a head that only equal keys have. */
static inline size_t ranked_head_below(const uint16_t *heads, size_t at, size_t room)
{
    const size_t here = at / RANKED_GROUP, after = (here + 1) * RANKED_GROUP;
    const uint16_t head = heads[at];
    uint16_t below = ranked_count_heads(heads, here, head + 1);
    for (uint16_t i = 0; i < RANKED_GROUP; i++)
        below += heads[here * RANKED_GROUP + i] < head + (i < at % RANKED_GROUP);
    return (uint16_t)(below +
                      ranked_count_heads(heads + after, room / RANKED_GROUP - here - 1, head));
}

static inline size_t ranked_rank(const ranked_space *space, size_t at, size_t count, size_t room)
{
    const bool exact = space->heads[at] % 2 == 0 && space->heads[at] > 0 && room <= UINT16_MAX;
    return exact ? ranked_head_below(space->heads, at, room)
                 : ranked_count_below(space->keys, at, count);
}

/* Lists the open elements of a row, and returns how many there are. */
static inline size_t ranked_list_open(const unsigned char *open, size_t count, uint32_t *members)
{
    size_t listed = 0;
    for (size_t start = 0; start < count; start += RANKED_GROUP) {
        uint64_t words[RANKED_GROUP / 8], any = 0;
        memcpy(words, open + start, sizeof words);
        for (size_t w = 0; w < RANKED_GROUP / 8; w++)
            any |= words[w];
        for (size_t w = 0; any && w < RANKED_GROUP / 8; w++)
            for (size_t i = start + 8 * w; words[w] && i < start + 8 * w + 8; i++) {
                members[listed] = (uint32_t)i;
                listed += open[i];
            }
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
    const size_t count = ranked_row(layer), room = ranked_row_room(layer);
    const ranked_space space = ranked_space_of(layer);
    const ranked_chance chance = ranked_chance_of(layer, model, count);
    uint32_t begins[RANKED_MOST_BINS + 1], limits[RANKED_MOST_BINS];
    const ranked_cut cut = ranked_cut_of(ranked_classify(task, space.keys, count), count);
    ranked_find_heads(cut, space.keys, space.heads, space.bins, count);
    mc_random_u32(layer->random_key, (uint32_t)model, layer->first + (int64_t)start, count,
                  space.random);
    ranked_count(&space, cut.bins, count, begins);
    ranked_limits(chance, begins, limits, cut.bins);
    memset(space.open + count, 0, room - count);
    memset(space.heads + count, 0xff, (room - count) * sizeof *space.heads);
    ranked_keep_decided(space.bins, space.random, limits, task, space.open, count);
    const size_t open = ranked_list_open(space.open, count, space.members);
    if (open > RANKED_MOST_OPEN) {
        ranked_keep_in_order(&space, chance, begins, cut.bins, count, task);
        return;
    }
    for (size_t i = 0; i < open; i++) {
        const uint32_t at = space.members[i];
        if (!ranked_keeps(chance, space.random[at], ranked_rank(&space, at, count, room)))
            task[at] = 0;
    }
}

#endif
