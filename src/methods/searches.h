/*
 * Several exact order statistics at once, for statistics of a whole model: each search of
 * threshold.h has its own place in the state and in partial results, one after the other.
 */
#ifndef MC_METHODS_SEARCHES_H
#define MC_METHODS_SEARCHES_H

#include "methods/threshold.h"

/* Begins searches over the same `size` values each. */
static inline void searches_begin(threshold_search *searches, size_t count, int64_t size)
{
    for (size_t i = 0; i < count; i++)
        threshold_begin(&searches[i], size, 1);
}

static inline size_t searches_partial_size(const threshold_search *searches, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += threshold_partial_size(&searches[i]);
    return size;
}

/* Where search `index` has its place in a partial result. */
static inline void *searches_partial(const threshold_search *searches, size_t index,
                                     const void *partial)
{
    return (char *)(uintptr_t)partial + searches_partial_size(searches, index);
}

static inline void searches_combine(const threshold_search *searches, size_t count, void *into,
                                    const void *from)
{
    for (size_t i = 0; i < count; i++)
        threshold_combine(&searches[i], searches_partial(searches, i, into),
                          searches_partial(searches, i, from));
}

/*
 * mc_statistics.combine for a partial result that is a count (uint64_t) and then one search per
 * model; layer->model_state begins with the searches.
 */
static inline void searches_combine_counted(const mc_layer *layer, void *into, const void *from)
{
    uint64_t *const counted = into;
    const uint64_t *const more = from;
    *counted += *more;
    searches_combine(layer->model_state, layer->model_count, counted + 1, more + 1);
}

/*
 * Digests a round of all searches, of which `places` are the wanted order statistics. True if
 * another round is needed. Parts of a partial result move when a search changes its phase, so each
 * is found before its search moves on.
 */
static inline bool searches_next(threshold_search *searches, size_t count, const void *total,
                                 const threshold_place *places)
{
    const char *at = total;
    bool more = false;
    for (size_t i = 0; i < count; i++) {
        const size_t size = threshold_partial_size(&searches[i]);
        more |= threshold_next(&searches[i], 1, at, places[i]);
        at += size;
    }
    return more;
}

#endif
