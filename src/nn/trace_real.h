/*
 * The text of mc_trace for one type of number: REAL, TYPE, TRACE(name) for its functions, PRODUCT
 * and GEMM(name) of gemm.h, BLAS_GEMM of lapack.h. The including file defines the functions that
 * are declared first.
 */
#include "nn/trace.h"

#include "base/memory.h"
#include "linalg/gemm.h"
#include "linalg/lapack.h"

#include <math.h>
#include <string.h>

static void activate(REAL *out, const REAL *in, size_t count, mc_activation activation);
static void activate_back(REAL *gradient, const REAL *in, size_t count, mc_activation activation);
static void softmax(REAL *x, size_t rows, size_t count);  /* rows of `count` numbers */
static void add(REAL *out, const REAL *in, size_t count); /* out += in */
static void add_squares(REAL *out, const REAL *in, size_t count);
/* As in kernels.h. */
static void normalize(REAL *out, const REAL *in, const REAL *added, size_t rows, size_t width,
                      const REAL *gain, const REAL *shift, float epsilon);
static void normalize_back(REAL *dx, REAL *x, REAL *gains, REAL *shifts, const REAL *in,
                           const REAL *added, const REAL *dy, const REAL *gain, size_t width,
                           float epsilon);
static void softmax_back(REAL *dp, const REAL *p, size_t rows, size_t count, REAL scale);
static mc_status read_weight(const mc_source *source, REAL *out, mc_error *error);

enum { LANES = 16 };

/* Where an array of a value lies: in the group's memory, or in that of its block. */
typedef struct place {
    int block;   /* −1: of the group */
    bool used;   /* some operation writes it */
    bool shared; /* by all blocks: an activation, which the backward pass computes again */
    size_t at;
} place;

struct TYPE {
    mc_network network;
    const mc_lapack *blas;
    mc_team *team;
    int threads;
    REAL **weights;
    place *places;
    REAL **values, **gradients; /* [value_count] of the group */
    /* The group. */
    const mc_batch *batch;
    size_t first, count, tokens, longest;
    REAL *memory;
    size_t memory_size;
    /* Numbers that a block and the group keep, and those that blocks share. */
    size_t block_size, group_size, shared_size;
    bool keeps_blocks, computed;
    REAL *sums;   /* per sequence: sums of a normalisation */
    size_t *ends; /* [2][count]: where its tokens end, and itself as the only row */
    REAL *panels; /* for products */
    size_t panels_size;
    int64_t *rows;       /* [3][longest]: the rows of a sequence in each table of embeddings */
    REAL **scratch;      /* of each thread … */
    size_t scratch_size; /* … so many numbers */
};
typedef struct TYPE trace;

/* ---- making one ------------------------------------------------------------------------------ */

/*
 * A value lies in its block's memory if only that block uses it. Each value is written before it is
 * read, so the writer sets the block and a reader elsewhere moves the value to the group.
 */
static void find_places(trace *t)
{
    const mc_network *const n = &t->network;
    for (size_t i = 0; i < n->value_count; i++)
        t->places[i] = (place){.block = -1};
    for (size_t i = 0; i < n->op_count; i++) {
        const mc_op *const op = &n->ops[i];
        for (int k = 0; k < 3; k++) /* what another block reads belongs to the group */
            if (op->in[k] >= 0 && t->places[op->in[k]].block != op->block)
                t->places[op->in[k]].block = -1;
        t->places[op->out] = (place){
            .block = op->block, .used = true, .shared = op->kind == MC_OP_ACTIVATE};
    }
}

void TRACE(free)(trace *t)
{
    if (!t)
        return;
    for (size_t i = 0; t->weights && i < t->network.weight_count; i++)
        mc_free(t->weights[i]);
    for (int i = 0; t->scratch && i < t->threads; i++)
        mc_free(t->scratch[i]);
    mc_free(t->scratch);
    mc_free(t->weights);
    mc_free(t->places);
    mc_free(t->values);
    mc_free(t->gradients);
    mc_free(t->memory);
    mc_free(t->sums);
    mc_free(t->ends);
    mc_free(t->panels);
    mc_free(t->rows);
    mc_team_free(t->team);
    mc_network_free(&t->network);
    mc_free(t);
}

static size_t size_of_weight(const mc_weight *w)
{
    return (size_t)w->shape[0] * (size_t)(w->rank == 2 ? w->shape[1] : 1);
}

static mc_status set_up(trace *t, const json_t *config, const char *file, bool whole, int threads,
                        mc_error *error)
{
    mc_network *const n = &t->network;
    MC_TRY(mc_lapack_get(&t->blas, error));
    MC_TRY(mc_network_build_plain(n, config, file, whole, error));
    if (threads > 1)
        MC_TRY(mc_team_new(threads, &t->team, error));
    t->threads = mc_team_size(t->team);
    t->scratch = mc_alloc_zero((size_t)t->threads, sizeof *t->scratch);
    t->places = mc_alloc_zero(n->value_count, sizeof *t->places);
    t->values = mc_alloc_zero(n->value_count, sizeof *t->values);
    t->gradients = mc_alloc_zero(n->value_count, sizeof *t->gradients);
    t->weights = mc_alloc_zero(n->weight_count, sizeof *t->weights);
    if (!t->scratch || !t->places || !t->values || !t->gradients || !t->weights)
        return mc_fail_memory(error);
    find_places(t);
    for (size_t i = 0; i < n->weight_count; i++) {
        t->weights[i] = mc_alloc_huge(size_of_weight(&n->weights[i]) * sizeof(REAL));
        if (!t->weights[i])
            return mc_fail_memory(error);
    }
    return MC_OK;
}

