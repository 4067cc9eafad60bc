/*
 * Exact order statistics of a tensor without sorting it: finds the element of rank r when elements
 * are ordered by a key. Of equal keys, the lower flat index counts as the larger. "Keep the k
 * largest" then selects everything from rank n − k on: always k elements, also with ties.
 *
 * Keys are the bits of magnitudes: reals of one sign have the order of their bits. A key followed
 * by the element's place is one integer, an *entry*, and all entries differ. Differences of
 * bfloat16 weights take few values, so a bracket may have to end among elements that share a key. A
 * search narrows a bracket of entries in rounds:
 *
 *     LIST   lists the entries of the bracket, and counts those below
 *     COUNT  counts the bracket's entries by bins, where a list would be too long
 *     DONE
 *
 * The first rounds sample some leaves to predict the bracket. The next round usually is the last,
 * so the tensor is read about once. Several searches, such as one per model, run side by side on
 * the same leaves. Counts are integers, so their order of summation does not matter.
 */
#ifndef MC_METHODS_MERGEKIT_RANKS_H
#define MC_METHODS_MERGEKIT_RANKS_H

#include <mergecraft/method.h>

/* Magnitudes, NaN above infinity. */
#define RANK_KEY_LIMIT MC_TOP_BIT

/* A key (one bit less than a real has) and, inverted, a place below it. */
#ifdef MC_REAL_IS_DOUBLE
__extension__ typedef unsigned __int128 rank_entry;
#define RANK_PLACE_BITS 63
#else
typedef uint64_t rank_entry;
#define RANK_PLACE_BITS 33
#endif
#define RANK_LAST_PLACE (UINT64_MAX >> (64 - RANK_PLACE_BITS))
#define RANK_ALL ((((rank_entry)RANK_KEY_LIMIT) << RANK_PLACE_BITS) - 1)

enum {
    RANK_BINS = 65536,
    RANK_DIGIT_BITS = 12,      /* of an entry, per step of a search in a list */
    RANK_SMALL = 1 << 19,      /* elements of a tensor that is listed at once */
    RANK_SPARE = 4096,         /* entries that a list has room for beyond the expected number */
    RANK_LIST_TOTAL = 1 << 23, /* the most entries that the lists of all searches hold */
    RANK_SAMPLED_LEAVES = 64,  /* leaves of the first sample */
    RANK_STRIDE =
        17 /* the second sample takes one leaf in 17: odd, so that it is not in step with rows */
};

typedef enum rank_phase { RANK_LIST, RANK_COUNT, RANK_DONE } rank_phase;

/* One search; the result is valid in RANK_DONE. */
typedef struct rank_search {
    rank_phase phase;
    bool none;              /* no rank was wanted */
    int64_t stride;         /* one leaf in this many is read */
    rank_entry first, span; /* entries first … first + span are searched */
    uint64_t room;          /* entries of the list */
    mc_bits key;            /* the result: the key of the wanted element … */
    uint64_t place;         /* … and its place; of equal keys, lower places are larger */
} rank_search;

/* What a method looks for. */
typedef struct rank_selection {
    size_t (*searches)(const mc_layer *layer);
    size_t sharing; /* number of consecutive searches that use the same keys */
    bool by_zeros;  /* the wanted rank depends on the number of zero keys, which are counted */
    /*
     * Writes the keys of the search `column` · sharing, and of those that share them, of elements
     * start … start + count − 1 (count ≤ MC_TILE_BLOCK).
     */
    void (*keys)(const mc_layer *layer, size_t column, size_t start, size_t count, mc_bits *keys);
    /* The wanted rank of a search, given the number of zero keys; negative: none. */
    int64_t (*rank)(const mc_layer *layer, size_t search, int64_t zeros);
} rank_selection;

/* What a round finds for one search. */
typedef struct rank_found {
    uint64_t looked_at, zeros, below, inside;
} rank_found;

