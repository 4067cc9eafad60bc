#include "nn/run.h"

#include "base/memory.h"
#include "nn/group.h"
#include "nn/ops.h"

#include <assert.h>
#include <string.h>

/*
 * Tokens per group: enough to fill the blocks of products and to use a weight often once it is in
 * the cache; few enough that an operation still finds in the cache what the last one wrote.
 */
enum { GROUP_TOKENS = 1024 };

/* ---- groups ---------------------------------------------------------------------------------- */

/*
 * Two ways to share a batch among threads. compute_all takes the one with fewer blocks in a row.
 *
 *   apart (compute)                      together (compute_together)
 *
 *   thread 0: group 0 ──▶ group 2        thread 0: ┐ op ┐ op ┐     values of worker 0
 *   thread 1: group 1 ──▶ group 3        thread 1: ┘    ┘    ┘     a barrier after each op
 *   values of its own worker             group after group
 */
typedef struct run {
    mc_group whole; /* what all groups share */
    size_t *cuts;   /* [groups + 1]: the first sequence of each group */
    size_t groups;
    mc_worker *workers;
    mc_team *team; /* of all threads, if they share each group */
    float *logits;
} run;

static size_t tokens_of(const run *r, size_t index)
{
    const size_t *const starts = r->whole.batch->starts;
    return starts[r->cuts[index + 1]] - starts[r->cuts[index]];
}

static mc_group group_of(const run *r, size_t index)
{
    mc_group g = r->whole;
    g.first = r->cuts[index];
    g.count = r->cuts[index + 1] - g.first;
    g.tokens = tokens_of(r, index);
    for (size_t i = 0; i < g.count; i++) {
        const size_t length = mc_group_start(&g, i + 1) - mc_group_start(&g, i);
        g.longest = length > g.longest ? length : g.longest;
    }
    return g;
}

static mc_status copy_logits(const mc_group *g, float *out, mc_error *error)
{
    /* Groups have different sequences, so threads write different parts of `out`. */
    const size_t labels = (size_t)g->network->labels;
    const float *const found = g->values->floats[g->network->result];
    if (!g->kernels->finite(found, g->count * labels))
        return mc_fail(error, MC_FORMAT,
                       "the logits are not finite: the weights are too large to compute with");
    memcpy(out + g->first * labels, found, g->count * labels * sizeof *out);
    return MC_OK;
}

/* ---- a group on each thread ------------------------------------------------------------------ */

static mc_status compute(void *user, int index, size_t item, mc_error *error)
{
    const run *const r = user;
    mc_group g = group_of(r, item);
    g.calls_back = index == 0;
    MC_TRY(mc_group_reserve_values(&g, &r->workers[index], error));
    MC_TRY(mc_group_reserve_workspace(&g, &r->workers[index], error));
    /* Per thread: OpenMP keeps the number of threads for each calling thread. */
    int restore;
    MC_TRY(mc_onednn_begin(&restore, error));
    const mc_status status = mc_group_run(&g, error);
    mc_onednn_end(restore);
    return status == MC_OK ? copy_logits(&g, r->logits, error) : status;
}

/* ---- all threads on each group --------------------------------------------------------------- */

/* All members use the values of the first. */
static mc_status prepare(const run *r, mc_group *g, mc_error *error)
{
    MC_TRY(mc_group_reserve_workspace(g, &r->workers[g->member], error));
    if (g->member == 0)
        return mc_group_reserve_values(g, &r->workers[0], error);
    g->values = &r->workers[0].values;
    return MC_OK;
}