mc_status TRACE(new)(const json_t *config, const char *file, bool whole, int threads, trace **out,
                     mc_error *error)
{
    trace *const t = mc_alloc_zero(1, sizeof *t);
    if (!t)
        return mc_fail_memory(error);
    const mc_status status = set_up(t, config, file, whole, threads, error);
    if (status == MC_OK)
        *out = t;
    else
        TRACE(free)(t);
    return status;
}

mc_network *TRACE(network)(trace *t)
{
    return &t->network;
}

int TRACE(threads)(const trace *t)
{
    return t->threads;
}

REAL *TRACE(weight)(trace *t, size_t index)
{
    return t->weights[index];
}

REAL *TRACE(value)(trace *t, int value)
{
    return t->values[value];
}

static mc_status check_weight(const REAL *x, size_t count, mc_error *error)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(x[i]))
            return mc_fail(error, MC_FORMAT, "expected finite numbers, found NaN or infinity");
    return MC_OK;
}

static mc_status load_weight(trace *t, size_t index, const mc_state_dict *from, mc_error *error)
{
    const mc_weight *const w = &t->network.weights[index];
    const mc_source *const source = mc_state_dict_find(from, w->name);
    if (!source)
        return mc_fail(error, MC_NOT_FOUND, "expected a tensor of this name, found none");
    bool same = mc_source_rank(source) == w->rank;
    for (int i = 0; same && i < w->rank; i++)
        same = mc_source_shape(source)[i] == w->shape[i];
    if (!same)
        return mc_fail(error, MC_MISMATCH,
                       "expected the shape that the configuration says, found another");
    MC_TRY(read_weight(source, t->weights[index], error));
    return check_weight(t->weights[index], size_of_weight(w), error);
}

mc_status TRACE(load_weight)(trace *t, const mc_state_dict *from, size_t index, mc_error *error)
{
    t->computed = false;
    return mc_in_tensor(error, t->network.weights[index].name, load_weight(t, index, from, error));
}

typedef struct loading {
    trace *t;
    const mc_state_dict *from;
    const volatile int *cancel;
} loading;

static mc_status load_item(void *arg, int worker, size_t item, mc_error *error)
{
    (void)worker;
    const loading *const l = arg;
    if (l->cancel && __atomic_load_n(l->cancel, __ATOMIC_RELAXED))
        return mc_fail(error, MC_INTERRUPTED, "interrupted");
    return mc_in_tensor(error, l->t->network.weights[item].name,
                        load_weight(l->t, item, l->from, error));
}

mc_status TRACE(load)(trace *t, const mc_state_dict *from, const volatile int *cancel,
                      mc_error *error)
{
    loading l = {t, from, cancel};
    t->computed = false;
    return mc_parallel(t->network.weight_count, t->threads, load_item, &l, error);
}

mc_status TRACE(load_block)(trace *t, const mc_state_dict *from, int block, mc_error *error)
{
    const mc_network *const n = &t->network;
    const size_t first = mc_network_first(n, block);
    for (size_t i = first; i < n->op_count && n->ops[i].block == n->ops[first].block; i++)
        for (int k = 0; k < 3; k++) {
            const int w = n->ops[i].weights[k];
            if (w >= 0)
                MC_TRY(TRACE(load_weight)(t, from, (size_t)w, error));
        }
    return MC_OK;
}

/* ---- the group's memory ---------------------------------------------------------------------- */

static size_t rows_of(const trace *t, int value)
{
    return t->network.values[value].rows == MC_ROWS_TOKENS ? t->tokens : t->count;
}

static size_t width_of(const trace *t, int value)
{
    return (size_t)t->network.values[value].width;
}

static size_t size_of_value(const trace *t, size_t value)
{
    return (rows_of(t, (int)value) * width_of(t, (int)value) + LANES - 1) / LANES * LANES;
}

/* Gives each value its place; blocks have equal ones. */
static void place_values(trace *t)
{
    const size_t count = t->network.value_count;
    t->group_size = t->block_size = t->shared_size = 0;
    for (size_t i = 0; i < count; i++)
        if (t->places[i].used && t->places[i].block < 0) {
            t->places[i].at = t->group_size;
            t->group_size += size_of_value(t, i);
        }
    for (int block = 0; block < t->network.blocks; block++) {
        size_t size[2] = {0};
        for (size_t i = 0; i < count; i++)
            if (t->places[i].used && t->places[i].block == block) {
                t->places[i].at = size[t->places[i].shared];
                size[t->places[i].shared] += size_of_value(t, i);
            }
        t->block_size = size[0] > t->block_size ? size[0] : t->block_size;
        t->shared_size = size[1] > t->shared_size ? size[1] : t->shared_size;
    }
}

