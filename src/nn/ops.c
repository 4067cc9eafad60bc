#include "nn/ops.h"

#include <stdatomic.h>
#include <string.h>

/* Items first … end − 1. */
typedef struct part {
    size_t first, end;
} part;

/*
 * This member's share of `count` items.
 *
 * Shares differ by one item at most and cover all items without overlap.
 */
static part part_of(const mc_group *g, size_t count)
{
    const size_t members = (size_t)mc_team_size(g->team), member = (size_t)g->member;
    return (part){count * member / members, count * (member + 1) / members};
}

static const float *weight(const mc_group *g, int index)
{
    return g->weights->stored[index].values;
}

static size_t width_of(const mc_group *g, int value)
{
    return (size_t)g->network->values[value].width;
}

/* ---- embeddings ------------------------------------------------------------------------------ */

/* The token's row in the position table; `last` counts the tokens numbered so far. */
static int64_t position_of(const mc_network *n, int32_t id, int64_t *last)
{
    if (n->positions == MC_POSITIONS_PLAIN)
        return (*last)++;
    return id == n->padding ? n->padding : n->padding + ++*last;
}

static void embed_token(const mc_group *g, const mc_op *op, size_t token, int64_t position,
                        float *out)
{
    const size_t width = width_of(g, op->out);
    const int32_t id = g->batch->ids[token];
    memcpy(out, weight(g, op->weights[0]) + (size_t)id * width, width * sizeof *out);
    if (op->weights[2] >= 0) {
        const size_t type = g->batch->types ? g->batch->types[token] : 0;
        g->kernels->add(out, weight(g, op->weights[2]) + type * width, width);
    }
    g->kernels->add(out, weight(g, op->weights[1]) + (size_t)position * width, width);
}

static mc_status embed(const mc_group *g, const mc_op *op, mc_error *error)
{
    (void)error;
    const size_t width = width_of(g, op->out);
    const part sequences = part_of(g, g->count);
    float *out = g->values->floats[op->out] + mc_group_start(g, sequences.first) * width;
    for (size_t i = sequences.first; i < sequences.end; i++) {
        int64_t last = 0;
        for (size_t t = g->batch->starts[g->first + i]; t < g->batch->starts[g->first + i + 1];
             t++, out += width)
            embed_token(g, op, t, position_of(g->network, g->batch->ids[t], &last), out);
    }
    return MC_OK;
}

/* ---- normalisation --------------------------------------------------------------------------- */

static mc_status normalize(const mc_group *g, const mc_op *op, mc_error *error)
{
    (void)error;
    float *const *const floats = g->values->floats;
    const size_t width = width_of(g, op->out);
    const part rows = part_of(g, mc_group_rows(g, op->out));
    const size_t at = rows.first * width;
    g->kernels->normalize(floats[op->out] + at, floats[op->in[0]] + at,
                          op->in[1] < 0 ? NULL : floats[op->in[1]] + at, rows.end - rows.first,
                          width, weight(g, op->weights[0]), weight(g, op->weights[1]),
                          g->network->epsilon);
    return MC_OK;
}

/* ---- products -------------------------------------------------------------------------------- */

/* Rounds `count` rows of a value, from row `first` on, to int8. */
static void quantize(const mc_group *g, int value, size_t first, size_t count, const float *from)
{
    const size_t width = width_of(g, value);
    g->kernels->quantize((uint8_t *)g->values->inputs[value] + first * width,
                         mc_group_scales(g, value) + first, from, count, width);
}

typedef struct int8_product {
    const mc_group *g;
    const mc_op *op;
    size_t first; /* row */
} int8_product;

static void finish_block(void *user, size_t first, size_t count, const void *sums)
{
    const int8_product *const p = user;
    const mc_group *const g = p->g;
    const int out = p->op->out;
    const size_t width = width_of(g, out), row = p->first + first;
    const mc_stored_weight *const w = &g->weights->stored[p->op->weights[0]];
    const mc_int8_columns columns = {w->scales, w->zeros, mc_packed_bias(w->packed[0])};
    /* A result that only a product reads is rounded while the block is in the cache. */
    float *const kept = g->values->floats[out];
    float *const to = kept ? kept + row * width : g->workspace->block;
    g->kernels->dequantize(to, sums, mc_group_scales(g, p->op->in[0]) + row, count, &columns, width,
                           p->op->activation);
    if (!kept)
        quantize(g, out, row, count, to);
}