static inline rank_entry rank_entry_of(mc_bits key, uint64_t place)
{
    return (rank_entry)key << RANK_PLACE_BITS | (RANK_LAST_PLACE - place);
}

static inline mc_bits rank_key_of(rank_entry entry)
{
    return (mc_bits)(entry >> RANK_PLACE_BITS);
}

static inline uint64_t rank_place_of(rank_entry entry)
{
    return RANK_LAST_PLACE - ((uint64_t)entry & RANK_LAST_PLACE);
}

/* ---- layout ---------------------------------------------------------------------------------- */
/*
 * A partial result: the findings of all searches, then the bins of those that count, then the lists
 * of those that list. Lists need not be zero at first, so that their memory is not touched.
 */
static inline size_t rank_bins_size(const rank_search *search)
{
    return search->phase == RANK_COUNT ? RANK_BINS * sizeof(uint64_t) : 0;
}

static inline size_t rank_list_size(const rank_search *search)
{
    return search->phase == RANK_LIST ? (size_t)search->room * sizeof(rank_entry) : 0;
}

/*
 * The sizes of all searches' bins, and of all lists. One loop for both sums is what GCC 14
 * miscompiles for AVX-512.
 */
static inline size_t rank_bins_sizes(const rank_search *searches, size_t count)
{
    size_t size = 0;
    for (size_t s = 0; s < count; s++)
        size += rank_bins_size(&searches[s]);
    return size;
}

static inline size_t rank_list_sizes(const rank_search *searches, size_t count)
{
    size_t size = 0;
    for (size_t s = 0; s < count; s++)
        size += rank_list_size(&searches[s]);
    return size;
}

static inline size_t rank_zeros(const rank_search *searches, size_t count)
{
    return count * sizeof(rank_found) + rank_bins_sizes(searches, count);
}

static inline size_t rank_partial_size(const rank_search *searches, size_t count)
{
    return rank_zeros(searches, count) + rank_list_sizes(searches, count);
}

/* One search's part of a partial result. */
typedef struct rank_part {
    rank_found *found;
    uint64_t *bins;
    rank_entry *list;
} rank_part;

static inline rank_part rank_part_of(const rank_search *searches, size_t count, size_t s,
                                     void *partial)
{
    char *const bins = (char *)((rank_found *)partial + count) + rank_bins_sizes(searches, s);
    char *const list = (char *)partial + rank_zeros(searches, count) + rank_list_sizes(searches, s);
    return (rank_part){(rank_found *)partial + s, (uint64_t *)(void *)bins,
                       (rank_entry *)(void *)list};
}

/* How far right a distance is shifted to give one of 2^bits. */
static inline unsigned rank_shift(rank_entry span, unsigned bits)
{
    unsigned shift = 0;
    while (span >> shift >> bits != 0)
        shift++;
    return shift;
}

/* ---- a round --------------------------------------------------------------------------------- */
/* The next round's stride. */
static inline int64_t rank_next_stride(int64_t stride)
{
    return stride > RANK_STRIDE ? RANK_STRIDE : 1;
}

/*
 * The first round's stride. The first of two samples is worth its time where the second would fill
 * long lists without it. A tensor without enough leaves is listed or counted as a whole.
 */
static inline int64_t rank_first_stride(const mc_layer *layer)
{
    const int64_t leaves = layer->size / MC_LEAF, wanted = leaves / RANK_SAMPLED_LEAVES | 1;
    if (layer->size <= RANK_SMALL)
        return 1;
    return wanted > RANK_STRIDE && wanted < 2 * RANK_STRIDE ? RANK_STRIDE : wanted;
}

static inline uint64_t rank_list_room(const mc_layer *layer, size_t searches)
{
    const uint64_t most = RANK_LIST_TOTAL / searches, size = (uint64_t)layer->size;
    return size < most ? size : most;
}

/*
 * Sets the bracket of the next round, of which `expected` entries are expected. It lists them if
 * there is room, and counts them by bins otherwise.
 */