static size_t longest_of(const mc_batch *batch, size_t first, size_t count)
{
    size_t longest = 0;
    for (size_t i = first; i < first + count; i++) {
        const size_t length = batch->starts[i + 1] - batch->starts[i];
        longest = length > longest ? length : longest;
    }
    return longest;
}

/* Attention needs p and dp; rows of normalisations and embeddings need a few more. */
static mc_status reserve_scratch(trace *t, mc_error *error)
{
    const size_t size = 2 * t->longest * t->longest + 4 * width_of(t, 0) + LANES;
    for (int i = 0; i < t->threads && size > t->scratch_size; i++) {
        mc_free(t->scratch[i]);
        t->scratch[i] = mc_alloc(size * sizeof(REAL));
        if (!t->scratch[i])
            return mc_fail_memory(error);
    }
    t->scratch_size = size > t->scratch_size ? size : t->scratch_size;
    return MC_OK;
}

/* Group and blocks, once for values and once for gradients; gradients of blocks never stay. */
static mc_status reserve_memory(trace *t, bool backward, mc_error *error)
{
    const size_t blocks = (size_t)t->network.blocks;
    const size_t all = (t->group_size + blocks * t->block_size + t->shared_size) * sizeof(REAL);
    t->keeps_blocks = backward && all <= MC_TRACE_KEPT;
    const size_t kept = t->keeps_blocks ? blocks : 1;
    const size_t one = t->group_size + t->block_size + t->shared_size;
    const size_t size = one + (kept - 1) * t->block_size + (backward ? one : 0);
    if (size > t->memory_size) {
        mc_free(t->memory);
        t->memory = mc_alloc_huge(size * sizeof(REAL));
        t->memory_size = t->memory ? size : 0;
    }
    size_t widest = 0;
    for (size_t i = 0; i < t->network.value_count; i++)
        widest = width_of(t, (int)i) > widest ? width_of(t, (int)i) : widest;
    mc_free(t->sums);
    mc_free(t->ends);
    mc_free(t->rows);
    t->sums = mc_alloc(t->count * 2 * widest * sizeof(REAL));
    t->ends = mc_alloc(2 * t->count * sizeof *t->ends);
    t->rows = mc_alloc(3 * t->longest * sizeof *t->rows);
    if (!t->memory || !t->sums || !t->ends || !t->rows)
        return mc_fail_memory(error);
    for (size_t i = 0; i < t->count; i++) {
        t->ends[i] = mc_trace_start(t->batch, t->first, i + 1);
        t->ends[t->count + i] = i + 1;
    }
    return reserve_scratch(t, error);
}

static void point(trace *t, bool backward)
{
    REAL *const blocks = t->memory + t->group_size;
    const size_t kept = t->keeps_blocks ? (size_t)t->network.blocks : 1;
    REAL *const shared = blocks + kept * t->block_size;
    REAL *const gradients = shared + t->shared_size;
    for (size_t i = 0; i < t->network.value_count; i++) {
        const place *const p = &t->places[i];
        const size_t slot = t->keeps_blocks && p->block > 0 ? (size_t)p->block : 0;
        const size_t behind = p->shared ? t->block_size : 0;
        t->values[i] = p->block < 0 ? t->memory + p->at
                       : p->shared  ? shared + p->at
                                    : blocks + slot * t->block_size + p->at;
        t->gradients[i] = !backward      ? NULL
                          : p->block < 0 ? gradients + p->at
                                         : gradients + t->group_size + behind + p->at;
    }
}

static mc_status check_tokens(const trace *t, mc_error *error)
{
    const mc_network *const n = &t->network;
    const mc_batch *const b = t->batch;
    if (t->longest > (size_t)n->max_length)
        return mc_fail(error, MC_USAGE, "expected sequences of at most %d tokens, found %zu",
                       n->max_length, t->longest);
    for (size_t i = b->starts[t->first]; i < b->starts[t->first + t->count]; i++) {
        if (b->ids[i] < 0 || b->ids[i] >= n->vocabulary)
            return mc_fail(error, MC_MISMATCH,
                           "token id: expected less than the model's vocabulary (%d), found %d",
                           n->vocabulary, b->ids[i]);
        if (b->types && n->types > 0 && b->types[i] >= n->types)
            return mc_fail(error, MC_MISMATCH, "segment type: expected less than %d, found %d",
                           n->types, b->types[i]);
    }
    return MC_OK;
}

mc_status TRACE(begin)(trace *t, const mc_batch *batch, size_t first, size_t count, bool backward,
                       mc_error *error)
{
    t->batch = batch;
    t->first = first;
    t->count = count;
    t->tokens = batch->starts[first + count] - batch->starts[first];
    t->longest = longest_of(batch, first, count);
    t->computed = false;
    MC_TRY(check_tokens(t, error));
    place_values(t);
    MC_TRY(reserve_memory(t, backward, error));
    point(t, backward);
    return MC_OK;
}

