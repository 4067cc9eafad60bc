#include "merge/reduce.h"

#include "base/memory.h"

#include <assert.h>

/* Elements of a tile where one thread does everything. */
enum { TILE = 8 * MC_LEAF };

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- partial results ------------------------------------------------------------------------ */

void mc_partial_free(mc_partial *partial)
{
    mc_free(partial->memory);
    *partial = (mc_partial){0};
}

static mc_status reserve(mc_partial *partial, size_t size, mc_error *error)
{
    if (size <= partial->size)
        return MC_OK;
    mc_free(partial->memory);
    partial->memory = mc_alloc(size);
    partial->size = partial->memory ? size : 0;
    return partial->memory ? MC_OK : mc_fail_memory(error);
}

/*
 * Combines `count` neighbouring nodes of one level into the first. Which nodes are added to which
 * depends on their positions only. A tile is an aligned power of two of leaves, so its own
 * combination is a part of the tensor's tree, and sums have the same bits for any tile size.
 */
static void combine_nodes(const mc_reduction *r, const mc_layer *layer, void *nodes, size_t count)
{
    char *const node = nodes;
    for (size_t step = 1; step < count; step *= 2)
        for (size_t i = 0; i + step < count; i += 2 * step)
            r->statistics->combine(layer, node + i * r->partial_size,
                                   node + (i + step) * r->partial_size);
}

static size_t tile_count(const mc_reduction *r)
{
    return (size_t)((r->job->count + r->tile - 1) / r->tile);
}

/* ---- rounds --------------------------------------------------------------------------------- */

/*
 * The first leaf at or after `leaf` that this round uses: leaf numbers are multiples of the stride.
 */
static int64_t next_wanted(const mc_reduction *r, int64_t leaf)
{
    return (leaf + r->stride - 1) / r->stride * r->stride;
}

/* Skips tiles without a leaf that this round uses. */
static void skip_unwanted(mc_reduction *r)
{
    while (r->next < r->job->count) {
        const int64_t end = r->next + least(r->tile, r->job->count - r->next);
        if (next_wanted(r, r->next / MC_LEAF) * MC_LEAF < end)
            return;
        r->next += r->tile;
    }
}

/*
 * Makes room for what a round finds; its size may change from round to round. Only order_free
 * partial results are cleared here: nodes of the tree are overwritten by their tiles.
 */
static mc_status reserve_nodes(mc_reduction *r, const mc_layer *whole, mc_error *error)
{
    const size_t before = r->partial_size;
    r->partial_size = r->statistics->partial_size(whole);
    r->partial_zeros = r->statistics->partial_zeros ? r->statistics->partial_zeros(whole)
                                                    : r->partial_size;
    assert(r->partial_zeros <= r->partial_size);
    if (!r->nodes || r->partial_size != before) {
        mc_free(r->nodes);
        r->nodes = mc_alloc((r->statistics->order_free ? 1 : tile_count(r)) * r->partial_size);
    }
    if (r->nodes && r->statistics->order_free)
        memset(r->nodes, 0, r->partial_zeros);
    return r->nodes ? MC_OK : mc_fail_memory(error);
}

static mc_status begin_round(mc_reduction *r, mc_error *error)
{
    const mc_layer whole = mc_job_whole(r->job, r->state, error);
    r->stride = r->statistics->stride ? r->statistics->stride(&whole, r->round) : 1;
    /* The tree needs every leaf: only order_free statistics may leave some out. */
    assert(r->stride == 1 || (r->stride > 1 && r->statistics->order_free));
    /*
     * A method of rows wants whole rows per tile. Rows do not align with leaves, so the tree and
     * strided rounds keep tiles of leaves.
     */
    const bool rows = r->statistics->order_free && r->stride == 1 &&
                      r->job->method->scope == MC_ROW;
    r->tile = rows ? mc_job_tile(r->job, r->leaves_tile) : r->leaves_tile;
    r->next = 0;
    skip_unwanted(r);
    return reserve_nodes(r, &whole, error);
}