static inline void rank_set_bracket(rank_search *search, rank_entry first, rank_entry last,
                                    uint64_t expected, uint64_t room)
{
    search->first = first;
    search->span = last - first;
    search->phase = expected <= room ? RANK_LIST : RANK_COUNT;
    search->room = expected <= room ? expected : 0;
}

/* Starts the searches of a method: what `begin` of its statistics does. */
static inline void rank_begin(const mc_layer *layer, const rank_selection *selection,
                              rank_search *searches)
{
    const size_t count = selection->searches(layer);
    const int64_t stride = rank_first_stride(layer);
    const int64_t sampled = (layer->size / MC_LEAF / stride + 1) * MC_LEAF;
    const int64_t expected = layer->size < sampled ? layer->size : sampled;
    for (size_t s = 0; s < count; s++) {
        rank_search *const search = &searches[s];
        const bool none = layer->size == 0 || (selection->rank(layer, s, 0) < 0 &&
                                               selection->rank(layer, s, layer->size) < 0);
        *search = (rank_search){.none = none, .stride = stride};
        rank_set_bracket(search, 0, RANK_ALL, (uint64_t)expected, rank_list_room(layer, count));
        search->phase = none ? RANK_DONE : search->phase;
        if (search->phase == RANK_COUNT) /* a sample is listed */
            search->stride = 1;
    }
}

static inline int64_t rank_stride(const rank_search *searches, size_t count)
{
    for (size_t s = 0; s < count; s++)
        if (searches[s].phase != RANK_DONE)
            return searches[s].stride;
    return 1;
}

static inline bool rank_done(const rank_search *searches, size_t count)
{
    size_t done = 0;
    for (size_t s = 0; s < count; s++)
        done += searches[s].phase == RANK_DONE;
    return done == count;
}

/* How many of `count` elements from `place` on have a place below `end`. */
static inline size_t rank_places_below(uint64_t end, uint64_t place, size_t count)
{
    if (end <= place)
        return 0;
    return end - place < count ? (size_t)(end - place) : count;
}

/*
 * Which keys of a run of elements are first … first + span (a byte each); how many are below. The
 * span is one more than the distance.
 */
MC_PASS mc_bits rank_classify(const mc_bits *keys, mc_bits first, mc_bits end,
                              unsigned char *inside, size_t count)
{
    const mc_bits span = end - first;
    mc_bits below = 0;
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        inside[i] = keys[i] - first < span;
        below += keys[i] < first;
    }
    return below;
}

MC_PASS mc_bits rank_count_zeros(const mc_bits *keys, size_t count)
{
    mc_bits zeros = 0;
    for (size_t i = 0; i < count; i++)
        zeros += keys[i] == 0;
    return zeros;
}

/*
 * The same by entries. Only at one place of the tensor does the answer for the first key, or the
 * last, change: a block is cut there, and keys decide in the parts.
 */
static inline void rank_find_inside(const rank_search *search, const mc_bits *keys, uint64_t place,
                                    size_t count, unsigned char *inside, rank_found *found)
{
    const rank_entry last = search->first + search->span;
    const mc_bits first_key = rank_key_of(search->first), last_key = rank_key_of(last);
    const size_t first_places = rank_places_below(rank_place_of(search->first) + 1, place, count);
    const size_t last_places = rank_places_below(rank_place_of(last), place, count);
    for (size_t from = 0, to; from < count; from = to) {
        to = from < first_places ? first_places : count;
        to = from < last_places && last_places < to ? last_places : to;
        found->below += rank_classify(keys + from, first_key + (from >= first_places),
                                      last_key + (from >= last_places), inside + from, to - from);
    }
}

/*
 * Numbers of the elements that are inside. Few are, at places that no branch could foresee: so
 * first the groups of eight with any are listed, then their members, without a branch.
 */