/* ---- sharing work ---------------------------------------------------------------------------- */

/* An operation as items that any thread may compute. */
typedef struct work {
    trace *t;
    const mc_op *op;
    size_t items;
    size_t *next; /* atomic: the first item that no thread has taken */
    void (*item)(const struct work *w, size_t index, REAL *scratch);
    mc_gradient_kind kind;
    REAL *const *to; /* gradients */
} work;

static mc_status share(void *arg, int index, int count, mc_error *error)
{
    const work *const w = arg;
    (void)count;
    (void)error;
    /* No item writes what another one does, so the order of items does not matter. */
    for (size_t i; (i = __atomic_fetch_add(w->next, 1, __ATOMIC_RELAXED)) < w->items;)
        w->item(w, i, w->t->scratch[index]);
    return MC_OK;
}

static mc_status each(work w, size_t items, void (*item)(const work *, size_t, REAL *),
                      mc_error *error)
{
    size_t next = 0;
    w.items = items;
    w.next = &next;
    w.item = item;
    if (items > 1)
        return mc_team_run(w.t->team, share, &w, error);
    if (items == 1)
        item(&w, 0, w.t->scratch[0]);
    return MC_OK;
}

/* Row-major C [m, n] = alpha · op(A) op(B) + beta · C, of one head. */
static void multiply(const trace *t, bool ta, bool tb, size_t m, size_t n, size_t k, REAL alpha,
                     const REAL *a, size_t lda, const REAL *b, size_t ldb, REAL beta, REAL *c,
                     size_t ldc)
{
    const int im = (int)m, in = (int)n, ik = (int)k, ia = (int)lda, ib = (int)ldb, ic = (int)ldc;
    /*
     * BLAS has columns: row-major C is its Cᵀ = op(B)ᵀ op(A)ᵀ. The last two are lengths of the
     * texts, which Fortran passes last.
     */
    t->blas->BLAS_GEMM(tb ? "T" : "N", ta ? "T" : "N", &in, &im, &ik, &alpha, b, &ib, a, &ia, &beta,
                       c, &ic, 1, 1);
}

/* Rows of a value that belong to sequence `index`: *count of them from the one returned. */
static size_t rows_of_sequence(const trace *t, int value, size_t index, size_t *count)
{
    if (t->network.values[value].rows == MC_ROWS_SEQUENCES) {
        *count = 1;
        return index;
    }
    const size_t start = mc_trace_start(t->batch, t->first, index);
    *count = mc_trace_start(t->batch, t->first, index + 1) - start;
    return start;
}

/* ---- embeddings ------------------------------------------------------------------------------ */

/* The row of table `which` (0: words, 1: positions, 2: types) for each token of a sequence. */
static int64_t row_of_token(const trace *t, int which, size_t token, int64_t *last)
{
    const mc_network *const n = &t->network;
    const int32_t id = t->batch->ids[token];
    if (which == 0)
        return id;
    if (which == 2)
        return t->batch->types ? t->batch->types[token] : 0;
    if (n->positions == MC_POSITIONS_PLAIN)
        return (*last)++;
    return id == n->padding ? n->padding : n->padding + ++*last;
}

static void embed_item(const work *w, size_t index, REAL *scratch)
{
    (void)scratch;
    trace *const t = w->t;
    const size_t width = width_of(t, w->op->out);
    size_t count, row = rows_of_sequence(t, w->op->out, index, &count);
    REAL *const out = t->values[w->op->out] + row * width;
    memset(out, 0, count * width * sizeof *out);
    for (int which = 0; which < 3; which++) {
        int64_t last = 0;
        for (size_t i = 0; i < count && w->op->weights[which] >= 0; i++) {
            const size_t token = t->batch->starts[t->first + index] + i;
            const REAL *const from = t->weights[w->op->weights[which]] +
                                     (size_t)row_of_token(t, which, token, &last) * width;
            add(out + i * width, from, width);
        }
    }
}

/* Adds a row's gradient, summed over the tokens of a sequence that have this row. */
static void add_row(const work *w, REAL *to, const REAL *from, size_t width)
{
    if (w->kind == MC_GRADIENT_SQUARES)
        add_squares(to, from, width);
    else
        add(to, from, width);
}

/*
 * One table. Threads would meet in its rows, so one thread does all: a row per token is little
 * beside products.
 */
static void embed_back_item(const work *w, size_t index, REAL *scratch)
{
    trace *const t = w->t;
    const int weight = w->op->weights[index];
    const size_t width = width_of(t, w->op->out);
    if (weight < 0 || !w->to[weight])
        return;
    for (size_t s = 0; s < t->count; s++) {
        size_t count, first = rows_of_sequence(t, w->op->out, s, &count);
        int64_t *const rows = t->rows + index * t->longest;
        int64_t last = 0;
        for (size_t i = 0; i < count; i++)
            /*
             * A word that comes several times in a sequence has one gradient there, which is
             * squared as a whole. −1 marks tokens that an earlier one has included.
             */
            rows[i] = row_of_token(t, (int)index, t->batch->starts[t->first + s] + i, &last);
        for (size_t i = 0; i < count; i++) {
            if (rows[i] < 0)
                continue;
            memset(scratch, 0, width * sizeof *scratch);
            for (size_t k = count; k-- > i;) {
                const REAL *const from = t->gradients[w->op->out] + (first + k) * width;
                for (size_t j = 0; j < width && rows[k] == rows[i]; j++)
                    scratch[j] += from[j];
                rows[k] = rows[k] == rows[i] && k != i ? -1 : rows[k];
            }
            add_row(w, w->to[weight] + (size_t)rows[i] * width, scratch, width);
        }
    }
}

