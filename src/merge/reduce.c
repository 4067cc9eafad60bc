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

void mc_reduce_tile(const mc_merged *merged, mc_workspace *workspace, void *nodes, size_t size)
{
    const size_t leaves = (workspace->layer.count + MC_LEAF - 1) / MC_LEAF;
    memset(nodes, 0, size * leaves);
    for (size_t i = 0; i < leaves; i++) {
        mc_workspace_cut(workspace, merged, i * MC_LEAF, MC_LEAF);
        merged->method->statistics->accumulate(&workspace->leaf, (char *)nodes + i * size);
    }
    mc_reduce_nodes(merged, &workspace->layer, nodes, size, leaves);
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

void mc_reduce_accumulate(const mc_merged *merged, mc_workspace *workspace, int64_t stride,
                          void *partial)
{
    if (stride == 1) {
        merged->method->statistics->accumulate(&workspace->layer, partial);
        return;
    }
    const int64_t first = workspace->layer.first;
    const int64_t end = first + (int64_t)workspace->layer.count;
    for (int64_t leaf = next_wanted(stride, first / MC_LEAF); leaf * MC_LEAF < end;
         leaf += stride) {
        mc_workspace_cut(workspace, merged, (size_t)(leaf * MC_LEAF - first), MC_LEAF);
        merged->method->statistics->accumulate(&workspace->leaf, partial);
    }
}

/* One round over all tiles; the total is left in the first of `nodes`. */
static mc_status run_round(const mc_merged *merged, mc_workspace *workspace, void *state, int round,
                           void *nodes, size_t size, mc_error *error)
{
    const mc_statistics *const statistics = merged->method->statistics;
    const int64_t all = merged->source.count;
    const mc_layer whole = mc_merged_whole(merged, state);
    const int64_t stride = statistics->stride ? statistics->stride(&whole, round) : 1;
    memset(nodes, 0, size);
    size_t tiles = 0;
    for (int64_t first = 0; first < all; first += TILE, tiles++) {
        const int64_t count = all - first < TILE ? all - first : TILE;
        if (!mc_reduce_wants(stride, first, count))
            continue;
        MC_TRY(mc_workspace_load(workspace, merged, first, count, state, error));
        if (statistics->order_free)
            mc_reduce_accumulate(merged, workspace, stride, nodes);
        else
            mc_reduce_tile(merged, workspace, (char *)nodes + tiles * size, size);
    }
    if (!statistics->order_free)
        mc_reduce_nodes(merged, &whole, nodes, size, tiles);
    return MC_OK;
}

mc_status mc_reduce_all(const mc_merged *merged, mc_workspace *workspace, void **state,
                        mc_error *error)
{
    const mc_statistics *const statistics = merged->method->statistics;
    const mc_layer sizes = mc_merged_whole(merged, NULL);
    const size_t size = statistics->partial_size(&sizes);
    /* A tile's node may need the room of all its leaves while it is made. */
    const size_t tiles = (size_t)((merged->source.count + TILE - 1) / TILE) + TILE / MC_LEAF;
    void *const found = mc_alloc_zero(1, statistics->state_size(&sizes));
    void *const nodes = mc_alloc(statistics->order_free ? size : size * tiles);
    mc_status status = found && nodes ? MC_OK : mc_fail_memory(error);
    for (int round = 0; status == MC_OK; round++) {
        status = run_round(merged, workspace, found, round, nodes, size, error);
        const mc_layer whole = mc_merged_whole(merged, found);
        if (status == MC_OK && !statistics->next(&whole, round, found, nodes))
            break;
    }
    mc_free(nodes);
    if (status != MC_OK) {
        mc_free(found);
        return status;
    }
    *state = found;
    return MC_OK;
}
