/*
 * Order statistics of a tensor, exact and without sorting it: which element has rank r when
 * elements are ordered by a key, the lower flat index counting as the larger of equal keys. "Keep
 * the k largest" is then everything from rank n − k on, always k elements, whatever ties there are.
 *
 * Keys are the bits of magnitudes: reals of one sign are ordered as their bits are. A search
 * narrows a bracket of keys in rounds:
 *
 *     SAMPLE  counts the keys of some leaves by bins: where the wanted key very likely lies
 *     LIST    lists the keys of the bracket with their places, and counts those below
 *     COUNT   counts the keys of the bracket by bins, where a list would be too long
 *     PLACES  counts the places of a key that more elements share than a list has room for
 *     DONE
 *
 * As a rule that is SAMPLE, LIST, DONE, so that the tensor is read once. Several searches, such as
 * one per model, run side by side. Everything counted is exact in any order.
 */
#ifndef MC_METHODS_MERGEKIT_RANKS_H
#define MC_METHODS_MERGEKIT_RANKS_H

#include <mergecraft/method.h>

/* Magnitudes, NaN above infinity. */
#define RANK_KEY_LIMIT MC_TOP_BIT

enum {
    RANK_BINS = 65536,
    RANK_SMALL = 65536,        /* elements of a tensor that is listed at once */
    RANK_LIST_TOTAL = 1 << 21, /* entries that the lists of all searches have room for at most */
    RANK_SAMPLED_LEAVES = 64,  /* a sample has at least as many … */
    RANK_LARGEST_STRIDE = 16   /* … and at least one leaf in as many */
};

typedef enum rank_phase { RANK_SAMPLE, RANK_LIST, RANK_COUNT, RANK_PLACES, RANK_DONE } rank_phase;

/* One search; the result is valid in RANK_DONE. */
typedef struct rank_search {
    rank_phase phase;
    bool none;                        /* no rank was wanted */
    mc_bits first, span;              /* keys first … first + span are looked at */
    uint64_t room;                    /* entries of the list */
    uint64_t first_place, last_place; /* RANK_PLACES: those of `key` that are looked at … */
    uint64_t nth;                     /* … and which of them is wanted, from 0 */
    mc_bits key;    /* the result: of two elements the larger has the larger … */
    uint64_t place; /* … key, or the same and a place up to this one */
} rank_search;

/* What a method looks for. */
typedef struct rank_selection {
    size_t (*searches)(const mc_layer *layer);
    /* Writes the keys of elements start … start + count − 1 (count ≤ MC_TILE_BLOCK). */
    void (*keys)(const mc_layer *layer, size_t search, size_t start, size_t count, mc_bits *keys);
    /* The wanted rank of a search, of a tensor with so many zero keys; negative: none is. */
    int64_t (*rank)(const mc_layer *layer, size_t search, int64_t zeros);
} rank_selection;

typedef struct rank_entry {
    uint64_t place;
    mc_bits key;
} rank_entry;

/* What a round finds for one search. */
typedef struct rank_found {
    uint64_t looked_at, zeros, below, inside;
} rank_found;

/* ---- layout ---------------------------------------------------------------------------------- */
/*
 * A partial result: the findings of all searches, then the bins of those that count, then the lists
 * of those that list. Lists need not be zero at first, so that their memory is not touched.
 */
static inline bool rank_has_bins(const rank_search *search)
{
    return search->phase != RANK_LIST && search->phase != RANK_DONE;
}

static inline size_t rank_zeros(const rank_search *searches, size_t count)
{
    size_t size = count * sizeof(rank_found);
    for (size_t s = 0; s < count; s++)
        size += rank_has_bins(&searches[s]) ? RANK_BINS * sizeof(uint64_t) : 0;
    return size;
}

static inline size_t rank_list_size(const rank_search *search)
{
    return search->phase == RANK_LIST ? (size_t)search->room * sizeof(rank_entry) : 0;
}

static inline size_t rank_partial_size(const rank_search *searches, size_t count)
{
    size_t size = rank_zeros(searches, count);
    for (size_t s = 0; s < count; s++)
        size += rank_list_size(&searches[s]);
    return size;
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
    char *const start = partial;
    char *bins = start + count * sizeof(rank_found), *list = start + rank_zeros(searches, count);
    for (size_t before = 0; before < s; before++) {
        bins += rank_has_bins(&searches[before]) ? RANK_BINS * sizeof(uint64_t) : 0;
        list += rank_list_size(&searches[before]);
    }
    return (rank_part){(rank_found *)partial + s, (uint64_t *)(void *)bins,
                       (rank_entry *)(void *)list};
}