mc_status mc_reduction_begin(mc_reduction *r, const mc_job *job, int64_t tile, mc_error *error)
{
    const mc_layer whole = mc_job_whole(job, NULL, error);
    assert(mc_job_statistics(job) && tile % MC_LEAF == 0);
    *r = (mc_reduction){.job = job, .statistics = job->method->statistics, .leaves_tile = tile};
    r->state = mc_alloc_zero(1, r->statistics->state_size(&whole));
    if (!r->state)
        return mc_fail_memory(error);
    if (r->statistics->begin)
        r->statistics->begin(&whole, r->state);
    return begin_round(r, error);
}

void mc_reduction_free(mc_reduction *r)
{
    mc_free(r->state);
    mc_free(r->nodes);
    *r = (mc_reduction){0};
}

bool mc_reduction_has_tiles(const mc_reduction *r)
{
    return r->next < r->job->count;
}

bool mc_reduction_take(mc_reduction *r, int64_t *first, int64_t *count)
{
    if (!mc_reduction_has_tiles(r))
        return false;
    *first = r->next;
    *count = least(r->tile, r->job->count - r->next);
    r->next += *count;
    skip_unwanted(r);
    return true;
}

mc_status mc_reduction_end_round(mc_reduction *r, bool *more, mc_error *error)
{
    const mc_layer whole = mc_job_whole(r->job, r->state, error);
    assert(!mc_reduction_has_tiles(r));
    if (!r->statistics->order_free)
        combine_nodes(r, &whole, r->nodes, tile_count(r));
    *more = false;
    MC_TRY(mc_in_tensor(error, r->job->name,
                        r->statistics->next(&whole, r->round, r->state, r->nodes, more)));
    r->round++;
    return *more ? begin_round(r, error) : MC_OK;
}

/* ---- tiles ---------------------------------------------------------------------------------- */

static mc_status accumulate_run(const mc_reduction *r, mc_workspace *workspace, int64_t first,
                                int64_t count, void *partial, mc_error *error)
{
    MC_TRY(mc_workspace_load(workspace, r->job, first, count, r->state, error));
    return mc_job_accumulate(r->job, &workspace->layer, partial);
}

/*
 * Accumulates a tile into the thread's partial result, in any order. A strided round loads only the
 * leaves that it uses.
 */
static mc_status accumulate_free(const mc_reduction *r, mc_partial *partial,
                                 mc_workspace *workspace, int64_t first, int64_t count,
                                 mc_error *error)
{
    assert(!partial->of || partial->of == r);
    if (!partial->of) {
        MC_TRY(reserve(partial, r->partial_size, error));
        if (r->partial_zeros > 0) /* memset of NULL is undefined even for no bytes */
            memset(partial->memory, 0, r->partial_zeros);
        partial->of = r;
    }
    if (r->stride == 1)
        return accumulate_run(r, workspace, first, count, partial->memory, error);
    const int64_t end = first + count;
    for (int64_t leaf = next_wanted(r, first / MC_LEAF); leaf * MC_LEAF < end; leaf += r->stride) {
        const int64_t at = leaf * MC_LEAF;
        MC_TRY(accumulate_run(r, workspace, at, least(MC_LEAF, end - at), partial->memory, error));
    }
    return MC_OK;
}

/*
 * Accumulates leaf by leaf and combines the leaves into the tile's node. Each tile has its own
 * node: threads write without a lock.
 */
static mc_status accumulate_tree(const mc_reduction *r, mc_partial *partial,
                                 mc_workspace *workspace, int64_t first, int64_t count,
                                 mc_error *error)
{
    const size_t leaves = (size_t)((count + MC_LEAF - 1) / MC_LEAF);
    MC_TRY(reserve(partial, leaves * r->partial_size, error));
    MC_TRY(mc_workspace_load(workspace, r->job, first, count, r->state, error));
    char *const nodes = partial->memory;
    memset(nodes, 0, leaves * r->partial_size);
    for (size_t i = 0; i < leaves; i++) {
        mc_workspace_cut(workspace, r->job, i * MC_LEAF, MC_LEAF);
        MC_TRY(mc_job_accumulate(r->job, &workspace->part, nodes + i * r->partial_size));
    }
    combine_nodes(r, &workspace->layer, nodes, leaves);
    memcpy((char *)r->nodes + (size_t)(first / r->tile) * r->partial_size, nodes, r->partial_size);
    return MC_OK;
}