/* ---- normalisation --------------------------------------------------------------------------- */

/* A row of the second input, or NULL. */
static const REAL *added_row(const trace *t, const mc_op *op, size_t row)
{
    return op->in[1] < 0 ? NULL : t->values[op->in[1]] + row * width_of(t, op->out);
}

/* One sequence. */
static void normalize_item(const work *w, size_t index, REAL *scratch)
{
    (void)scratch;
    trace *const t = w->t;
    const mc_op *const op = w->op;
    const size_t width = width_of(t, op->out);
    size_t count, row = rows_of_sequence(t, op->out, index, &count);
    normalize(t->values[op->out] + row * width, t->values[op->in[0]] + row * width,
              added_row(t, op, row), count, width, t->weights[op->weights[0]],
              t->weights[op->weights[1]], t->network.epsilon);
}

/*
 * A row: gradients of its inputs, which are added and so get the same one, and of gain and shift,
 * which are summed over the sequence. x is computed again: kept, it would take as much memory as
 * the value itself.
 */
static void normalize_row_back(const work *w, size_t row, REAL *x, REAL *gains, REAL *shifts)
{
    trace *const t = w->t;
    const mc_op *const op = w->op;
    const size_t width = width_of(t, op->out), at = row * width;
    REAL *const dx = x + width;
    normalize_back(dx, x, gains, shifts, t->values[op->in[0]] + at, added_row(t, op, row),
                   t->gradients[op->out] + at, t->weights[op->weights[0]], width,
                   t->network.epsilon);
    for (int k = 0; k < 2; k++)
        if (op->in[k] >= 0)
            add(t->gradients[op->in[k]] + at, dx, width);
}

static void normalize_back_item(const work *w, size_t index, REAL *scratch)
{
    trace *const t = w->t;
    const size_t width = width_of(t, w->op->out);
    REAL *const gains = t->sums + index * width;
    REAL *const shifts = t->sums + (t->count + index) * width;
    size_t count, row = rows_of_sequence(t, w->op->out, index, &count);
    memset(gains, 0, width * sizeof *gains);
    memset(shifts, 0, width * sizeof *shifts);
    for (; count > 0; count--, row++)
        normalize_row_back(w, row, scratch, gains, shifts);
}

/* Adds the sequences' sums, in order, to the gradient of a vector. */
static void add_sums(const work *w, int weight, const REAL *sums, size_t width)
{
    for (size_t s = 0; weight >= 0 && w->to[weight] && s < w->t->count; s++)
        add_row(w, w->to[weight], sums + s * width, width);
}

static mc_status normalize_op_back(const work *w, mc_error *error)
{
    const size_t width = width_of(w->t, w->op->out);
    MC_TRY(each(*w, w->t->count, normalize_back_item, error));
    add_sums(w, w->op->weights[0], w->t->sums, width);
    add_sums(w, w->op->weights[1], w->t->sums + w->t->count * width, width);
    return MC_OK;
}

/* ---- products -------------------------------------------------------------------------------- */

/*
 * C += A B for each of `count` products on all threads, in panels that grow when they must.
 * Together they have more blocks to share, and threads wait for each other less often.
 */
static mc_status add_products(trace *t, const PRODUCT *g, size_t count, mc_error *error)
{
    const size_t size = GEMM(work)(g, count, t->threads);
    if (size > t->panels_size) {
        mc_free(t->panels);
        t->panels = mc_alloc_huge(size * sizeof(REAL));
        t->panels_size = t->panels ? size : 0;
    }
    return t->panels ? GEMM(run)(g, count, t->team, t->panels, error) : mc_fail_memory(error);
}

/* y = x Wᵀ + b */
static PRODUCT product(const trace *t, const mc_op *op)
{
    const size_t in = width_of(t, op->in[0]), out = width_of(t, op->out);
    return (PRODUCT){.m = rows_of(t, op->out),
                     .n = out,
                     .k = in,
                     .a = t->values[op->in[0]],
                     .a_row = in,
                     .a_inner = 1,
                     .b = t->weights[op->weights[0]],
                     .b_column = in,
                     .b_inner = 1,
                     .c = t->values[op->out],
                     .stride = out,
                     .row = t->weights[op->weights[1]]};
}

