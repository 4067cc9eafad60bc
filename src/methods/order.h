/*
 * Exact order statistics of many values, found by counting, never by sorting: the value of rank r,
 * from 0. The keys of values are bits of magnitudes: reals of one sign have the order of their
 * bits, with NaN above infinity.
 *
 * What is ordered are *entries*. By default an entry is a key. A method that keeps an exact number
 * of elements defines ORDER_PLACES before it includes this file: an entry is then one integer, a
 * key followed by the element's flat index (its place), inverted. All entries differ, and of equal
 * keys the lower place counts as the larger. Differences of bfloat16 weights take few values, so a
 * bracket may have to end among elements that share a key.
 *
 * A search narrows a bracket of entries in rounds:
 *
 *     LIST   lists the entries of the bracket, and counts those below
 *     COUNT  counts the bracket's entries by bins, where a list would be too long
 *     DONE
 *
 * The first rounds sample some leaves to predict the bracket. The next round usually is the last,
 * so a tensor is read about once. Several searches, such as one per model, run side by side on the
 * same leaves. Everything counted is exact in any order:
 *
 *     statistics.begin         order_begin
 *     statistics.partial_size  order_partial_size, partial_zeros likewise
 *     statistics.stride        order_stride
 *     statistics.accumulate    classifies keys, then order_add, per search and block
 *     statistics.combine       order_combine
 *     statistics.next          sets the rank of each search, then order_next, until order_done
 */
#ifndef MC_METHODS_ORDER_H
#define MC_METHODS_ORDER_H

#include <mergecraft/method.h>

/* A key has one bit less than a real. */
#if !defined ORDER_PLACES
#define ORDER_PLACE_BITS 0
typedef mc_bits order_entry;
#elif defined MC_REAL_IS_DOUBLE
#define ORDER_PLACE_BITS 63
__extension__ typedef unsigned __int128 order_entry;
#else
#define ORDER_PLACE_BITS 33
typedef uint64_t order_entry;
#endif

#define ORDER_LAST_PLACE ((UINT64_C(1) << ORDER_PLACE_BITS) - 1)
#define ORDER_LAST_ENTRY ((((order_entry)MC_TOP_BIT) << ORDER_PLACE_BITS) - 1)

enum {
    ORDER_BIN_BITS = 16,
    ORDER_BINS = 1 << ORDER_BIN_BITS,
    ORDER_DIGIT_BITS = 12,      /* of an entry, per step of a search in a list */
    ORDER_SMALL = 1 << 19,      /* values that are listed at once */
    ORDER_SPARE = 4096,         /* entries that a list has room for beyond the expected number */
    ORDER_LIST_TOTAL = 1 << 23, /* the most entries that the lists of all searches hold */
    ORDER_SAMPLED_LEAVES = 64,  /* leaves of the first sample */
    /* The second sample takes one leaf in 17: odd, so that it is not in step with rows. */
    ORDER_STRIDE = 17
};

typedef enum order_phase { ORDER_LIST, ORDER_COUNT, ORDER_DONE } order_phase;

/* One search, in the state of a method. */
typedef struct order_search {
    order_phase phase;
    int64_t stride;          /* one leaf in this many is read */
    uint64_t count, columns; /* values in all, and per element of the tensor */
    order_entry first, span; /* entries first … first + span are searched */
    uint64_t room;           /* entries of the list */
    int64_t rank;            /* what is looked for; negative: nothing */
    double fraction;         /* above 0: the key of the next rank is looked for, too */
    /* The result, valid in ORDER_DONE. */
    bool none; /* nothing was looked for */
    mc_bits key, next_key;
    uint64_t place;
    double threshold; /* between the keys, as threshold.h computes it */
} order_search;

/* What a round finds for one search. Bins and lists follow, so that it keeps their alignment. */
typedef struct order_found {
    _Alignas(uint64_t) _Alignas(order_entry) uint64_t looked_at;
    uint64_t zeros; /* keys that are zero, if the method counts them */
    uint64_t below, inside;
    mc_bits inverse_above; /* of the smallest key above the bracket, 0 if there is none */
} order_found;

typedef struct order_bin {
    uint64_t count;
    order_entry bits; /* those set in any distance from the bracket's start */
} order_bin;

static inline order_entry order_entry_of(mc_bits key, uint64_t place)
{
    return (order_entry)key << ORDER_PLACE_BITS | ((ORDER_LAST_PLACE - place) & ORDER_LAST_PLACE);
}