static mc_status compute_together(void *user, int member, int members, mc_error *error)
{
    (void)members;
    const run *const r = user;
    mc_team *const team = r->team;
    int restore;
    mc_status status = mc_onednn_begin(&restore, error);
    const bool begun = status == MC_OK;
    for (size_t i = 0; i < r->groups; i++) {
        mc_group g = group_of(r, i);
        g.team = team;
        g.member = member;
        g.calls_back = member == 0;
        if (status == MC_OK)
            status = prepare(r, &g, error);
        /* Nobody may write values before member 0 has made room for them. */
        if (!mc_team_barrier(team, status == MC_OK))
            break;
        status = mc_group_run(&g, error);
        /*
         * Logits are copied when all members have computed their share. Member 0 copies them before
         * it can reserve values for the next group.
         */
        if (!mc_team_barrier(team, status == MC_OK))
            break;
        if (member == 0)
            status = copy_logits(&g, r->logits, error);
    }
    if (begun)
        mc_onednn_end(restore);
    return status;
}

/* ---- all ------------------------------------------------------------------------------------- */

/* As many groups as GROUP_TOKENS asks for, rounded up so that all threads get equally many. */
static size_t group_count(const mc_batch *batch, size_t threads)
{
    const size_t tokens = batch->starts[batch->count] - batch->starts[0];
    const size_t wanted = (tokens + GROUP_TOKENS - 1) / GROUP_TOKENS;
    const size_t rounded = (wanted + threads - 1) / threads * threads;
    return rounded < batch->count ? rounded : batch->count;
}

/* Cuts the batch between sequences into groups of about equal tokens; no group is empty. */
static void cut(const mc_batch *batch, size_t *cuts, size_t groups)
{
    const size_t from = batch->starts[0], tokens = batch->starts[batch->count] - from;
    size_t sequence = 0;
    cuts[0] = 0;
    for (size_t i = 1; i < groups; i++) {
        const size_t goal = from + (size_t)((double)tokens * (double)i / (double)groups);
        sequence++;
        while (sequence < batch->count - (groups - i) && batch->starts[sequence] < goal)
            sequence++;
        cuts[i] = sequence;
    }
    cuts[groups] = batch->count;
}

/* Blocks of rows, as products compute them. */
static size_t blocks_of(const run *r, size_t index)
{
    return (tokens_of(r, index) + MC_PRODUCT_ROWS - 1) / MC_PRODUCT_ROWS;
}

/*
 * Threads with their own groups do not wait for each other. With few sequences some threads would
 * be idle, so all share each group if that takes fewer blocks one after the other.
 */
static mc_status compute_all(run *r, size_t threads, mc_error *error)
{
    size_t most = 1, together = 0;
    for (size_t i = 0; i < r->groups; i++) {
        const size_t blocks = blocks_of(r, i);
        most = blocks > most ? blocks : most;
    }
    const size_t members = most < threads ? most : threads;
    assert(members > 0);
    for (size_t i = 0; i < r->groups; i++)
        together += (blocks_of(r, i) + members - 1) / members;
    const size_t apart = (r->groups + threads - 1) / threads * most;
    if (apart <= together)
        return mc_parallel(r->groups, (int)threads, compute, r, error);
    MC_TRY(mc_team_new((int)members, &r->team, error));
    const mc_status status = mc_team_run(r->team, compute_together, r, error);
    mc_team_free(r->team);
    return status;
}

mc_status mc_network_run(const mc_network *network, const mc_weights *weights,
                         const mc_batch *batch, int threads, const mc_watch *watch,
                         mc_scratch *scratch, float *logits, mc_error *error)
{
    if (batch->count == 0)
        return MC_OK;
    threads = threads < 1 ? 1 : threads;
    MC_TRY(mc_scratch_reserve(scratch, threads, error));
    const size_t groups = group_count(batch, (size_t)threads);
    mc_meter meter = {.watch = watch};
    run r = {.whole = {.network = network,
                       .weights = weights,
                       .kernels = mc_nn_kernels_now(),
                       .batch = batch,
                       .meter = &meter},
             .cuts = mc_alloc((groups + 1) * sizeof *r.cuts),
             .groups = groups,
             .workers = scratch->workers,
             .logits = logits};
    if (!r.cuts)
        return mc_fail_memory(error);
    cut(batch, r.cuts, groups);
    const mc_status status = compute_all(&r, (size_t)threads, error);
    mc_free(r.cuts);
    return status;
}
