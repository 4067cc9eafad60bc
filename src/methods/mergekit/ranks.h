/*
 * The elements that methods of mergekit keep: those from an exact rank on, when a tensor's elements
 * are ordered by a key. Of equal keys, the lower flat index counts as the larger. "Keep the k
 * largest" then selects everything from rank n − k on: always k elements, also with ties.
 *
 * Searches are those of order.h; some may share their keys.
 */
#ifndef MC_METHODS_MERGEKIT_RANKS_H
#define MC_METHODS_MERGEKIT_RANKS_H

#define ORDER_PLACES
#include "methods/order.h"

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

/* Starts the searches of a method: what `begin` of its statistics does. */
static inline void rank_begin(const mc_layer *layer, const rank_selection *selection,
                              order_search *searches)
{
    const size_t count = selection->searches(layer);
    order_begin(searches, count, layer->size, 1, order_first_stride(layer->size));
    for (size_t s = 0; s < count; s++)
        if (layer->size == 0 ||
            (selection->rank(layer, s, 0) < 0 && selection->rank(layer, s, layer->size) < 0)) {
            searches[s].none = true;
            searches[s].phase = ORDER_DONE;
        }
}

/* How many of `count` elements from `place` on have a place below `end`. */
static inline size_t rank_places_below(uint64_t end, uint64_t place, size_t count)
{
    if (end <= place)
        return 0;
    return end - place < count ? (size_t)(end - place) : count;
}

/* Which keys of a run of elements are first … end − 1 (a byte each); how many are below. */
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

/*
 * The same by entries. Only at one place of the tensor does the answer for the first key, or the
 * last, change: a block is cut there, and keys decide in the parts.
 */
static inline void rank_find_inside(const order_search *search, const mc_bits *keys, uint64_t place,
                                    size_t count, unsigned char *inside, order_found *found)
{
    const order_entry last = search->first + search->span;
    const mc_bits first_key = order_key_of(search->first), last_key = order_key_of(last);
    const size_t first_places = rank_places_below(order_place_of(search->first) + 1, place, count);
    const size_t last_places = rank_places_below(order_place_of(last), place, count);
    for (size_t from = 0, to; from < count; from = to) {
        to = from < first_places ? first_places : count;
        to = from < last_places && last_places < to ? last_places : to;
        found->below += rank_classify(keys + from, first_key + (from >= first_places),
                                      last_key + (from >= last_places), inside + from, to - from);
    }
}

MC_PASS mc_bits rank_count_zeros(const mc_bits *keys, size_t count)
{
    mc_bits zeros = 0;
    for (size_t i = 0; i < count; i++)
        zeros += keys[i] == 0;
    return zeros;
}

/* Adds a tile to the searches from `column` · sharing on, whose keys are the same. */
static inline void rank_accumulate_column(const mc_layer *layer, const rank_selection *selection,
                                          const order_search *searches, size_t column,
                                          void *partial)
{
    enum { MOST_SHARING = 3 };
    const size_t begin = column * selection->sharing;
    order_part parts[MOST_SHARING];
    for (size_t s = 0; s < selection->sharing; s++)
        parts[s] = order_part_of(searches, selection->searches(layer), begin + s, partial);
    for (size_t start = 0; start < layer->count; start += MC_TILE_BLOCK) {
        const size_t length = mc_tile_block(start, layer->count);
        mc_bits keys[MC_TILE_BLOCK];
        selection->keys(layer, column, start, length, keys);
        for (size_t s = 0; s < selection->sharing; s++) {
            if (searches[begin + s].phase == ORDER_DONE)
                continue;
            unsigned char inside[MC_TILE_BLOCK];
            const uint64_t place = (uint64_t)layer->first + start;
            memset(inside + length, 0, sizeof inside - length);
            rank_find_inside(&searches[begin + s], keys, place, length, inside, parts[s].found);
            order_add(&searches[begin + s], &parts[s], keys, inside, place, length);
            if (selection->by_zeros)
                parts[s].found->zeros += rank_count_zeros(keys, length);
        }
    }
}

static inline mc_status rank_accumulate(const mc_layer *layer, const rank_selection *selection,
                                        const order_search *searches, void *partial)
{
    const size_t sharing = selection->sharing, columns = selection->searches(layer) / sharing;
    if ((uint64_t)layer->size > ORDER_LAST_PLACE)
        return mc_fail(layer->error, MC_UNSUPPORTED, "expected at most %llu elements, found %lld",
                       (unsigned long long)ORDER_LAST_PLACE, (long long)layer->size);
    for (size_t c = 0; c < columns; c++)
        if (!order_done(searches + c * sharing, sharing))
            rank_accumulate_column(layer, selection, searches, c, partial);
    return MC_OK;
}

/* How many keys are zero, or seem to be by a sample. */
static inline int64_t rank_zero_keys(const mc_layer *layer, const order_search *search,
                                     const order_found *found)
{
    if (search->stride == 1 || found->looked_at == 0)
        return (int64_t)found->zeros;
    return (int64_t)((double)found->zeros / (double)found->looked_at * (double)layer->size);
}

/* Digests a round. When order_done, all searches have their result. */
static inline void rank_next(const mc_layer *layer, const rank_selection *selection,
                             order_search *searches, const void *total)
{
    const order_found *const found = total;
    const size_t count = selection->searches(layer);
    for (size_t s = 0; s < count; s++)
        searches[s].rank = selection->rank(layer, s,
                                           rank_zero_keys(layer, &searches[s], &found[s]));
    order_next(searches, count, total);
}

/* How many elements from `place` have a place up to that of the search's result. */
static inline mc_bits rank_places(const order_search *search, uint64_t place, size_t count)
{
    return (mc_bits)rank_places_below(search->place + 1, place, count);
}

#endif