static inline mc_bits order_key_of(order_entry entry)
{
    return (mc_bits)(entry >> ORDER_PLACE_BITS);
}

static inline uint64_t order_place_of(order_entry entry)
{
    return ORDER_LAST_PLACE - ((uint64_t)entry & ORDER_LAST_PLACE);
}

/* ---- layout ---------------------------------------------------------------------------------- */
/*
 * A partial result: the findings of all searches, then the bins of those that count, then the lists
 * of those that list. Lists need not be zero at first, so their memory is touched only as far as it
 * is filled.
 */
static inline size_t order_bins_size(const order_search *search)
{
    return search->phase == ORDER_COUNT ? ORDER_BINS * sizeof(order_bin) : 0;
}

static inline size_t order_list_size(const order_search *search)
{
    return search->phase == ORDER_LIST ? (size_t)search->room * sizeof(order_entry) : 0;
}

/*
 * The sizes of all searches' bins, and of all lists. One loop for both sums is what GCC 14
 * miscompiles for AVX-512.
 */
static inline size_t order_bins_sizes(const order_search *searches, size_t count)
{
    size_t size = 0;
    for (size_t s = 0; s < count; s++)
        size += order_bins_size(&searches[s]);
    return size;
}

static inline size_t order_list_sizes(const order_search *searches, size_t count)
{
    size_t size = 0;
    for (size_t s = 0; s < count; s++)
        size += order_list_size(&searches[s]);
    return size;
}

static inline size_t order_partial_zeros(const order_search *searches, size_t count)
{
    return count * sizeof(order_found) + order_bins_sizes(searches, count);
}

static inline size_t order_partial_size(const order_search *searches, size_t count)
{
    const size_t lists = order_list_sizes(searches, count);
    return order_partial_zeros(searches, count) + (lists + 7) / 8 * 8;
}

/* One search's part of a partial result. */
typedef struct order_part {
    order_found *found;
    order_bin *bins;
    order_entry *list;
} order_part;

static inline order_part order_part_of(const order_search *searches, size_t count, size_t s,
                                       const void *partial)
{
    order_found *const found = (order_found *)(uintptr_t)partial;
    char *const bins = (char *)(found + count) + order_bins_sizes(searches, s);
    char *const list = (char *)found + order_partial_zeros(searches, count) +
                       order_list_sizes(searches, s);
    return (order_part){found + s, (order_bin *)(void *)bins, (order_entry *)(void *)list};
}

/* How far right a distance is shifted to give one of 2^bits. */
static inline unsigned order_shift(order_entry span, unsigned bits)
{
    unsigned shift = 0;
    while (span >> shift >> bits != 0)
        shift++;
    return shift;
}

/* ---- a round --------------------------------------------------------------------------------- */
/* The next round's stride. */
static inline int64_t order_next_stride(int64_t stride)
{
    return stride > ORDER_STRIDE ? ORDER_STRIDE : 1;
}

/*
 * The first round's stride for a search over `count` values. The first of two samples is worth its
 * time where the second would fill long lists without it. A tensor without enough values is listed
 * or counted as a whole.
 */
static inline int64_t order_first_stride(int64_t count)
{
    const int64_t wanted = count / MC_LEAF / ORDER_SAMPLED_LEAVES | 1;
    if (count <= ORDER_SMALL)
        return 1;
    return wanted > ORDER_STRIDE && wanted < 2 * ORDER_STRIDE ? ORDER_STRIDE : wanted;
}

/*
 * Sets the bracket of the next round, of which `expected` entries are expected. It lists them if
 * there is room, and counts them by bins otherwise.
 */
static inline void order_set_bracket(order_search *search, order_entry first, order_entry last,
                                     uint64_t expected, uint64_t room)
{
    search->first = first;
    search->span = last - first;
    search->phase = expected <= room ? ORDER_LIST : ORDER_COUNT;
    search->room = expected <= room ? expected : 0;
}

/*
 * Begins searches over `columns` values per element of a tensor, which is sampled first if the
 * stride is not 1.
 */
