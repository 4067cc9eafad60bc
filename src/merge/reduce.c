#include "merge/reduce.h"

#include "base/memory.h"

enum { TILE = 8 * MC_LEAF };

void mc_reduce_nodes(const mc_merged *merged, const mc_layer *layer, void *nodes, size_t size,
                     size_t count)
{
    char *const node = nodes;
    for (size_t step = 1; step < count; step *= 2)
        for (size_t i = 0; i + step < count; i += 2 * step)
            merged->method->statistics->combine(layer, node + i * size, node + (i + step) * size);
}

mc_status mc_reduce_tile(const mc_merged *merged, mc_workspace *workspace, void *nodes, size_t size,
                         mc_error *error)
{
    const size_t leaves = (workspace->layer.count + MC_LEAF - 1) / MC_LEAF;
    memset(nodes, 0, size * leaves);
    for (size_t i = 0; i < leaves; i++) {
        mc_workspace_cut(workspace, merged, i * MC_LEAF, MC_LEAF);
        MC_TRY(mc_in_tensor(
            error, merged->name,
            merged->method->statistics->accumulate(&workspace->leaf, (char *)nodes + i * size)));
    }
    mc_reduce_nodes(merged, &workspace->layer, nodes, size, leaves);
    return MC_OK;
}

/* The first wanted leaf at or after a leaf: those whose number is a multiple of the stride. */
static int64_t next_wanted(int64_t stride, int64_t leaf)
{
    return (leaf + stride - 1) / stride * stride;
}

bool mc_reduce_wants(int64_t stride, int64_t first, int64_t count)
{
    return next_wanted(stride, first / MC_LEAF) * MC_LEAF < first + count;
}

size_t mc_reduce_size(const mc_merged *merged, const mc_layer *layer, size_t *zeros)
{
    const mc_statistics *const statistics = merged->method->statistics;
    const size_t size = statistics->partial_size(layer);
    *zeros = statistics->partial_zeros ? statistics->partial_zeros(layer) : size;
    return size;
}

static mc_status accumulate_run(const mc_merged *merged, mc_workspace *workspace, int64_t first,
                                int64_t count, void *state, void *partial, mc_error *error)
{
    MC_TRY(mc_workspace_load(workspace, merged, first, count, state, error));
    return mc_in_tensor(error, merged->name,
                        merged->method->statistics->accumulate(&workspace->layer, partial));
}

mc_status mc_reduce_accumulate(const mc_merged *merged, mc_workspace *workspace, int64_t first,
                               int64_t count, int64_t stride, void *state, void *partial,
                               mc_error *error)
{
    if (stride == 1)
        return accumulate_run(merged, workspace, first, count, state, partial, error);
    const int64_t end = first + count;
    for (int64_t leaf = next_wanted(stride, first / MC_LEAF); leaf * MC_LEAF < end;
         leaf += stride) {
        const int64_t at = leaf * MC_LEAF, left = end - at;
        MC_TRY(accumulate_run(merged, workspace, at, left < MC_LEAF ? left : MC_LEAF, state,
                              partial, error));
    }
    return MC_OK;
}

/* One round over all tiles in any order; the total is left in `nodes`. */
static mc_status run_free(const mc_merged *merged, mc_workspace *workspace, void *state, int round,
                          void **nodes, mc_error *error)
{
    const mc_statistics *const statistics = merged->method->statistics;
    const int64_t all = merged->source.count;
    const mc_layer whole = mc_merged_whole(merged, state, error);
    const int64_t stride = statistics->stride ? statistics->stride(&whole, round) : 1;
    size_t zeros;
    mc_free(*nodes);
    *nodes = mc_alloc(mc_reduce_size(merged, &whole, &zeros));
    if (!*nodes)
        return mc_fail_memory(error);
    memset(*nodes, 0, zeros);
    const int64_t grain = mc_merged_grain(merged);
    const int64_t tile = grain > TILE ? grain : TILE / grain * grain;
    for (int64_t first = 0; first < all; first += tile) {
        const int64_t count = all - first < tile ? all - first : tile;
        MC_TRY(mc_reduce_accumulate(merged, workspace, first, count, stride, state, *nodes, error));
    }
    return MC_OK;
}

/* The same along the tree; the total is left in the first of `nodes`. */
static mc_status run_tree(const mc_merged *merged, mc_workspace *workspace, void *state,
                          void **nodes, mc_error *error)
{
    const int64_t all = merged->source.count;
    const mc_layer whole = mc_merged_whole(merged, state, error);
    const size_t size = merged->method->statistics->partial_size(&whole);
    /* A tile's node may need the room of all its leaves while it is made. */
    const size_t room = (size_t)((all + TILE - 1) / TILE) + TILE / MC_LEAF;
    mc_free(*nodes);
    *nodes = mc_alloc(size * room);
    if (!*nodes)
        return mc_fail_memory(error);
    size_t tiles = 0;
    for (int64_t first = 0; first < all; first += TILE, tiles++) {
        const int64_t count = all - first < TILE ? all - first : TILE;
        MC_TRY(mc_workspace_load(workspace, merged, first, count, state, error));
        MC_TRY(mc_reduce_tile(merged, workspace, (char *)*nodes + tiles * size, size, error));
    }
    mc_reduce_nodes(merged, &whole, *nodes, size, tiles);
    return MC_OK;
}

mc_status mc_reduce_next(const mc_merged *merged, int round, void *state, const void *total,
                         bool *more, mc_error *error)
{
    const mc_layer whole = mc_merged_whole(merged, state, error);
    *more = false;
    return mc_in_tensor(error, merged->name,
                        merged->method->statistics->next(&whole, round, state, total, more));
}

void *mc_reduce_state(const mc_merged *merged)
{
    const mc_statistics *const statistics = merged->method->statistics;
    const mc_layer whole = mc_merged_whole(merged, NULL, NULL);
    void *const state = mc_alloc_zero(1, statistics->state_size(&whole));
    if (state && statistics->begin)
        statistics->begin(&whole, state);
    return state;
}

mc_status mc_reduce_all(const mc_merged *merged, mc_workspace *workspace, void **state,
                        mc_error *error)
{
    const mc_statistics *const statistics = merged->method->statistics;
    void *const found = mc_reduce_state(merged);
    void *nodes = NULL;
    bool more = true;
    mc_status status = found ? MC_OK : mc_fail_memory(error);
    for (int round = 0; status == MC_OK && more; round++) {
        status = statistics->order_free ? run_free(merged, workspace, found, round, &nodes, error)
                                        : run_tree(merged, workspace, found, &nodes, error);
        if (status == MC_OK)
            status = mc_reduce_next(merged, round, found, nodes, &more, error);
    }
    mc_free(nodes);
    if (status != MC_OK) {
        mc_free(found);
        return status;
    }
    *state = found;
    return MC_OK;
}