static inline size_t rank_collect(const unsigned char inside[MC_TILE_BLOCK],
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

static inline void rank_add_block(const rank_search *search, const mc_bits *keys, uint64_t place,
                                  size_t count, const rank_part *part)
{
    unsigned char inside[MC_TILE_BLOCK];
    uint16_t numbers[MC_TILE_BLOCK + 8];
    memset(inside + count, 0, sizeof inside - count);
    rank_find_inside(search, keys, place, count, inside, part->found);
    const size_t collected = rank_collect(inside, numbers);
    const uint64_t listed = part->found->inside;
    const unsigned shift = rank_shift(search->span, 16);
    for (size_t i = 0; i < collected; i++) {
        const rank_entry entry = rank_entry_of(keys[numbers[i]], place + numbers[i]);
        if (search->phase == RANK_COUNT)
            part->bins[(size_t)((entry - search->first) >> shift)]++;
        else if (listed + i < search->room)
            part->list[listed + i] = entry;
    }
    part->found->inside += collected;
    part->found->looked_at += count;
}

/* Adds a tile to the searches from `column` · sharing on, whose keys are the same. */
static inline void rank_accumulate_column(const mc_layer *layer, const rank_selection *selection,
                                          const rank_search *searches, size_t column, void *partial)
{
    enum { MOST_SHARING = 3 };
    const size_t begin = column * selection->sharing;
    rank_part parts[MOST_SHARING];
    for (size_t s = 0; s < selection->sharing; s++)
        parts[s] = rank_part_of(searches, selection->searches(layer), begin + s, partial);
    for (size_t start = 0; start < layer->count; start += MC_TILE_BLOCK) {
        const size_t length = mc_tile_block(start, layer->count);
        mc_bits keys[MC_TILE_BLOCK];
        selection->keys(layer, column, start, length, keys);
        for (size_t s = 0; s < selection->sharing; s++) {
            if (searches[begin + s].phase == RANK_DONE)
                continue;
            rank_add_block(&searches[begin + s], keys, (uint64_t)layer->first + start, length,
                           &parts[s]);
            if (selection->by_zeros)
                parts[s].found->zeros += rank_count_zeros(keys, length);
        }
    }
}

static inline mc_status rank_accumulate(const mc_layer *layer, const rank_selection *selection,
                                        const rank_search *searches, void *partial)
{
    const size_t sharing = selection->sharing, columns = selection->searches(layer) / sharing;
    if ((uint64_t)layer->size > RANK_LAST_PLACE)
        return mc_fail(layer->error, MC_UNSUPPORTED, "expected at most %llu elements, found %lld",
                       (unsigned long long)RANK_LAST_PLACE, (long long)layer->size);
    for (size_t c = 0; c < columns; c++)
        if (!rank_done(searches + c * sharing, sharing))
            rank_accumulate_column(layer, selection, searches, c, partial);
    return MC_OK;
}

static inline void rank_combine_one(const rank_search *search, const rank_part *all,
                                    const rank_part *more)
{
    const uint64_t inside = more->found->inside, start = all->found->inside;
    if (search->phase == RANK_COUNT)
        for (size_t i = 0; i < RANK_BINS; i++)
            all->bins[i] += more->bins[i];
    else if (search->phase == RANK_LIST && start < search->room)
        memcpy(all->list + start, more->list,
               (size_t)(inside < search->room - start ? inside : search->room - start) *
                   sizeof *all->list);
    all->found->looked_at += more->found->looked_at;
    all->found->zeros += more->found->zeros;
    all->found->below += more->found->below;
    all->found->inside += more->found->inside;
}

static inline void rank_combine(const rank_search *searches, size_t count, void *into,
                                const void *from)
{
    for (size_t s = 0; s < count; s++) {
        const rank_part all = rank_part_of(searches, count, s, into);
        const rank_part more = rank_part_of(searches, count, s, (void *)(uintptr_t)from);
        rank_combine_one(&searches[s], &all, &more);
    }
}

/* ---- what a round leads to ------------------------------------------------------------------- */
/* Entries of a list: all lie in first … first + span. */
typedef struct rank_list {
    rank_entry *entries;
    uint64_t count;
    rank_entry first, span;
} rank_list;

/* The bin that holds rank `rank` of what was counted, which becomes its rank in the bin. */
static inline size_t rank_bin_of(const uint64_t *bins, size_t count, uint64_t *rank)
{
    size_t i = 0;
    for (; i + 1 < count && *rank >= bins[i]; i++)
        *rank -= bins[i];
    return i;
}

/* Leaves in the list the bins that hold the ranks `low` and `high`, and all between. */
static inline void rank_narrow(rank_list *list, uint64_t *low, uint64_t *high)
{
    uint64_t bins[1 << RANK_DIGIT_BITS] = {0}, kept = 0;
    const size_t bin_count = sizeof bins / sizeof *bins;
    const unsigned shift = rank_shift(list->span, RANK_DIGIT_BITS);
    const uint64_t distance = *high - *low;
    for (uint64_t i = 0; i < list->count; i++)
        bins[(size_t)((list->entries[i] - list->first) >> shift)]++;
    const rank_entry begin = rank_bin_of(bins, bin_count, low);
    const rank_entry end = rank_bin_of(bins, bin_count, high);
    list->first += begin << shift;
    list->span = ((end - begin + 1) << shift) - 1;
    *high = *low + distance;
    for (uint64_t i = 0; i < list->count; i++) {
        list->entries[kept] = list->entries[i];
        kept += list->entries[i] - list->first <= list->span;
    }
    list->count = kept;
}

/* The entry of rank `rank` (Hoare's selection); the entries are moved about. */
static inline rank_entry rank_select(rank_entry *entries, uint64_t count, uint64_t rank)
{
    int64_t low = 0, high = (int64_t)count - 1;
    while (low < high) {
        const rank_entry pivot = entries[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (entries[i] < pivot)
                i++;
            while (pivot < entries[j])
                j--;
            if (i <= j) {
                const rank_entry entry = entries[i];
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
 * The entries of two ranks of a list, which is used up. Branches that no predictor foresees make
 * Hoare's selection slow: it gets what is left when counting by digits leaves few, or no longer
 * helps.
 */
static inline void rank_select_two(const rank_search *search, const rank_part *part, uint64_t low,
                                   uint64_t high, rank_entry *low_entry, rank_entry *high_entry)
{
    enum { FEW = 1024 };
    rank_list list = {part->list, part->found->inside, search->first, search->span};
    for (uint64_t before = UINT64_MAX; list.count > FEW && list.count <= before / 2;) {
        before = list.count;
        rank_narrow(&list, &low, &high);
    }
    *low_entry = rank_select(list.entries, list.count, low);
    *high_entry = low == high ? *low_entry : rank_select(list.entries, list.count, high);
}

static inline void rank_set_done(rank_search *search, rank_entry entry)
{
    search->phase = RANK_DONE;
    search->key = rank_key_of(entry);
    search->place = rank_place_of(entry);
}

/* The bracket missed the rank, or is too wide: everything is counted. */
static inline void rank_count_all(rank_search *search)
{
    rank_set_bracket(search, 0, RANK_ALL, 1, 0);
}

/*
 * Takes the sample's entries around the wanted rank as the bracket. The margin shrinks with the
 * number of leaves rather than of elements: neighbouring values are alike, leaves differ.
 */
static inline void rank_after_sample(const mc_layer *layer, rank_search *search,
                                     const rank_part *part, int64_t rank, uint64_t room)
{
    const uint64_t inside = part->found->inside;
    const double looked_at = (double)part->found->looked_at, last = (double)inside - 1;
    const double share = looked_at / (double)layer->size;
    const double margin = 0.1 * sqrt(looked_at * MC_LEAF);
    const double wanted = (double)rank * share - (double)part->found->below;
    if (rank < 0 || wanted + margin < 0 || wanted - margin > last || inside > search->room) {
        rank_count_all(search);
        return;
    }
    rank_entry first, end;
    const uint64_t low = wanted > margin ? (uint64_t)(wanted - margin) : 0;
    const uint64_t high = wanted + margin < last ? (uint64_t)(wanted + margin) : inside - 1;
    rank_select_two(search, part, low, high, &first, &end);
    first = wanted > margin ? first : search->first;
    end = wanted + margin < last ? end : search->first + search->span;
    const double listed = 1.25 * (double)(high - low + 1) / share /
                          (double)rank_next_stride(search->stride);
    rank_set_bracket(search, first, end, (uint64_t)listed + RANK_SPARE, room);
}

static inline void rank_after_count(rank_search *search, const uint64_t *bins, uint64_t rank,
                                    uint64_t room)
{
    const unsigned shift = rank_shift(search->span, 16);
    const size_t bin = rank_bin_of(bins, RANK_BINS, &rank);
    const rank_entry first = search->first + ((rank_entry)bin << shift);
    if (shift == 0)
        rank_set_done(search, first);
    else
        rank_set_bracket(search, first, first + (((rank_entry)1 << shift) - 1), bins[bin], room);
}

static inline void rank_next_one(const mc_layer *layer, rank_search *search, const rank_part *part,
                                 int64_t rank, uint64_t room)
{
    const uint64_t below = part->found->below, inside = part->found->inside;
    if (search->stride > 1) {
        rank_after_sample(layer, search, part, rank, room);
    } else if (rank < 0) {
        search->none = true;
        search->phase = RANK_DONE;
    } else if ((uint64_t)rank < below || (uint64_t)rank >= below + inside) {
        rank_count_all(search);
    } else if (search->phase == RANK_COUNT) {
        rank_after_count(search, part->bins, (uint64_t)rank - below, room);
    } else if (inside > search->room) {
        search->phase = RANK_COUNT;
        search->room = 0;
    } else {
        rank_entry entry;
        rank_select_two(search, part, (uint64_t)rank - below, (uint64_t)rank - below, &entry,
                        &entry);
        rank_set_done(search, entry);
    }
}

/* How many keys are zero, or seem to be by a sample. */
static inline int64_t rank_zero_keys(const mc_layer *layer, const rank_search *search,
                                     const rank_found *found)
{
    if (search->stride == 1 || found->looked_at == 0)
        return (int64_t)found->zeros;
    return (int64_t)((double)found->zeros / (double)found->looked_at * (double)layer->size);
}

/* Digests a round. When rank_done, all searches have their result. */
static inline void rank_next(const mc_layer *layer, const rank_selection *selection,
                             rank_search *searches, const void *total)
{
    const size_t count = selection->searches(layer);
    const uint64_t room = rank_list_room(layer, count);
    char *const partial = (char *)(uintptr_t)total;
    rank_part part = rank_part_of(searches, count, 0, partial);
    bool samples = true;
    for (size_t s = 0; s < count; s++) {
        rank_search *const search = &searches[s];
        /* Where the next one's part is depends on this one's phase. */
        const rank_part after = {part.found + 1,
                                 part.bins + rank_bins_size(search) / sizeof *part.bins,
                                 part.list + rank_list_size(search) / sizeof *part.list};
        if (search->phase != RANK_DONE)
            rank_next_one(layer, search, &part,
                          selection->rank(layer, s, rank_zero_keys(layer, search, part.found)),
                          room);
        samples &= search->phase != RANK_COUNT;
        part = after;
    }
    /* A search that counts ends the samples of all, as they look at the same leaves. */
    for (size_t s = 0; s < count; s++)
        searches[s].stride = samples ? rank_next_stride(searches[s].stride) : 1;
}

/* How many elements from `place` have a place up to that of the search's result. */
static inline mc_bits rank_places(const rank_search *search, uint64_t place, size_t count)
{
    return (mc_bits)rank_places_below(search->place + 1, place, count);
}

#endif