/* A row of a panel of a value; a value without panels has one. */
static char *panel_at(const mc_group *g, int value, void *from, mc_dtype dtype, int panel,
                      size_t row)
{
    const int panels = g->network->values[value].panels;
    /* A panel has room for all rows of the value, then the next one follows. */
    const size_t before = panels > 1 ? (size_t)panel * mc_group_room(g, value) : 0;
    const int64_t columns = g->network->values[value].width / panels;
    const size_t pitch = (size_t)mc_product_pitch(dtype, columns);
    return (char *)from + (before + row) * pitch * (size_t)mc_dtype_bytes(dtype, 1);
}

/* Rows per block that all parts of a matrix can compute. */
static size_t rows_of_blocks(const mc_stored_weight *stored)
{
    size_t most = 0;
    for (int i = 0; i < stored->panels; i++) {
        const size_t rows = mc_packed_rows(stored->packed[i]);
        most = rows > most ? rows : most;
    }
    return most;
}

static mc_status product(const mc_group *g, const mc_op *op, mc_error *error)
{
    const int in = op->in[0], out = op->out;
    const size_t rows = mc_group_rows(g, out);
    const mc_stored_weight *const stored = &g->weights->stored[op->weights[0]];
    const size_t block = rows_of_blocks(stored);
    /* Members share whole blocks: a product also writes the rows that fill up the last one. */
    const part blocks = part_of(g, (rows + block - 1) / block);
    if (blocks.first == blocks.end)
        return MC_OK;
    /* The last block may end behind the last row. */
    const size_t first = blocks.first * block, end = blocks.end * block;
    const size_t count = (end < rows ? end : rows) - first;
    const mc_dtype dtype = g->network->dtype, result = g->network->weights[op->weights[0]].result;
    if (dtype == MC_I8) {
        int8_product p = {g, op, first};
        const char *const x = panel_at(g, in, g->values->inputs[in], dtype, 0, first);
        return mc_product_run_blocks(stored->packed[0], count, x, g->workspace->sums, finish_block,
                                     &p, g->workspace->product, error);
    }
    void *const y = result == MC_F32 ? g->values->floats[out] : g->values->inputs[out];
    for (int i = 0; i < stored->panels; i++)
        MC_TRY(mc_product_run(stored->packed[i], count,
                              panel_at(g, in, g->values->inputs[in], dtype, i, first),
                              panel_at(g, out, y, result, i, first), g->workspace->product, error));
    return MC_OK;
}

/* ---- attention ------------------------------------------------------------------------------- */

static void attend(const mc_group *g, const mc_op *op, size_t sequence, size_t head)
{
    float *const *const floats = g->values->floats;
    const size_t width = width_of(g, op->out), size = width / (size_t)g->network->heads;
    /* In the last block there is one query per sequence, its first token. */
    const bool all = g->network->values[op->in[0]].rows == MC_ROWS_TOKENS;
    const size_t start = mc_group_start(g, sequence);
    const size_t length = mc_group_start(g, sequence + 1) - start;
    const size_t query = (all ? start : sequence) * width + head * size;
    const size_t key = start * width + head * size;
    const mc_attention a = {.queries = floats[op->in[0]] + query,
                            .keys = floats[op->in[1]] + key,
                            .values = floats[op->in[2]] + key,
                            .query_count = all ? length : 1,
                            .key_count = length,
                            .size = size,
                            .stride = width};
    g->kernels->attention(&a, floats[op->out] + query, g->workspace->attention);
}

static mc_status attention(const mc_group *g, const mc_op *op, mc_error *error)
{
    (void)error;
    const size_t heads = (size_t)g->network->heads;
    /* Sequences and heads are independent of each other. */
    const part items = part_of(g, g->count * heads);
    for (size_t i = items.first; i < items.end; i++)
        attend(g, op, i / heads, i % heads);
    return MC_OK;
}