/* How far right a distance is shifted to give one of RANK_BINS. */
static inline unsigned rank_shift(uint64_t span)
{
    unsigned shift = 0;
    while (span >> shift >= RANK_BINS)
        shift++;
    return shift;
}

/* ---- a round --------------------------------------------------------------------------------- */
/* Every how many leaves a sample looks at one; 1: the tensor is too small for a sample. */
static inline int64_t rank_sample_stride(const mc_layer *layer)
{
    const int64_t wanted = layer->size / MC_LEAF / RANK_SAMPLED_LEAVES;
    if (wanted < 2)
        return 1;
    /* An odd stride does not walk in step with rows. */
    return (wanted < RANK_LARGEST_STRIDE ? wanted : RANK_LARGEST_STRIDE) | 1;
}

static inline uint64_t rank_list_room(const mc_layer *layer, size_t searches)
{
    const uint64_t most = RANK_LIST_TOTAL / searches, size = (uint64_t)layer->size;
    return size < most ? size : most;
}

/* Starts the searches of a method: what `begin` of its statistics does. */
static inline void rank_begin(const mc_layer *layer, const rank_selection *selection,
                              rank_search *searches)
{
    const size_t count = selection->searches(layer);
    const bool small = layer->size <= RANK_SMALL &&
                       (uint64_t)layer->size <= rank_list_room(layer, count);
    for (size_t s = 0; s < count; s++) {
        rank_search *const search = &searches[s];
        const bool none = layer->size == 0 || (selection->rank(layer, s, 0) < 0 &&
                                               selection->rank(layer, s, layer->size) < 0);
        *search = (rank_search){.none = none, .span = RANK_KEY_LIMIT - 1};
        search->phase = none                            ? RANK_DONE
                        : small                         ? RANK_LIST
                        : rank_sample_stride(layer) > 1 ? RANK_SAMPLE
                                                        : RANK_COUNT;
        search->room = small ? (uint64_t)layer->size : 0;
    }
}

static inline int64_t rank_stride(const mc_layer *layer, const rank_search *searches, size_t count)
{
    for (size_t s = 0; s < count; s++)
        if (searches[s].phase == RANK_SAMPLE)
            return rank_sample_stride(layer);
    return 1;
}

static inline bool rank_done(const rank_search *searches, size_t count)
{
    size_t done = 0;
    for (size_t s = 0; s < count; s++)
        done += searches[s].phase == RANK_DONE;
    return done == count;
}

/* Which keys of a block are inside the bracket (a byte each); how many are below it, or zero. */
MC_PASS void rank_classify(const rank_search *search, const mc_bits *keys, unsigned char *inside,
                           rank_found *found, size_t count)
{
    const mc_bits first = search->first, span = search->span;
    mc_bits below = 0, zeros = 0;
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        inside[i] = keys[i] - first <= span;
        below += keys[i] < first;
        zeros += keys[i] == 0;
    }
    found->below += below;
    found->zeros += zeros;
    found->looked_at += count;
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

/* Counts by bins: the bracket's keys, or the places of those that have its one key. */
static inline void rank_count_block(const rank_search *search, const mc_bits *keys, uint64_t place,
                                    const uint16_t *numbers, size_t count, uint64_t *bins)
{
    const bool places = search->phase == RANK_PLACES;
    const uint64_t first = places ? search->first_place : search->first;
    const uint64_t span = places ? search->last_place - first : search->span;
    const unsigned shift = rank_shift(span);
    for (size_t i = 0; i < count; i++) {
        const uint64_t at = (places ? place + numbers[i] : (uint64_t)keys[numbers[i]]) - first;
        if (at <= span)
            bins[at >> shift]++;
    }
}

static inline void rank_add_block(const rank_search *search, const mc_bits *keys, uint64_t place,
                                  size_t count, const rank_part *part)
{
    unsigned char inside[MC_TILE_BLOCK] = {0};
    uint16_t numbers[MC_TILE_BLOCK + 8];
    rank_classify(search, keys, inside, part->found, count);
    const size_t collected = rank_collect(inside, numbers);
    uint64_t *const listed = &part->found->inside;
    if (search->phase != RANK_LIST)
        rank_count_block(search, keys, place, numbers, collected, part->bins);
    else
        for (size_t i = 0; i < collected && *listed + i < search->room; i++)
            part->list[*listed + i] = (rank_entry){place + numbers[i], keys[numbers[i]]};
    *listed += collected;
}