mc_status mc_reduction_accumulate(const mc_reduction *r, mc_partial *partial,
                                  mc_workspace *workspace, int64_t first, int64_t count,
                                  mc_error *error)
{
    assert(first % r->tile == 0 && count > 0 && count <= r->tile);
    return r->statistics->order_free ? accumulate_free(r, partial, workspace, first, count, error)
                                     : accumulate_tree(r, partial, workspace, first, count, error);
}

void mc_reduction_add(mc_reduction *r, mc_partial *partial)
{
    if (partial->of != r)
        return;
    const mc_layer whole = mc_job_whole(r->job, r->state, NULL);
    r->statistics->combine(&whole, r->nodes, partial->memory);
    partial->of = NULL;
}

/* ---- all rounds ------------------------------------------------------------------------------ */

/*
 * Combines the partial results that processes have found in any order: each sends its own in turn.
 */
static mc_status exchange_free(mc_reduction *r, const mc_comm *comm, mc_error *error)
{
    const mc_layer whole = mc_job_whole(r->job, r->state, error);
    void *const total = mc_alloc(r->partial_size), *const part = mc_alloc(r->partial_size);
    mc_status status = total && part ? MC_OK : mc_fail_memory(error);
    if (status == MC_OK && r->partial_zeros > 0)
        memset(total, 0, r->partial_zeros);
    for (int root = 0; status == MC_OK && root < comm->size; root++) {
        if (root == comm->rank)
            memcpy(part, r->nodes, r->partial_size);
        status = mc_comm_broadcast(comm, part, r->partial_size, root, error);
        if (status == MC_OK)
            r->statistics->combine(&whole, total, part);
    }
    mc_free(part);
    if (status != MC_OK) {
        mc_free(total);
        return status;
    }
    mc_free(r->nodes);
    r->nodes = total;
    return MC_OK;
}

/* Whether a tile is in this process's part. */
static bool is_mine(const mc_reduction *r, const mc_comm *comm, int64_t first)
{
    size_t begin, end;
    const size_t tile = (size_t)(first / r->tile);
    mc_comm_part(comm, tile_count(r), mc_comm_rank(comm), &begin, &end);
    return tile >= begin && tile < end;
}

static mc_status run_rounds(mc_reduction *r, const mc_comm *comm, mc_partial *partial,
                            mc_workspace *workspace, mc_error *error)
{
    for (bool more = true; more;) {
        int64_t first, count;
        while (mc_reduction_take(r, &first, &count))
            if (is_mine(r, comm, first))
                MC_TRY(mc_reduction_accumulate(r, partial, workspace, first, count, error));
        mc_reduction_add(r, partial);
        if (comm)
            MC_TRY(r->statistics->order_free
                       ? exchange_free(r, comm, error)
                       : mc_comm_gather(comm, r->nodes, tile_count(r), r->partial_size, error));
        MC_TRY(mc_reduction_end_round(r, &more, error));
    }
    return MC_OK;
}

mc_status mc_reduction_run_together(const mc_job *job, const mc_comm *comm, mc_workspace *workspace,
                                    void **state, mc_error *error)
{
    mc_reduction reduction = {0};
    mc_partial partial = {0};
    mc_status status = mc_reduction_begin(&reduction, job, TILE, error);
    if (status == MC_OK)
        status = run_rounds(&reduction, comm, &partial, workspace, error);
    if (status == MC_OK) {
        *state = reduction.state;
        reduction.state = NULL;
    }
    mc_partial_free(&partial);
    mc_reduction_free(&reduction);
    return status;
}

mc_status mc_reduction_run(const mc_job *job, mc_workspace *workspace, void **state,
                           mc_error *error)
{
    return mc_reduction_run_together(job, NULL, workspace, state, error);
}