static mc_status first(const mc_group *g, const mc_op *op, mc_error *error)
{
    (void)error;
    const size_t width = width_of(g, op->out);
    const part sequences = part_of(g, g->count);
    for (size_t i = sequences.first; i < sequences.end; i++)
        memcpy(g->values->floats[op->out] + i * width,
               g->values->floats[op->in[0]] + mc_group_start(g, i) * width, width * sizeof(float));
    return MC_OK;
}

/* ---- all ------------------------------------------------------------------------------------- */

/* Returns whether a float32 result is also needed in the form for products. */
static bool has_both(const mc_group *g, const mc_op *op)
{
    const mc_nn_value *const v = &g->network->values[op->out];
    return v->floats && v->inputs && g->network->dtype != MC_F32;
}

/* bf16 rows, with zeros behind each if the product needs them. */
static void round_rows(mc_dtype dtype, char *to, const float *from, size_t rows, size_t width)
{
    const size_t pitch = (size_t)mc_product_pitch(dtype, (int64_t)width);
    const size_t bytes = (size_t)mc_dtype_bytes(dtype, 1);
    if (pitch == width) {
        mc_dtype_from_f32(dtype, to, from, rows * width);
        return;
    }
    for (size_t row = 0; row < rows; row++, from += width, to += pitch * bytes) {
        mc_dtype_from_f32(dtype, to, from, width);
        memset(to + width * bytes, 0, (pitch - width) * bytes);
    }
}

static void narrow(const mc_group *g, const mc_op *op)
{
    const mc_dtype dtype = g->network->dtype;
    const size_t width = width_of(g, op->out);
    const part rows = part_of(g, mc_group_rows(g, op->out));
    const size_t count = rows.end - rows.first;
    const float *const from = g->values->floats[op->out] + rows.first * width;
    if (dtype == MC_I8)
        quantize(g, op->out, rows.first, count, from);
    else
        round_rows(dtype, panel_at(g, op->out, g->values->inputs[op->out], dtype, 0, rows.first),
                   from, count, width);
}

/* ---- watching -------------------------------------------------------------------------------- */

static mc_status check_cancel(const mc_group *g, mc_error *error)
{
    const mc_watch *const watch = g->meter->watch;
    /* Other threads may set it while this one reads. */
    const bool cancelled = watch && watch->cancel &&
                           __atomic_load_n(watch->cancel, __ATOMIC_RELAXED);
    return cancelled ? mc_fail(error, MC_INTERRUPTED, "interrupted") : MC_OK;
}

/* Counts an operation, once per group. */
static void report_step(const mc_group *g)
{
    const mc_watch *const watch = g->meter->watch;
    /* All members of a team work on the same tokens. */
    const size_t added = g->member == 0 ? g->tokens : 0;
    const size_t steps = atomic_fetch_add(&g->meter->steps, added) + added;
    if (watch && watch->progress && g->calls_back)
        watch->progress((double)steps / (double)g->network->op_count, watch->user);
}

static mc_status run_op(const mc_group *g, const mc_op *op, mc_error *error)
{
    /* MC_OP_ACTIVATE occurs in networks for derivatives only, which trace_real.h computes. */
    static mc_status (*const functions[])(const mc_group *, const mc_op *, mc_error *) = {
        [MC_OP_EMBED] = embed,         [MC_OP_NORMALIZE] = normalize, [MC_OP_PRODUCT] = product,
        [MC_OP_ATTENTION] = attention, [MC_OP_FIRST] = first,
    };
    MC_TRY(check_cancel(g, error));
    return functions[op->kind](g, op, error);
}

/* Members meet after each operation; once one has failed, or was cancelled, all stop. */
mc_status mc_group_run(const mc_group *group, mc_error *error)
{
    for (size_t i = 0; i < group->network->op_count; i++) {
        const mc_op *const op = &group->network->ops[i];
        const mc_status status = run_op(group, op, error);
        if (!mc_team_barrier(group->team, status == MC_OK))
            return status;
        if (has_both(group, op)) {
            /*
             * Every row of the float32 result is complete here; the next operation waits for the
             * rounded ones.
             */
            narrow(group, op);
            /* Rounding cannot fail. */
            (void)mc_team_barrier(group->team, true);
        }
        report_step(group);
    }
    return MC_OK;
}