static inline void order_begin(order_search *searches, size_t count, int64_t size, size_t columns,
                               int64_t stride)
{
    const int64_t sampled = (size / MC_LEAF / stride + 1) * MC_LEAF;
    const uint64_t listed = (uint64_t)(size < sampled ? size : sampled) * columns;
    const uint64_t most = ORDER_LIST_TOTAL / count;
    const uint64_t room = stride > 1 || most < ORDER_SMALL ? most : ORDER_SMALL;
    for (size_t s = 0; s < count; s++) {
        order_search *const search = &searches[s];
        *search = (order_search){
            .stride = stride, .count = (uint64_t)size * columns, .columns = columns};
        order_set_bracket(search, 0, ORDER_LAST_ENTRY, listed, room);
        if (search->phase == ORDER_COUNT) /* a sample is listed */
            search->stride = 1;
        if (size == 0)
            search->phase = ORDER_DONE;
    }
}

static inline int64_t order_stride(const order_search *searches, size_t count)
{
    for (size_t s = 0; s < count; s++)
        if (searches[s].phase != ORDER_DONE)
            return searches[s].stride;
    return 1;
}

static inline bool order_done(const order_search *searches, size_t count)
{
    size_t done = 0;
    for (size_t s = 0; s < count; s++)
        done += searches[s].phase == ORDER_DONE;
    return done == count;
}

/*
 * Numbers of the elements that are inside. Few are, at places that no branch could foresee: so
 * first the groups of eight with any are listed, then their members, without a branch.
 */
static inline size_t order_collect(const unsigned char inside[MC_TILE_BLOCK],
                                   uint16_t numbers[MC_TILE_BLOCK + 8])
{
    uint16_t groups[MC_TILE_BLOCK / 8];
    size_t group_count = 0, collected = 0;
    for (size_t start = 0; start < MC_TILE_BLOCK; start += 8) {
        uint64_t any;
        memcpy(&any, inside + start, sizeof any);
        groups[group_count] = (uint16_t)start;
        group_count += any != 0;
    }
    for (size_t g = 0; g < group_count; g++)
        for (size_t i = groups[g]; i < groups[g] + (size_t)8; i++) {
            numbers[collected] = (uint16_t)i;
            collected += inside[i];
        }
    return collected;
}

/*
 * Adds the entries of a block that are inside the bracket (a byte each; 0 behind the block). The
 * first element is at `place`. Lists grow while there is room, and all entries inside are counted:
 * the next round then knows how much room it needs. Those below are counted by the caller.
 */
static inline void order_add(const order_search *search, const order_part *part,
                             const mc_bits *keys, const unsigned char inside[MC_TILE_BLOCK],
                             uint64_t place, size_t count)
{
    uint16_t numbers[MC_TILE_BLOCK + 8];
    const size_t collected = order_collect(inside, numbers);
    const uint64_t listed = part->found->inside;
    const uint64_t left = listed < search->room ? search->room - listed : 0;
    if (search->phase == ORDER_COUNT) {
        const unsigned shift = order_shift(search->span, ORDER_BIN_BITS);
        for (size_t i = 0; i < collected; i++) {
            const order_entry distance = order_entry_of(keys[numbers[i]], place + numbers[i]) -
                                         search->first;
            order_bin *const bin = &part->bins[(size_t)(distance >> shift)];
            bin->count++;
            bin->bits |= distance;
        }
    } else {
        for (size_t i = 0; i < collected && i < left; i++)
            part->list[listed + i] = order_entry_of(keys[numbers[i]], place + numbers[i]);
    }
    part->found->inside += collected;
    part->found->looked_at += count;
}

static inline void order_combine_one(const order_search *search, const order_part *all,
                                     const order_part *more)
{
    const uint64_t inside = more->found->inside, start = all->found->inside;
    if (search->phase == ORDER_COUNT)
        for (size_t i = 0; i < ORDER_BINS; i++) {
            all->bins[i].count += more->bins[i].count;
            all->bins[i].bits |= more->bins[i].bits;
        }
    else if (start < search->room)
        memcpy(all->list + start, more->list,
               (size_t)(inside < search->room - start ? inside : search->room - start) *
                   sizeof *all->list);
    all->found->looked_at += more->found->looked_at;
    all->found->zeros += more->found->zeros;
    all->found->below += more->found->below;
    all->found->inside += more->found->inside;
    if (more->found->inverse_above > all->found->inverse_above)
        all->found->inverse_above = more->found->inverse_above;
}