/* dx += dy W */
static PRODUCT input_gradient(const trace *t, const mc_op *op)
{
    const size_t in = width_of(t, op->in[0]), out = width_of(t, op->out);
    return (PRODUCT){.m = rows_of(t, op->out),
                     .n = in,
                     .k = out,
                     .a = t->gradients[op->out],
                     .a_row = out,
                     .a_inner = 1,
                     .b = t->weights[op->weights[0]],
                     .b_column = 1,
                     .b_inner = in,
                     .c = t->gradients[op->in[0]],
                     .stride = in};
}

/* dW += dyᵀ x, or the squares of each sequence's. */
static PRODUCT weight_gradient(const work *w)
{
    const trace *const t = w->t;
    const mc_op *const op = w->op;
    const size_t in = width_of(t, op->in[0]), out = width_of(t, op->out);
    const bool tokens = t->network.values[op->out].rows == MC_ROWS_TOKENS;
    return (PRODUCT){.m = out,
                     .n = in,
                     .k = rows_of(t, op->out),
                     .a = t->gradients[op->out],
                     .a_row = 1,
                     .a_inner = out,
                     .b = t->values[op->in[0]],
                     .b_column = 1,
                     .b_inner = in,
                     .c = w->to[op->weights[0]],
                     .stride = in,
                     .ends = w->kind == MC_GRADIENT_SUM ? NULL : t->ends + (tokens ? 0 : t->count),
                     .parts = t->count};
}

/* Columns of a bias that one item computes. */
enum { BIAS_COLUMNS = 256 };

/* db = Σ dy over the rows of a sequence. */
static void bias_item(const work *w, size_t index, REAL *scratch)
{
    (void)scratch;
    const trace *const t = w->t;
    const size_t out = width_of(t, w->op->out), at = index * BIAS_COLUMNS;
    const size_t columns = out - at < BIAS_COLUMNS ? out - at : BIAS_COLUMNS;
    for (size_t s = 0; s < t->count; s++) {
        REAL sum[BIAS_COLUMNS] = {0};
        size_t count, row = rows_of_sequence(t, w->op->out, s, &count);
        for (; count > 0; count--, row++)
            add(sum, t->gradients[w->op->out] + row * out + at, columns);
        add_row(w, w->to[w->op->weights[1]] + at, sum, columns);
    }
}

static mc_status product_back(const work *w, mc_error *error)
{
    trace *const t = w->t;
    const size_t out = width_of(t, w->op->out);
    if (w->to[w->op->weights[1]])
        MC_TRY(each(*w, (out + BIAS_COLUMNS - 1) / BIAS_COLUMNS, bias_item, error));
    const PRODUCT g[] = {input_gradient(t, w->op), weight_gradient(w)};
    return add_products(t, g, w->to[w->op->weights[0]] ? 2 : 1, error);
}

/* ---- activations ----------------------------------------------------------------------------- */

/* Rows of a value that one item computes. */
enum { ITEM_ROWS = 16 };

static size_t row_items(const trace *t, int value)
{
    return (rows_of(t, value) + ITEM_ROWS - 1) / ITEM_ROWS;
}

/* The numbers of item `index`: *count of them from the one returned. */
static size_t numbers_of_item(const trace *t, int value, size_t index, size_t *count)
{
    const size_t rows = rows_of(t, value), row = index * ITEM_ROWS, width = width_of(t, value);
    *count = (rows - row < ITEM_ROWS ? rows - row : ITEM_ROWS) * width;
    return row * width;
}

static void activate_item(const work *w, size_t index, REAL *scratch)
{
    (void)scratch;
    trace *const t = w->t;
    size_t count, at = numbers_of_item(t, w->op->out, index, &count);
    activate(t->values[w->op->out] + at, t->values[w->op->in[0]] + at, count, w->op->activation);
}

static void activate_back_item(const work *w, size_t index, REAL *scratch)
{
    (void)scratch;
    trace *const t = w->t;
    size_t count, at = numbers_of_item(t, w->op->out, index, &count);
    REAL *const to = t->gradients[w->op->in[0]] + at;
    memcpy(to, t->gradients[w->op->out] + at, count * sizeof *to); /* nobody else reads it */
    activate_back(to, t->values[w->op->in[0]] + at, count, w->op->activation);
}

/* ---- attention ------------------------------------------------------------------------------- */

/* One head of one sequence: offsets of its rows in queries and in keys and values. */
typedef struct head {
    size_t query, key, queries, keys, size, width;
    REAL scale;
} head;

static head head_at(const trace *t, const mc_op *op, size_t index)
{
    const size_t heads = (size_t)t->network.heads, width = width_of(t, op->out);
    const size_t size = width / heads, column = index % heads * size;
    head h = {.size = size, .width = width, .scale = (REAL)(1 / sqrt((double)size))};
    h.query = rows_of_sequence(t, op->in[0], index / heads, &h.queries) * width + column;
    h.key = rows_of_sequence(t, op->in[1], index / heads, &h.keys) * width + column;
    return h;
}

/* p = softmax(q kᵀ / √size) */
static void find_scores(const trace *t, const mc_op *op, const head *h, REAL *p)
{
    multiply(t, false, true, h->queries, h->keys, h->size, h->scale,
             t->values[op->in[0]] + h->query, h->width, t->values[op->in[1]] + h->key, h->width, 0,
             p, h->keys);
    softmax(p, h->queries, h->keys);
}

