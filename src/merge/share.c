#include "merge/share.h"

#include "base/memory.h"
#include "merge/merged.h"
#include "merge/plan.h"

/*
 * Passes over the inputs of a method with statistics: one or two rounds, and `apply`. The exact
 * number depends on the values.
 */
enum { PASSES = 3 };

/* What is missing of one tensor: bytes begin … end − 1 of the stream. */
typedef struct piece {
    const mc_source *tensor;
    size_t index;
    int64_t start; /* of the tensor in the stream */
    mc_span span;
    double reads;   /* bytes of inputs behind a byte of output */
    double density; /* cost of a byte of output */
} piece;

typedef struct cutting {
    mc_shares *shares;
    double total, done; /* cost of everything, and of what has a process */
    int rank;           /* the process that gets the next piece */
} cutting;

static void set_density(piece *p)
{
    const mc_job *const job = mc_merged_job(p->tensor);
    double reads = job ? 0 : (double)p->tensor->bytes;
    for (size_t i = 0; job && i < job->input_count; i++)
        reads += (double)job->inputs[i]->bytes;
    p->reads = reads / (double)p->tensor->bytes;
    p->density = p->reads * (job && mc_job_statistics(job) ? PASSES : 1) + 1;
}

/* ---- one piece ------------------------------------------------------------------------------- */

/* The place nearest to `wanted` where a piece may be cut, its ends included. */
static int64_t cut_near(const piece *p, int64_t wanted)
{
    const mc_job *const job = mc_merged_job(p->tensor);
    const int64_t unit = p->tensor->count > 0 ? p->tensor->bytes / p->tensor->count : 1;
    const int64_t step = (job ? mc_job_grain(job) : 1) * unit;
    if (step <= 0 || step >= p->tensor->bytes)
        return wanted - p->span.begin > p->span.end - wanted ? p->span.end : p->span.begin;
    const int64_t at = p->start + (wanted - p->start + step / 2) / step * step;
    return at < p->span.begin ? p->span.begin : at > p->span.end ? p->span.end : at;
}

static mc_status add_to_share(cutting *c, const piece *p, mc_span span, mc_error *error)
{
    mc_share *const share = &c->shares->of[c->rank];
    const double cost = p->density * (double)(span.end - span.begin);
    share->cost += cost;
    share->read += (int64_t)(p->reads * (double)(span.end - span.begin));
    share->write += span.end - span.begin;
    c->done += cost;
    return mc_spans_add(&share->spans, span, error);
}

static mc_status note_cut(mc_shares *shares, size_t index, mc_error *error)
{
    if (shares->cut_count > 0 && shares->cut[shares->cut_count - 1] == index)
        return MC_OK;
    if (!MC_GROW(shares->cut, shares->cut_count, shares->cut_capacity))
        return mc_fail_memory(error);
    shares->cut[shares->cut_count++] = index;
    return MC_OK;
}

/* Gives the piece to the process whose turn it is, and what is too much for that to the next. */
static mc_status hand_out(cutting *c, piece *p, mc_error *error)
{
    while (p->span.begin < p->span.end) {
        const double due = c->total * (c->rank + 1) / c->shares->count - c->done;
        const double cost = p->density * (double)(p->span.end - p->span.begin);
        if (c->rank == c->shares->count - 1 || cost <= due)
            return add_to_share(c, p, p->span, error);
        const int64_t at = cut_near(p, p->span.begin + (int64_t)(due > 0 ? due / p->density : 0));
        MC_TRY(add_to_share(c, p, (mc_span){p->span.begin, at}, error));
        if (at > p->start && at < p->start + p->tensor->bytes)
            MC_TRY(note_cut(c->shares, p->index, error));
        p->span.begin = at;
        c->rank++;
    }
    return MC_OK;
}

/* ---- all pieces ------------------------------------------------------------------------------ */

/* Calls `visit` with each missing piece of each tensor, in order. */
static mc_status for_each_piece(mc_source *const *tensors, size_t count, const mc_spans *missing,
                                mc_status (*visit)(cutting *c, piece *p, mc_error *error),
                                cutting *c, mc_error *error)
{
    int64_t start = 0;
    size_t at = 0;
    for (size_t i = 0; i < count; start += tensors[i++]->bytes) {
        const int64_t end = start + tensors[i]->bytes;
        while (at < missing->count && missing->items[at].end <= start)
            at++;
        for (size_t k = at; k < missing->count && missing->items[k].begin < end; k++) {
            const mc_span whole = missing->items[k];
            piece p = {.tensor = tensors[i], .index = i, .start = start};
            p.span.begin = whole.begin > start ? whole.begin : start;
            p.span.end = whole.end < end ? whole.end : end;
            if (p.span.begin == p.span.end)
                continue;
            set_density(&p);
            MC_TRY(visit(c, &p, error));
        }
    }
    return MC_OK;
}

static mc_status add_cost(cutting *c, piece *p, mc_error *error)
{
    (void)error;
    c->total += p->density * (double)(p->span.end - p->span.begin);
    return MC_OK;
}

mc_status mc_shares_new(mc_source *const *tensors, size_t count, const mc_spans *missing,
                        int processes, mc_shares *out, mc_error *error)
{
    cutting c = {.shares = out};
    out->of = mc_alloc_zero((size_t)processes, sizeof *out->of);
    if (!out->of)
        return mc_fail_memory(error);
    out->count = processes;
    MC_TRY(for_each_piece(tensors, count, missing, add_cost, &c, error));
    return for_each_piece(tensors, count, missing, hand_out, &c, error);
}

mc_status mc_plan_shares(const mc_plan *plan, int processes, mc_plan_share *out, mc_error *error)
{
    mc_shares shares = {0};
    mc_spans all = {0};
    int64_t read, written, memory;
    mc_source **const sources = mc_outputs_sources(&plan->outputs);
    mc_status status = sources ? MC_OK : mc_fail_memory(error);
    mc_plan_bytes(plan, NULL, &read, &written, &memory);
    if (status == MC_OK)
        status = mc_spans_add(&all, (mc_span){0, written}, error);
    if (status == MC_OK)
        status = mc_shares_new(sources, plan->outputs.count, &all, processes, &shares, error);
    for (int i = 0; status == MC_OK && i < processes; i++)
        out[i] = (mc_plan_share){shares.of[i].read, shares.of[i].write, shares.of[i].cost};
    mc_shares_free(&shares);
    mc_spans_free(&all);
    mc_free(sources);
    return status;
}

void mc_shares_free(mc_shares *shares)
{
    for (int i = 0; i < shares->count; i++)
        mc_spans_free(&shares->of[i].spans);
    mc_free(shares->of);
    mc_free(shares->cut);
    *shares = (mc_shares){0};
}

int mc_shares_owner(const mc_shares *shares, int64_t position)
{
    for (int i = 0; i < shares->count; i++)
        for (size_t k = 0; k < shares->of[i].spans.count; k++)
            if (position >= shares->of[i].spans.items[k].begin &&
                position < shares->of[i].spans.items[k].end)
                return i;
    return -1;
}