static inline void order_combine(const order_search *searches, size_t count, void *into,
                                 const void *from)
{
    for (size_t s = 0; s < count; s++) {
        if (searches[s].phase == ORDER_DONE)
            continue;
        const order_part all = order_part_of(searches, count, s, into);
        const order_part more = order_part_of(searches, count, s, from);
        order_combine_one(&searches[s], &all, &more);
    }
}

/* ---- what a round leads to ------------------------------------------------------------------- */
/* Entries of a list: all lie in first … first + span. */
typedef struct order_list {
    order_entry *entries;
    uint64_t count;
    order_entry first, span;
} order_list;

/* Leaves in the list the digits that hold the ranks `low` and `high`, and all between. */
static inline void order_narrow(order_list *list, uint64_t *low, uint64_t *high)
{
    uint64_t counts[1 << ORDER_DIGIT_BITS] = {0}, kept = 0;
    const unsigned shift = order_shift(list->span, ORDER_DIGIT_BITS);
    size_t begin = 0, end = 0;
    for (uint64_t i = 0; i < list->count; i++)
        counts[(size_t)((list->entries[i] - list->first) >> shift)]++;
    const uint64_t distance = *high - *low;
    for (uint64_t rank = *high; rank >= counts[end]; end++)
        rank -= counts[end];
    for (; *low >= counts[begin]; begin++)
        *low -= counts[begin];
    list->first += (order_entry)begin << shift;
    list->span = ((order_entry)(end - begin + 1) << shift) - 1;
    *high = *low + distance;
    for (uint64_t i = 0; i < list->count; i++) {
        list->entries[kept] = list->entries[i];
        kept += list->entries[i] - list->first <= list->span;
    }
    list->count = kept;
}

/* The entry of rank `rank` (Hoare's selection); the entries are moved about. */
static inline order_entry order_select(order_entry *entries, uint64_t count, uint64_t rank)
{
    int64_t low = 0, high = (int64_t)count - 1;
    while (low < high) {
        const order_entry pivot = entries[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (entries[i] < pivot)
                i++;
            while (pivot < entries[j])
                j--;
            if (i <= j) {
                const order_entry entry = entries[i];
                entries[i++] = entries[j];
                entries[j--] = entry;
            }
        }
        if ((int64_t)rank <= j)
            high = j;
        else if ((int64_t)rank >= i)
            low = i;
        else
            break;
    }
    return entries[rank];
}

/*
 * The entries of two ranks of a list, which is used up; returns how many lie from one to the other.
 * Branches that no predictor foresees make Hoare's selection slow: it gets what is left when
 * counting by digits leaves few, or no longer helps.
 */
static inline uint64_t order_select_two(const order_search *search, const order_part *part,
                                        uint64_t low, uint64_t high, order_entry *low_entry,
                                        order_entry *high_entry)
{
    enum { FEW = 1024 };
    order_list list = {part->list, part->found->inside, search->first, search->span};
    for (uint64_t before = UINT64_MAX; list.count > FEW && list.count <= before / 2;) {
        before = list.count;
        order_narrow(&list, &low, &high);
    }
    *low_entry = order_select(list.entries, list.count, low);
    *high_entry = low == high ? *low_entry : order_select(list.entries, list.count, high);
    uint64_t between = 0;
    for (uint64_t i = 0; i < list.count; i++)
        between += list.entries[i] - *low_entry <= *high_entry - *low_entry;
    return between;
}

static inline mc_bits order_key_above(const order_found *found)
{
    return ~found->inverse_above;
}

static inline void order_set_done(order_search *search, order_entry entry, mc_bits next_key)
{
    search->phase = ORDER_DONE;
    search->key = order_key_of(entry);
    search->place = order_place_of(entry);
    search->next_key = next_key;
}

/*
 * Takes the sample's entries around the wanted rank as the bracket. The margin shrinks with the
 * number of leaves rather than of elements: neighbouring values are alike, leaves differ. A missed
 * bracket costs a round and no exactness.
 */