static inline void rank_accumulate(const mc_layer *layer, const rank_selection *selection,
                                   const rank_search *searches, void *partial)
{
    const size_t count = selection->searches(layer);
    for (size_t s = 0; s < count; s++) {
        if (searches[s].phase == RANK_DONE)
            continue;
        const rank_part part = rank_part_of(searches, count, s, partial);
        for (size_t start = 0; start < layer->count; start += MC_TILE_BLOCK) {
            const size_t length = mc_tile_block(start, layer->count);
            mc_bits keys[MC_TILE_BLOCK];
            selection->keys(layer, s, start, length, keys);
            rank_add_block(&searches[s], keys, (uint64_t)layer->first + start, length, &part);
        }
    }
}

static inline void rank_combine_one(const rank_search *search, const rank_part *all,
                                    const rank_part *more)
{
    if (search->phase == RANK_LIST) {
        const uint64_t inside = more->found->inside, start = all->found->inside;
        for (uint64_t i = 0; i < inside && start + i < search->room; i++)
            all->list[start + i] = more->list[i];
    } else if (rank_has_bins(search)) {
        for (size_t i = 0; i < RANK_BINS; i++)
            all->bins[i] += more->bins[i];
    }
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
/* The bin that holds rank `rank` of what was counted, which becomes its rank in the bin. */
static inline size_t rank_bin_of(const uint64_t *bins, uint64_t *rank)
{
    size_t i = 0;
    for (; i + 1 < RANK_BINS && *rank >= bins[i]; i++)
        *rank -= bins[i];
    return i;
}

/* Order of entries: by key, the lower place counting as the larger. */
static inline bool rank_less(const rank_entry *a, const rank_entry *b)
{
    return a->key < b->key || (a->key == b->key && a->place > b->place);
}

/* The entry of rank `rank` (Hoare's selection); the entries are moved about. */
static inline rank_entry rank_select(rank_entry *entries, uint64_t count, uint64_t rank)
{
    int64_t low = 0, high = (int64_t)count - 1;
    while (low < high) {
        const rank_entry pivot = entries[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (rank_less(&entries[i], &pivot))
                i++;
            while (rank_less(&pivot, &entries[j]))
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

static inline void rank_set_done(rank_search *search, mc_bits key, uint64_t place)
{
    search->phase = RANK_DONE;
    search->key = key;
    search->place = place;
}

/*
 * Sets the bracket of the next round, of which `expected` keys are expected. It lists them if there
 * is room, and counts them by bins otherwise.
 */
static inline void rank_set_bracket(rank_search *search, mc_bits first, mc_bits last,
                                    uint64_t expected, uint64_t room)
{
    search->first = first;
    search->span = last - first;
    search->phase = expected <= room ? RANK_LIST : RANK_COUNT;
    search->room = expected <= room ? expected : 0;
}

/*
 * Takes the sample's keys around the wanted rank as the bracket. The margin shrinks with the number
 * of leaves rather than of keys: neighbouring values are alike, leaves differ. If a list of them
 * would be too long, another sample looks at them more closely, once.
 */
static inline void rank_after_sample(const mc_layer *layer, rank_search *search,
                                     const rank_part *part, int64_t rank, uint64_t room)
{
    const double looked_at = (double)part->found->looked_at;
    const double share = looked_at / (double)layer->size;
    const double margin = 0.1 * sqrt(looked_at * MC_LEAF);
    const double wanted = (double)rank * share - (double)part->found->below;
    const double last = (double)part->found->inside - 1;
    const bool whole = search->first == 0 && search->span == RANK_KEY_LIMIT - 1;
    if (rank < 0 || last < 0 || wanted + margin < 0 || wanted - margin > last) {
        rank_set_bracket(search, 0, RANK_KEY_LIMIT - 1, UINT64_MAX, room);
        return;
    }
    const unsigned shift = rank_shift(search->span);
    uint64_t low = wanted > margin ? (uint64_t)(wanted - margin) : 0;
    uint64_t high = wanted + margin < last ? (uint64_t)(wanted + margin) : (uint64_t)last;
    const uint64_t first = wanted > margin ? rank_bin_of(part->bins, &low) : 0;
    const uint64_t end = wanted + margin < last ? rank_bin_of(part->bins, &high)
                                                : (uint64_t)search->span >> shift;
    uint64_t inside = 0;
    for (uint64_t i = first; i <= end; i++)
        inside += part->bins[i];
    const uint64_t expected = (uint64_t)(1.25 * (double)inside / share) + RANK_SMALL;
    const mc_bits start = search->first;
    rank_set_bracket(search, start + (mc_bits)(first << shift),
                     start + (mc_bits)(((end + 1) << shift) - 1), expected, room);
    if (search->phase == RANK_COUNT && whole)
        search->phase = RANK_SAMPLE;
}

/*
 * Begins the search for the place among the elements that share the key; `below` of them rank
 * lower.
 */
static inline void rank_find_place(const mc_layer *layer, rank_search *search, mc_bits key,
                                   uint64_t sharing, uint64_t below)
{
    rank_set_done(search, key, UINT64_MAX);
    if (below == 0 || key == 0) /* all of them count, or none matters: they are zeros */
        return;
    search->phase = RANK_PLACES;
    search->first = key;
    search->span = 0;
    search->first_place = 0;
    search->last_place = (uint64_t)layer->size - 1;
    search->nth = sharing - 1 - below;
}

static inline void rank_after_count(const mc_layer *layer, rank_search *search,
                                    const uint64_t *bins, uint64_t rank, uint64_t room)
{
    const unsigned shift = rank_shift(search->span);
    const size_t bin = rank_bin_of(bins, &rank);
    const mc_bits first = search->first + (mc_bits)((uint64_t)bin << shift);
    if (shift == 0)
        rank_find_place(layer, search, first, bins[bin], rank);
    else
        rank_set_bracket(search, first, first + (mc_bits)(((uint64_t)1 << shift) - 1), bins[bin],
                         room);
}

static inline void rank_after_places(rank_search *search, const uint64_t *bins)
{
    const unsigned shift = rank_shift(search->last_place - search->first_place);
    const uint64_t bin = rank_bin_of(bins, &search->nth);
    search->first_place += bin << shift;
    search->last_place = search->first_place + ((uint64_t)1 << shift) - 1;
    if (shift == 0)
        rank_set_done(search, search->key, search->first_place);
}

static inline void rank_next_one(const mc_layer *layer, rank_search *search, const rank_part *part,
                                 int64_t rank, uint64_t room)
{
    const uint64_t below = part->found->below, inside = part->found->inside;
    if (search->phase == RANK_SAMPLE) {
        rank_after_sample(layer, search, part, rank, room);
    } else if (search->phase == RANK_PLACES) {
        rank_after_places(search, part->bins);
    } else if (rank < 0) {
        search->none = true;
        search->phase = RANK_DONE;
    } else if ((uint64_t)rank < below || (uint64_t)rank >= below + inside) {
        rank_set_bracket(search, 0, RANK_KEY_LIMIT - 1, UINT64_MAX, room); /* missed */
    } else if (search->phase == RANK_COUNT) {
        rank_after_count(layer, search, part->bins, (uint64_t)rank - below, room);
    } else if (inside > search->room) {
        search->phase = RANK_COUNT;
    } else {
        const rank_entry entry = rank_select(part->list, inside, (uint64_t)rank - below);
        rank_set_done(search, entry.key, entry.place);
    }
}

/* How many keys are zero, or seem to be by a sample. */
static inline int64_t rank_zero_keys(const mc_layer *layer, const rank_search *search,
                                     const rank_found *found)
{
    if (search->phase != RANK_SAMPLE || found->looked_at == 0)
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
    for (size_t s = 0; s < count; s++) {
        rank_search *const search = &searches[s];
        /* Where the next one's part is depends on this one's phase. */
        const rank_part after = {part.found + 1,
                                 part.bins + (rank_has_bins(search) ? RANK_BINS : 0),
                                 part.list + rank_list_size(search) / sizeof(rank_entry)};
        if (search->phase != RANK_DONE)
            rank_next_one(layer, search, &part,
                          selection->rank(layer, s, rank_zero_keys(layer, search, part.found)),
                          room);
        part = after;
    }
}

/* How many elements from `place` have a place up to that of the search's result. */
static inline mc_bits rank_places(const rank_search *search, uint64_t place, size_t count)
{
    if (search->place < place)
        return 0;
    return search->place - place < count ? (mc_bits)(search->place - place + 1) : (mc_bits)count;
}

#endif