static void attention_item(const work *w, size_t index, REAL *p)
{
    trace *const t = w->t;
    const head h = head_at(t, w->op, index);
    find_scores(t, w->op, &h, p);
    multiply(t, false, false, h.queries, h.size, h.keys, 1, p, h.keys,
             t->values[w->op->in[2]] + h.key, h.width, 0, t->values[w->op->out] + h.query, h.width);
}

/*
 * o = p v with p = softmax(q kᵀ / √size):
 *
 *   dv = pᵀ do      dp = do vᵀ      ds as in softmax_back      dq = ds k      dk = dsᵀ q
 *
 * Scores are computed again: kept, they would take memory quadratic in the length of a sequence.
 */
static void attention_back_item(const work *w, size_t index, REAL *p)
{
    trace *const t = w->t;
    const mc_op *const op = w->op;
    const head h = head_at(t, op, index);
    REAL *const ds = p + h.queries * h.keys;
    const REAL *const dy = t->gradients[op->out] + h.query;
    find_scores(t, op, &h, p);
    multiply(t, true, false, h.keys, h.size, h.queries, 1, p, h.keys, dy, h.width, 1,
             t->gradients[op->in[2]] + h.key, h.width);
    multiply(t, false, true, h.queries, h.keys, h.size, 1, dy, h.width,
             t->values[op->in[2]] + h.key, h.width, 0, ds, h.keys);
    softmax_back(ds, p, h.queries, h.keys, h.scale);
    multiply(t, false, false, h.queries, h.size, h.keys, 1, ds, h.keys,
             t->values[op->in[1]] + h.key, h.width, 1, t->gradients[op->in[0]] + h.query, h.width);
    multiply(t, true, false, h.keys, h.size, h.queries, 1, ds, h.keys,
             t->values[op->in[0]] + h.query, h.width, 1, t->gradients[op->in[1]] + h.key, h.width);
}

/* ---- first tokens ---------------------------------------------------------------------------- */

static void first_item(const work *w, size_t index, REAL *scratch)
{
    (void)scratch;
    trace *const t = w->t;
    const size_t width = width_of(t, w->op->out), row = mc_trace_start(t->batch, t->first, index);
    memcpy(t->values[w->op->out] + index * width, t->values[w->op->in[0]] + row * width,
           width * sizeof(REAL));
}

static void first_back_item(const work *w, size_t index, REAL *scratch)
{
    (void)scratch;
    trace *const t = w->t;
    const size_t width = width_of(t, w->op->out), row = mc_trace_start(t->batch, t->first, index);
    add(t->gradients[w->op->in[0]] + row * width, t->gradients[w->op->out] + index * width, width);
}

/* ---- Gram matrices --------------------------------------------------------------------------- */

/* The upper triangle of xᵀx; finish_gram copies it to the lower one. */
static mc_status add_gram(trace *t, int value, REAL *to, mc_error *error)
{
    const size_t width = width_of(t, value);
    const PRODUCT g = {.m = width,
                       .n = width,
                       .k = rows_of(t, value),
                       .a = t->values[value],
                       .a_row = 1,
                       .a_inner = width,
                       .b = t->values[value],
                       .b_column = 1,
                       .b_inner = width,
                       .c = to,
                       .stride = width,
                       .upper = true};
    return add_products(t, &g, 1, error);
}

/* ---- all ------------------------------------------------------------------------------------- */

static mc_status forward_op(trace *t, const mc_op *op, mc_error *error)
{
    const work w = {.t = t, .op = op};
    switch (op->kind) {
    case MC_OP_EMBED:
        return each(w, t->count, embed_item, error);
    case MC_OP_NORMALIZE:
        return each(w, t->count, normalize_item, error);
    case MC_OP_ATTENTION:
        return each(w, t->count * (size_t)t->network.heads, attention_item, error);
    case MC_OP_FIRST:
        return each(w, t->count, first_item, error);
    case MC_OP_ACTIVATE:
        return each(w, row_items(t, op->out), activate_item, error);
    case MC_OP_PRODUCT: /* products_at computes several together */
        break;
    }
    return MC_OK;
}

/* The products from operation `first` on that follow each other and read the same value. */
static size_t products_at(const trace *t, size_t first, size_t end)
{
    const mc_op *const ops = &t->network.ops[first];
    size_t count = 0;
    while (first + count < end && count < MC_GEMM_MOST && ops[count].kind == MC_OP_PRODUCT &&
           ops[count].in[0] == ops[0].in[0])
        count++;
    return count;
}

static mc_status products(trace *t, const mc_op *ops, size_t count, REAL *const *grams,
                          mc_error *error)
{
    PRODUCT g[MC_GEMM_MOST];
    for (size_t i = 0; i < count; i++) {
        if (grams && grams[ops[i].weights[0]])
            MC_TRY(add_gram(t, ops[i].in[0], grams[ops[i].weights[0]], error));
        g[i] = product(t, &ops[i]);
    }
    return add_products(t, g, count, error);
}

