/*
 * A random choice by rank, as in DELLA. An element of rank r, in the order of the n magnitudes of
 * its row, is kept with the probability density − epsilon + 2 · epsilon · r / (n − 1). Of equal
 * magnitudes the lower index has the lower rank.
 *
 * No rank is computed: r / (n − 1) is the probability that another element of the row, drawn at
 * random, has a lower rank. So each element draws a number, which decides that it is
 *
 *     kept        with the probability density − epsilon,
 *     compared    with the probability 2 · epsilon: it draws another element of the row, and is
 *                 kept if that has the lower rank,
 *     dropped     otherwise.
 *
 * Every element draws for itself, so choices are independent. This takes less than half of the time
 * of ranks by a histogram of magnitudes (bench/LOG.md).
 */
#ifndef MC_METHODS_MERGEKIT_RANKED_H
#define MC_METHODS_MERGEKIT_RANKED_H

#include <mergecraft/method.h>

/* Elements of a row: the last dimension. A vector is one row. */
static inline size_t ranked_row(const mc_layer *layer)
{
    const int64_t row = layer->rank > 0 ? layer->shape[layer->rank - 1] : 1;
    return row > 0 ? (size_t)row : 1;
}

/* Indices of elements, and the random numbers that choose one, have 32 bits. */
static inline mc_status ranked_check(const mc_layer *layer)
{
    if (ranked_row(layer) <= UINT32_MAX)
        return MC_OK;
    return mc_fail(layer->error, MC_UNSUPPORTED, "expected rows of at most %u elements, found %zu",
                   UINT32_MAX, ranked_row(layer));
}

/* Elements of a word of choices. Rows of numbers are padded to a multiple of it. */
enum { RANKED_WORD = 64 };

static inline size_t ranked_words(size_t count)
{
    return (count + RANKED_WORD - 1) / RANKED_WORD;
}

typedef struct ranked_space {
    uint64_t *kept;       /* [words] bit i % 64 of word i / 64: whether element i is kept */
    uint32_t *members;    /* [row, padded, and 8] the elements that are compared … */
    uint32_t *others;     /* [row, padded] … and with which */
    uint16_t *numbers;    /* [row, padded] */
    unsigned char *stays; /* [row, padded] whether an element is kept, … */
    unsigned char *open;  /* [row, padded] … or compared */
} ranked_space;

static inline size_t ranked_scratch(const mc_layer *layer)
{
    const size_t room = ranked_words(ranked_row(layer)) * RANKED_WORD;
    const size_t elements = room * (2 * sizeof(uint32_t) + sizeof(uint16_t) + 2);
    return sizeof(uint64_t) + room / RANKED_WORD * sizeof(uint64_t) + elements +
           8 * sizeof(uint32_t);
}

/* Scratch memory behind the units of task.h. */
static inline ranked_space ranked_space_of(const mc_layer *layer)
{
    const size_t words = ranked_words(ranked_row(layer)), room = words * RANKED_WORD;
    const size_t units = (layer->model_count + 1) * ranked_row(layer) * sizeof(mc_real);
    const size_t start = (units + sizeof(uint64_t) - 1) / sizeof(uint64_t) * sizeof(uint64_t);
    ranked_space space;
    space.kept = (uint64_t *)(void *)((char *)layer->scratch + start);
    space.members = (uint32_t *)(space.kept + words);
    space.others = space.members + room + 8;
    space.numbers = (uint16_t *)(space.others + room);
    space.stays = (unsigned char *)(space.numbers + room);
    space.open = space.stays + room;
    return space;
}

/* What numbers of 16 bits decide: below `first` kept, the next `span` compared, others dropped. */
typedef struct ranked_chance {
    uint16_t first, span;
    bool inverted; /* a negative epsilon: of the two compared the smaller is kept */
} ranked_chance;

static inline uint16_t ranked_limit(double chance)
{
    const double limit = nearbyint(chance * 0x1p16);
    return limit < UINT16_MAX ? (uint16_t)limit : UINT16_MAX;
}

/* A row of one element has no order: the element is kept with the probability `density`. */
static inline ranked_chance ranked_chance_of(const mc_layer *layer, size_t model)
{
    const double density = mc_numbers(layer, "density")[model];
    const double epsilon = ranked_row(layer) > 1 ? mc_numbers(layer, "epsilon")[model] : 0;
    const uint16_t first = ranked_limit(density - fabs(epsilon));
    const uint16_t end = ranked_limit(density + fabs(epsilon));
    return (ranked_chance){first, (uint16_t)(end - first), epsilon < 0};
}

/* Which bits of a byte are set, in order. */
#define RANKED_0(...)                                                                              \
    {__VA_ARGS__},                                                                                 \
    {                                                                                              \
        0, __VA_ARGS__                                                                             \
    }
#define RANKED_1(...) RANKED_0(__VA_ARGS__), RANKED_0(1, __VA_ARGS__)
#define RANKED_2(...) RANKED_1(__VA_ARGS__), RANKED_1(2, __VA_ARGS__)
#define RANKED_3(...) RANKED_2(__VA_ARGS__), RANKED_2(3, __VA_ARGS__)
#define RANKED_4(...) RANKED_3(__VA_ARGS__), RANKED_3(4, __VA_ARGS__)
#define RANKED_5(...) RANKED_4(__VA_ARGS__), RANKED_4(5, __VA_ARGS__)
#define RANKED_6(...) RANKED_5(__VA_ARGS__), RANKED_5(6, __VA_ARGS__)
#define RANKED_7(...) RANKED_6(__VA_ARGS__), RANKED_6(7, __VA_ARGS__)
static const unsigned char ranked_set_bits[256][8] = {RANKED_7()};

