/*
 * The exact threshold of magnitudes: an order statistic (order.h) of all |values| of a layer, or of
 * one model's, interpolated if need be. Any method may use it for the values that it takes; values
 * of all models may go into one search, or each model have its own, side by side in state and
 * partial results.
 */
#ifndef MC_METHODS_THRESHOLD_H
#define MC_METHODS_THRESHOLD_H

#include "methods/order.h"

/* Begins searches over the same `size` values each, of a whole model or of a layer. */
static inline void threshold_begin(order_search *searches, size_t count, int64_t size)
{
    order_begin(searches, count, size, 1, 1);
}

/* Looks for the value below which a share of 1 − density lies, interpolated as numpy does. */
static inline void threshold_set_density(order_search *search, double density)
{
    const double place = (double)(search->count - 1) * (1 - density);
    search->rank = (int64_t)place;
    search->fraction = place - floor(place);
}

/* Nothing is left to find if this is 0. */
static inline size_t threshold_partial_size(const order_search *searches, size_t count)
{
    return order_done(searches, count) ? 0 : order_partial_size(searches, count);
}

/*
 * Finds the keys of a block; which of them are inside the bracket (a byte each), how many are below
 * it, and the inverse of the smallest above. Written without branches, for vectors.
 */
MC_PASS void threshold_classify(const mc_real *model, const mc_real *base, mc_bits first,
                                mc_bits span, mc_bits *keys, unsigned char *inside,
                                order_found *found, size_t count)
{
    const mc_bits last = first + span;
    mc_bits below = 0, above = 0;
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_bits key = mc_bits_of(mc_absolute(model[i] - base[i]));
        const mc_bits inverse = ~key & -(mc_bits)(key > last); /* a mask: ?: is not vectorised */
        keys[i] = key;
        inside[i] = key - first <= span;
        below += key < first;
        above = inverse > above ? inverse : above;
    }
    found->below += below;
    found->inverse_above = above > found->inverse_above ? above : found->inverse_above;
}

/* Adds the magnitudes of `length` values less those of `base`, which may be NULL, to a search. */
static inline void threshold_add(const order_search *searches, size_t count, size_t index,
                                 void *partial, const mc_real *values, const mc_real *base,
                                 size_t length)
{
    static const mc_real zeros[MC_TILE_BLOCK];
    if (searches[index].phase == ORDER_DONE)
        return;
    const order_search *const search = &searches[index];
    const order_part part = order_part_of(searches, count, index, partial);
    for (size_t start = 0; start < length; start += MC_TILE_BLOCK) {
        const size_t block = mc_tile_block(start, length);
        mc_bits keys[MC_TILE_BLOCK];
        unsigned char inside[MC_TILE_BLOCK];
        memset(inside + block, 0, sizeof inside - block);
        threshold_classify(values + start, base ? base + start : zeros, search->first, search->span,
                           keys, inside, part.found, block);
        order_add(search, &part, keys, inside, 0, block);
    }
}

/*
 * mc_statistics.combine for a partial result that is a count (uint64_t) and then one search per
 * model; layer->model_state begins with the searches.
 */
static inline MC_UNUSED void threshold_combine_counted(const mc_layer *layer, void *into,
                                                       const void *from)
{
    uint64_t *const counted = into;
    const uint64_t *const more = from;
    *counted += *more;
    order_combine(layer->model_state, layer->model_count, counted + 1, more + 1);
}

static inline double threshold_magnitude_of(mc_bits key)
{
    const double value = (double)mc_real_of(key);
    return value != value ? (double)INFINITY : value;
}

/* Digests a round. True if another round is needed; else each search->threshold is known. */
static inline bool threshold_next(order_search *searches, size_t count, const void *total)
{
    if (!order_done(searches, count))
        order_next(searches, count, total);
    for (size_t s = 0; s < count; s++) {
        order_search *const search = &searches[s];
        const double low = threshold_magnitude_of(search->key);
        const double high = threshold_magnitude_of(search->next_key);
        search->threshold = search->fraction == 0 || low == high
                                ? low
                                : low + (high - low) * search->fraction;
    }
    return !order_done(searches, count);
}

#endif