/* Operations first … end − 1. */
static mc_status forward(trace *t, size_t first, size_t end, REAL *const *grams, mc_error *error)
{
    const mc_op *const ops = t->network.ops;
    for (size_t i = first, count; i<end; i += count> 0 ? count : 1) {
        count = products_at(t, i, end);
        MC_TRY(count > 0 ? products(t, &ops[i], count, grams, error)
                         : forward_op(t, &ops[i], error));
    }
    return MC_OK;
}

/* The operations of the run that operation `first` begins: all of one block, or outside. */
static size_t end_of_run(const trace *t, size_t first)
{
    size_t end = first + 1;
    while (end < t->network.op_count && t->network.ops[end].block == t->network.ops[first].block)
        end++;
    return end;
}

mc_status TRACE(block)(trace *t, int block, REAL *const *grams, mc_error *error)
{
    const size_t first = mc_network_first(&t->network, block);
    return forward(t, first, end_of_run(t, first), grams, error);
}

mc_status TRACE(forward)(trace *t, REAL *const *grams, mc_error *error)
{
    const mc_network *const n = &t->network;
    MC_TRY(forward(t, 0, n->op_count, grams, error));
    t->computed = true;
    const REAL *const logits = t->values[n->result];
    for (size_t i = 0; i < t->count * (size_t)n->labels; i++)
        if (!isfinite(logits[i]))
            return mc_fail(error, MC_FORMAT,
                           "the logits are not finite: the weights are too large to compute with");
    return MC_OK;
}

static mc_status backward_op(trace *t, const mc_op *op, mc_gradient_kind kind,
                             REAL *const *gradients, mc_error *error)
{
    const work w = {.t = t, .op = op, .kind = kind, .to = gradients};
    switch (op->kind) {
    case MC_OP_EMBED:
        return each(w, 3, embed_back_item, error);
    case MC_OP_NORMALIZE:
        return normalize_op_back(&w, error);
    case MC_OP_PRODUCT:
        return product_back(&w, error);
    case MC_OP_ATTENTION:
        return each(w, t->count * (size_t)t->network.heads, attention_back_item, error);
    case MC_OP_FIRST:
        return each(w, t->count, first_back_item, error);
    case MC_OP_ACTIVATE:
        return each(w, row_items(t, op->out), activate_back_item, error);
    }
    return MC_OK;
}

/* Some of the numbers of a block's gradients. */
enum { CLEARED = 1 << 16 };

static void clear_item(const work *w, size_t index, REAL *scratch)
{
    (void)scratch;
    const trace *const t = w->t;
    const size_t at = index * CLEARED, left = t->block_size + t->shared_size - at;
    /*
     * The first operation of a block writes a value that the block keeps, at offset `at` of the
     * block's memory.
     */
    REAL *const block = t->gradients[w->op->out] - t->places[w->op->out].at;
    memset(block + at, 0, (left < CLEARED ? left : CLEARED) * sizeof *block);
}

/* Operations first … end − 1, the last one first; the values of a block are computed again. */
static mc_status backward_run(trace *t, size_t first, size_t end, mc_gradient_kind kind,
                              REAL *const *gradients, mc_error *error)
{
    if (t->network.ops[first].block >= 0) {
        if (!t->keeps_blocks)
            MC_TRY(forward(t, first, end, NULL, error));
        for (size_t i = first; i < end && t->keeps_blocks; i++)
            if (t->network.ops[i].kind == MC_OP_ACTIVATE)
                MC_TRY(forward_op(t, &t->network.ops[i], error));
        /* Functions of the backward pass add to the gradients of the block. */
        MC_TRY(each((work){.t = t, .op = &t->network.ops[first]},
                    (t->block_size + t->shared_size + CLEARED - 1) / CLEARED, clear_item, error));
    }
    for (size_t i = end; i-- > first;)
        MC_TRY(backward_op(t, &t->network.ops[i], kind, gradients, error));
    return MC_OK;
}

static size_t start_of_run(const trace *t, size_t end)
{
    size_t first = end - 1;
    while (first > 0 && t->network.ops[first - 1].block == t->network.ops[end - 1].block)
        first--;
    return first;
}

mc_status TRACE(backward)(trace *t, const double *seeds, mc_gradient_kind kind,
                          REAL *const *gradients, mc_error *error)
{
    const mc_network *const n = &t->network;
    REAL *const logits = t->gradients[n->result];
    if (!t->computed || !logits)
        return mc_fail(error, MC_USAGE, "expected a forward pass with room for gradients");
    for (size_t i = 0; i < n->value_count; i++)
        if (t->places[i].used && t->places[i].block < 0)
            memset(t->gradients[i], 0, size_of_value(t, i) * sizeof(REAL));
    for (size_t i = 0; i < t->count * (size_t)n->labels; i++)
        logits[i] = (REAL)seeds[i];
    for (size_t end = n->op_count; end > 0;) {
        const size_t first = start_of_run(t, end);
        MC_TRY(backward_run(t, first, end, kind, gradients, error));
        end = first;
    }
    return MC_OK;
}