/* Packs eight flags, one per byte, into bits: the product moves them all into its top byte. */
static inline unsigned ranked_byte(uint64_t flags)
{
    return (unsigned)(flags * UINT64_C(0x0102040810204080) >> 56);
}

/* Sets flags from the numbers: whether an element stays, and whether it is compared. */
MC_PASS void ranked_decide(ranked_chance chance, const uint16_t *numbers, unsigned char *stays,
                           unsigned char *open, size_t count)
{
    const uint16_t first = chance.first, span = chance.span;
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        stays[i] = numbers[i] < first;
        open[i] = (uint16_t)(numbers[i] - first) < span;
    }
}

/*
 * Lists the elements with a flag, and returns how many they are. Where they are is random, so that
 * a branch per element, or a loop over the bits of a word, is predicted badly: eight are written,
 * and those that have no flag are overwritten.
 */
MC_PASS size_t ranked_list(const unsigned char *flags, uint32_t *members, size_t count)
{
    size_t listed = 0;
    for (size_t i = 0; i < count; i += 8) {
        uint64_t eight;
        memcpy(&eight, flags + i, sizeof eight);
        const unsigned set = ranked_byte(eight);
        for (size_t b = 0; b < 8; b++)
            members[listed + b] = (uint32_t)i + ranked_set_bits[set][b];
        listed += (size_t)(eight * UINT64_C(0x0101010101010101) >> 56);
    }
    return listed;
}

/*
 * Random numbers become the elements that members are compared with: any other element of the row
 * of `count`, with equal probability up to a share of count / 2^32.
 */
MC_PASS void ranked_draw(const uint32_t *members, uint32_t *others, size_t compared, size_t count)
{
    const uint32_t without_itself = (uint32_t)(count - 1);
    MC_INDEPENDENT
    for (size_t k = 0; k < compared; k++) {
        const uint32_t other = (uint32_t)((uint64_t)others[k] * without_itself >> 32);
        others[k] = other + (other >= members[k]);
    }
}

static inline mc_bits ranked_magnitude(mc_real value)
{
    return mc_bits_of(value) & ~MC_TOP_BIT;
}

/* Compares magnitudes; of two equal ones, that of the first element counts as lower. */
MC_PASS void ranked_compare(const ranked_space *space, bool inverted, const mc_real *task,
                            size_t compared)
{
    const uint32_t *const members = space->members, *const others = space->others;
    unsigned char *const stays = space->stays;
    for (size_t k = 0; k < compared; k++) {
        const uint32_t own = members[k], other = others[k];
        const bool above = ranked_magnitude(task[other]) <
                           ranked_magnitude(task[own]) + (other < own);
        stays[own] = above ^ inverted;
    }
}

MC_PASS void ranked_pack(const unsigned char *stays, uint64_t *kept, size_t words)
{
    for (size_t w = 0; w < words; w++) {
        uint64_t word = 0;
        for (size_t i = 0; i < RANKED_WORD; i += 8) {
            uint64_t eight;
            memcpy(&eight, stays + w * RANKED_WORD + i, sizeof eight);
            word |= (uint64_t)ranked_byte(eight) << i;
        }
        kept[w] = word;
    }
}

/* Chooses elements of a row of a model's task vector: sets bits as in ranked_space.kept. */
static inline void ranked_choose(const mc_layer *layer, size_t model, size_t start,
                                 const mc_real *task, uint64_t *kept)
{
    const size_t count = ranked_row(layer), words = ranked_words(count);
    const ranked_space space = ranked_space_of(layer);
    const ranked_chance chance = ranked_chance_of(layer, model);
    const uint32_t stream = (uint32_t)model;
    const int64_t first = layer->first + (int64_t)start;
    mc_random_u16(layer->random_key, stream, first, count, space.numbers);
    ranked_decide(chance, space.numbers, space.stays, space.open, count);
    memset(space.stays + count, 0, words * RANKED_WORD - count);
    memset(space.open + count, 0, words * RANKED_WORD - count);
    const size_t compared = ranked_list(space.open, space.members, count);
    mc_random_u32(layer->random_key, stream, first, compared, space.others);
    ranked_draw(space.members, space.others, compared, count);
    ranked_compare(&space, chance.inverted, task, compared);
    ranked_pack(space.stays, kept, words);
}

/* Zeroes what is not chosen. */
MC_PASS void ranked_drop(const uint64_t *kept, mc_real *task, size_t count)
{
    enum { HALF = RANKED_WORD / 2 };
    size_t start = 0;
    for (; start + HALF <= count; start += HALF) {
        const uint32_t bits = (uint32_t)(kept[start / RANKED_WORD] >> start % RANKED_WORD);
        MC_INDEPENDENT
        for (size_t i = 0; i < HALF; i++)
            task[start + i] = mc_real_of(mc_bits_of(task[start + i]) & -(mc_bits)(bits >> i & 1));
    }
    for (; start < count; start++)
        if (!(kept[start / RANKED_WORD] >> start % RANKED_WORD & 1))
            task[start] = 0;
}

#endif
