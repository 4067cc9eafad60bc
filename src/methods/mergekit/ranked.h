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
 * The number has 8 bits at first. Below the lower limit, rounded down to a multiple of 2^-8, an
 * element is kept, and above the upper limit, rounded up, it is dropped. Between these it is *open*
 * and draws 32 more bits: these decide about both limits, and choose the other element.
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
    uint32_t *members;    /* [row, padded, and 8] the elements that are open … */
    uint32_t *others;     /* [row, padded] … and what they are compared with */
    uint8_t *numbers;     /* [row, padded] */
    unsigned char *stays; /* [row, padded] whether an element is kept, … */
    unsigned char *open;  /* [row, padded] … or open */
} ranked_space;

static inline size_t ranked_scratch(const mc_layer *layer)
{
    const size_t room = ranked_words(ranked_row(layer)) * RANKED_WORD;
    const size_t elements = room * (2 * sizeof(uint32_t) + 3);
    return sizeof(uint64_t) + room / RANKED_WORD * sizeof(uint64_t) + elements +
           8 * sizeof(uint32_t);
}

/*
 * Elements from one unit of task.h to the next. Behind a row ranked_compare needs one more, and
 * rows of a power of two of elements would otherwise fall on the same cache sets.
 */
static inline size_t ranked_stride(const mc_layer *layer)
{
    enum { PAD = 16 };
    return ranked_row(layer) + PAD;
}

/* Scratch memory behind the units of task.h. */
static inline ranked_space ranked_space_of(const mc_layer *layer)
{
    const size_t words = ranked_words(ranked_row(layer)), room = words * RANKED_WORD;
    const size_t units = (layer->model_count + 1) * ranked_stride(layer) * sizeof(mc_real);
    const size_t start = (units + sizeof(uint64_t) - 1) / sizeof(uint64_t) * sizeof(uint64_t);
    ranked_space space;
    space.kept = (uint64_t *)(void *)((char *)layer->scratch + start);
    space.members = (uint32_t *)(space.kept + words);
    space.others = space.members + room + 8;
    space.numbers = (uint8_t *)(space.others + room);
    space.stays = (unsigned char *)(space.numbers + room);
    space.open = space.stays + room;
    return space;
}

/*
 * What numbers decide. Of 8 bits: those below `first` keep an element, those up to `last` leave it
 * open. Of 32 bits: those below `low` keep it, the next `span` compare it; a distance d from `low`
 * chooses element d · factor / 2^shift of the count − 1 others.
 */
typedef struct ranked_chance {
    uint8_t first, last;
    uint32_t low, span, factor;
    int shift;
    bool inverted; /* a negative epsilon: of the two compared the smaller is kept */
} ranked_chance;

static inline uint32_t ranked_limit(double share)
{
    return share < 1 ? (uint32_t)(share * 0x1p32) : UINT32_MAX;
}

/* A row of one element has no order: the element is kept with the probability `density`. */
static inline ranked_chance ranked_chance_of(const mc_layer *layer, size_t model)
{
    const size_t count = ranked_row(layer);
    const double density = mc_numbers(layer, "density")[model];
    const double epsilon = count > 1 ? mc_numbers(layer, "epsilon")[model] : 0;
    const double low = (density - fabs(epsilon)) * 256, high = (density + fabs(epsilon)) * 256;
    const double first = floor(low), end = ceil(high), open = end > first ? end - first : 1;
    ranked_chance chance = {.first = (uint8_t)first, .last = (uint8_t)(end - 1)};
    chance.low = ranked_limit((low - first) / open);
    chance.span = ranked_limit((high - first) / open) - chance.low;
    int exponent = 0;
    const double factor = frexp(chance.span > 0 ? (double)(count - 1) / chance.span : 0, &exponent);
    chance.factor = (uint32_t)(factor * 0x1p32);
    chance.shift = 32 - exponent;
    chance.inverted = epsilon < 0;
    return chance;
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

/* Sets flags from the numbers: whether an element stays, and whether it is open. */
MC_PASS void ranked_decide(ranked_chance chance, const uint8_t *numbers, unsigned char *stays,
                           unsigned char *open, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        stays[i] = numbers[i] < chance.first;
        open[i] = (numbers[i] >= chance.first) & (numbers[i] <= chance.last);
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
 * of `count`, with equal probability up to a share of count / 2^32. Where the number itself
 * decides, the comparison is with the element itself, which succeeds, or with the largest possible
 * one behind the row, which fails.
 */
MC_PASS void ranked_draw(ranked_chance chance, const uint32_t *members, uint32_t *others,
                         size_t open, size_t count)
{
    const uint32_t low = chance.low, span = chance.span, end = (uint32_t)count;
    MC_INDEPENDENT
    for (size_t k = 0; k < open; k++) {
        const uint32_t own = members[k], number = others[k], distance = number - low;
        const uint32_t chosen = (uint32_t)((uint64_t)distance * chance.factor >> chance.shift);
        const uint32_t decided = (number < low) != chance.inverted ? own : end;
        others[k] = distance < span ? chosen + (chosen >= own) : decided;
    }
}

static inline mc_bits ranked_magnitude(mc_real value)
{
    return mc_bits_of(value) & ~MC_TOP_BIT;
}

/* Compares magnitudes; of two equal ones, that of the first element counts as lower. */
MC_PASS void ranked_compare(const ranked_space *space, bool inverted, const mc_real *task,
                            size_t open)
{
    const uint32_t *const members = space->members, *const others = space->others;
    unsigned char *const stays = space->stays;
    for (size_t k = 0; k < open; k++) {
        const uint32_t own = members[k], other = others[k];
        const bool above = ranked_magnitude(task[other]) <
                           ranked_magnitude(task[own]) + (other <= own);
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

/*
 * Chooses elements of a row of a model's task vector: sets bits as in ranked_space.kept. Writes one
 * element behind the row.
 */
static inline void ranked_choose(const mc_layer *layer, size_t model, size_t start, mc_real *task,
                                 uint64_t *kept)
{
    const size_t count = ranked_row(layer), words = ranked_words(count);
    const ranked_space space = ranked_space_of(layer);
    const ranked_chance chance = ranked_chance_of(layer, model);
    const uint32_t stream = (uint32_t)model;
    const int64_t first = layer->first + (int64_t)start;
    mc_random_u8(layer->random_key, stream, first, count, space.numbers);
    ranked_decide(chance, space.numbers, space.stays, space.open, count);
    memset(space.stays + count, 0, words * RANKED_WORD - count);
    memset(space.open + count, 0, words * RANKED_WORD - count);
    const size_t open = ranked_list(space.open, space.members, count);
    mc_random_u32(layer->random_key, stream, first, open, space.others);
    ranked_draw(chance, space.members, space.others, open, count);
    task[count] = mc_real_of(~MC_TOP_BIT); /* the largest magnitude */
    ranked_compare(&space, chance.inverted, task, open);
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