static inline void order_after_sample(order_search *search, const order_part *part, uint64_t room)
{
    const uint64_t inside = part->found->inside;
    const double looked_at = (double)part->found->looked_at, last = (double)inside - 1;
    const double share = looked_at / (double)search->count;
    const double margin = 0.1 * sqrt(looked_at * MC_LEAF * (double)search->columns);
    const double wanted = (double)search->rank * share - (double)part->found->below;
    if (search->rank < 0 || wanted + margin < 0 || wanted - margin > last ||
        inside > search->room) {
        order_set_bracket(search, 0, ORDER_LAST_ENTRY, 1, 0);
        return;
    }
    order_entry first, end;
    const uint64_t low = wanted > margin ? (uint64_t)(wanted - margin) : 0;
    const uint64_t high = wanted + margin < last ? (uint64_t)(wanted + margin) : inside - 1;
    const uint64_t between = order_select_two(search, part, low, high, &first, &end);
    first = wanted > margin ? first : search->first;
    end = wanted + margin < last ? end : search->first + search->span;
    const double listed = 1.25 * (double)between / share /
                          (double)order_next_stride(search->stride);
    order_set_bracket(search, first, end, (uint64_t)listed + ORDER_SPARE, room);
}

/*
 * The bin of the wanted rank becomes the next bracket, unless it holds one key only, and so does
 * that of the next rank, if that matters.
 */
static inline void order_after_count(order_search *search, const order_part *part, uint64_t rank,
                                     uint64_t room)
{
    const order_bin *const bins = part->bins;
    const unsigned shift = order_shift(search->span, ORDER_BIN_BITS);
    const order_entry width = (order_entry)1 << shift;
    size_t bin = 0;
    for (; rank >= bins[bin].count; bin++)
        rank -= bins[bin].count;
    const order_entry offset = (order_entry)bin * width, left = search->span - offset;
    size_t next = search->fraction > 0 && rank + 1 == bins[bin].count ? bin + 1 : bin;
    while (next < ORDER_BINS && bins[next].count == 0)
        next++;
    const bool listed = next < ORDER_BINS;
    if (((bins[bin].bits | (listed ? bins[next].bits : 0)) & (width - 1)) == 0)
        order_set_done(search, search->first + offset,
                       listed ? order_key_of(search->first + (order_entry)next * width)
                              : order_key_above(part->found));
    else
        order_set_bracket(search, search->first + offset,
                          search->first + offset + (left < width - 1 ? left : width - 1),
                          bins[bin].count, room);
}

static inline void order_after_list(order_search *search, const order_part *part, uint64_t rank)
{
    const bool next_listed = search->fraction > 0 && rank + 1 < part->found->inside;
    order_entry low, high;
    order_select_two(search, part, rank, rank + next_listed, &low, &high);
    order_set_done(search, low,
                   search->fraction > 0 && !next_listed ? order_key_above(part->found)
                                                        : order_key_of(high));
}

/* A bracket that missed the rank is followed by one on the side where that lies. */
static inline void order_next_one(order_search *search, const order_part *part, uint64_t room)
{
    const uint64_t below = part->found->below, inside = part->found->inside;
    const uint64_t rank = (uint64_t)search->rank;
    const order_entry last = search->first + search->span;
    if (search->stride > 1) {
        order_after_sample(search, part, room);
    } else if (search->rank < 0) {
        search->none = true;
        search->phase = ORDER_DONE;
    } else if (rank < below) {
        order_set_bracket(search, 0, search->first - 1, below, room);
    } else if (rank >= below + inside) {
        order_set_bracket(search, last + 1, ORDER_LAST_ENTRY, search->count - below - inside, room);
    } else if (search->phase == ORDER_COUNT) {
        order_after_count(search, part, rank - below, room);
    } else if (inside > search->room) {
        order_set_bracket(search, search->first, last, inside, room);
    } else {
        order_after_list(search, part, rank - below);
    }
}

/* Digests a round for the ranks that searches look for. When order_done, all have their result. */
static inline void order_next(order_search *searches, size_t count, const void *total)
{
    order_part part = order_part_of(searches, count, 0, total);
    bool samples = true;
    for (size_t s = 0; s < count; s++) {
        order_search *const search = &searches[s];
        const uint64_t most = ORDER_LIST_TOTAL / count;
        /* Where the next one's part is depends on this one's phase. */
        const order_part after = {part.found + 1,
                                  part.bins + order_bins_size(search) / sizeof *part.bins,
                                  part.list + order_list_size(search) / sizeof *part.list};
        if (search->phase != ORDER_DONE)
            order_next_one(search, &part, search->count < most ? search->count : most);
        samples &= search->phase != ORDER_COUNT;
        part = after;
    }
    /* A search that counts ends the samples of all, as they look at the same leaves. */
    for (size_t s = 0; s < count; s++)
        searches[s].stride = samples ? order_next_stride(searches[s].stride) : 1;
}

#endif
