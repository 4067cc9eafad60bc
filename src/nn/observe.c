#include "nn/observe.h"

#include "base/memory.h"
#include "base/team.h"

#include <math.h>
#include <string.h>

/*
 * Tokens per group. Gram matrices are read and written once per group. Fisher
 * information: the same, and values are kept for the backward pass.
 */
enum { GRAM_TOKENS = 1024, FISHER_TOKENS = 512 };

void mc_observed_free(mc_observed *observed)
{
    for (size_t i = 0; observed->arrays && i < observed->count; i++)
        mc_free(observed->arrays[i]);
    mc_free(observed->arrays);
    mc_free(observed->owner);
    *observed = (mc_observed){0};
}

static mc_status new_arrays(const mc_network *n, const mc_batch *batch, mc_observed *out,
                            mc_error *error)
{
    *out = (mc_observed){.count = n->weight_count,
                         .examples = batch->count,
                         .tokens = batch->starts[batch->count] - batch->starts[0]};
    out->arrays = mc_alloc_zero(out->count, sizeof *out->arrays);
    out->owner = mc_alloc_zero(out->count, sizeof *out->owner);
    if (!out->arrays || !out->owner)
        return mc_fail_memory(error);
    for (size_t i = 0; i < out->count; i++)
        out->owner[i] = i;
    return MC_OK;
}

/* Work on each array, shared by threads. */
typedef struct sweep {
    const mc_network *network;
    mc_observed *observed;
    void (*item)(const struct sweep *s, size_t weight);
} sweep;

static mc_status sweep_item(void *arg, int worker, size_t item, mc_error *error)
{
    (void)worker;
    (void)error;
    const sweep *const s = arg;
    if (s->observed->arrays[item])
        s->item(s, item);
    return MC_OK;
}

static mc_status sweep_arrays(mc_trace_f32 *trace, mc_observed *observed,
                              void (*item)(const sweep *, size_t), mc_error *error)
{
    sweep s = {mc_trace_network_f32(trace), observed, item};
    return mc_parallel(observed->count, mc_trace_threads_f32(trace), sweep_item, &s, error);
}

static size_t size_of(const mc_weight *w)
{
    return (size_t)w->shape[0] * (size_t)(w->rank == 2 ? w->shape[1] : 1);
}

static mc_status check_cancel(const mc_watch *watch, mc_error *error)
{
    const bool cancelled = watch && watch->cancel &&
                           __atomic_load_n(watch->cancel, __ATOMIC_RELAXED);
    return cancelled ? mc_fail(error, MC_INTERRUPTED, "interrupted") : MC_OK;
}

static void report(const mc_watch *watch, const mc_batch *batch, size_t end)
{
    if (watch && watch->progress)
        watch->progress((double)(batch->starts[end] - batch->starts[0]), watch->user);
}

/* ---- Gram matrices --------------------------------------------------------------------------- */

/* The first product that reads the value of product `index`. */
static size_t first_reader(const mc_network *n, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (n->ops[i].kind == MC_OP_PRODUCT && n->ops[i].in[0] == n->ops[index].in[0])
            return i;
    return index;
}

/*
 * Products read results before they write them. A page that is read first is mapped twice, and the
 * second time all threads are interrupted. So results are cleared first.
 */
static void clear_gram(const sweep *s, size_t weight)
{
    const size_t width = (size_t)s->network->weights[weight].shape[1];
    memset(s->observed->arrays[weight], 0, width * width * sizeof(float));
}

/* Operations first … end − 1 of the network, such as those of a block. */
static mc_status new_grams(mc_trace_f32 *trace, size_t begin, size_t end, mc_observed *out,
                           mc_error *error)
{
    const mc_network *const n = mc_trace_network_f32(trace);
    for (size_t i = begin; i < end; i++) {
        if (n->ops[i].kind != MC_OP_PRODUCT)
            continue;
        const size_t first = first_reader(n, i), weight = (size_t)n->ops[i].weights[0];
        const size_t width = (size_t)n->weights[weight].shape[1];
        out->owner[weight] = (size_t)n->ops[first].weights[0];
        if (first == i && !(out->arrays[weight] = mc_alloc_huge(width * width * sizeof(float))))
            return mc_fail_memory(error);
    }
    return sweep_arrays(trace, out, clear_gram, error);
}

/*
 * Divides by the number of rows, and copies the upper triangle to the lower one: in squares, as the
 * columns of a whole row lie in as many pages.
 */
static void finish_gram(float *gram, size_t width, size_t rows)
{
    enum { SIDE = 32 };
    for (size_t row = 0; row < width; row += SIDE)
        for (size_t column = row; column < width; column += SIDE)
            for (size_t i = row; i < row + SIDE && i < width; i++)
                for (size_t j = column > i ? column : i; j < column + SIDE && j < width; j++) {
                    gram[i * width + j] = (float)((double)gram[i * width + j] / (double)rows);
                    gram[j * width + i] = gram[i * width + j];
                }
}

/* The head's products have one row per sequence. */
static size_t rows_of_gram(const sweep *s, size_t weight)
{
    const mc_network *const n = s->network;
    size_t i = 0;
    while (n->ops[i].kind != MC_OP_PRODUCT || (size_t)n->ops[i].weights[0] != weight)
        i++;
    return n->values[n->ops[i].in[0]].rows == MC_ROWS_TOKENS ? s->observed->tokens
                                                             : s->observed->examples;
}

static void finish_gram_item(const sweep *s, size_t weight)
{
    finish_gram(s->observed->arrays[weight], (size_t)s->network->weights[weight].shape[1],
                rows_of_gram(s, weight));
}

bool mc_grams_are_singular(const mc_network *n, size_t tokens)
{
    for (size_t i = 0; i < n->weight_count; i++)
        if (n->weights[i].kind == MC_WEIGHT_MATRIX && (size_t)n->weights[i].shape[1] > tokens)
            return true;
    return false;
}

mc_status mc_observe_grams(mc_trace_f32 *trace, const mc_batch *batch, const mc_watch *watch,
                           mc_observed *out, mc_error *error)
{
    const mc_network *const n = mc_trace_network_f32(trace);
    MC_TRY(new_arrays(n, batch, out, error));
    MC_TRY(new_grams(trace, 0, n->op_count, out, error));
    for (size_t first = 0; first < batch->count;) {
        const size_t end = mc_trace_group(batch, first, GRAM_TOKENS);
        MC_TRY(check_cancel(watch, error));
        MC_TRY(mc_trace_begin_f32(trace, batch, first, end - first, false, error));
        MC_TRY(mc_trace_forward_f32(trace, out->arrays, error));
        report(watch, batch, end);
        first = end;
    }
    return sweep_arrays(trace, out, finish_gram_item, error);
}

/* ---- block by block -------------------------------------------------------------------------- */

static size_t end_of_block(const mc_network *n, int block)
{
    return block < n->blocks ? mc_network_first(n, block + 1) : n->op_count;
}

/* Where the states of a group of sequences lie in those of the batch. */
static size_t state_at(const mc_network *n, const mc_batch *batch, size_t sequence)
{
    const size_t width = (size_t)n->values[mc_network_state(n, 0)].width;
    return (batch->starts[sequence] - batch->starts[0]) * width;
}

/*
 * Computes a block for sequences first … end − 1. `in` and `to` (either may be NULL) are the states
 * of the whole batch before and after the block.
 */
static mc_status run_block(mc_trace_f32 *trace, const mc_batch *batch, int block, size_t first,
                           size_t end, const float *in, float *to, float *const *grams,
                           mc_error *error)
{
    const mc_network *const n = mc_trace_network_f32(trace);
    const size_t at = state_at(n, batch, first), size = state_at(n, batch, end) - at;
    MC_TRY(mc_trace_begin_f32(trace, batch, first, end - first, false, error));
    if (in)
        memcpy(mc_trace_value_f32(trace, mc_network_state(n, block)), in + at, size * sizeof *in);
    MC_TRY(mc_trace_block_f32(trace, block, grams, error));
    if (to)
        memcpy(to + at, mc_trace_value_f32(trace, mc_network_state(n, block + 1)),
               size * sizeof *to);
    return MC_OK;
}

mc_status mc_observe_block(mc_trace_f32 *trace, const mc_batch *batch, int block,
                           const float *states, const mc_watch *watch, mc_observed *out,
                           mc_error *error)
{
    const mc_network *const n = mc_trace_network_f32(trace);
    const size_t begin = mc_network_first(n, block);
    MC_TRY(new_arrays(n, batch, out, error));
    MC_TRY(new_grams(trace, begin, end_of_block(n, block), out, error));
    for (size_t first = 0; first < batch->count;) {
        const size_t end = mc_trace_group(batch, first, GRAM_TOKENS);
        MC_TRY(check_cancel(watch, error));
        MC_TRY(run_block(trace, batch, block, first, end, states, NULL, out->arrays, error));
        first = end;
    }
    return sweep_arrays(trace, out, finish_gram_item, error);
}

mc_status mc_advance_states(mc_trace_f32 *trace, const mc_batch *batch, int block, float *states,
                            const mc_watch *watch, mc_error *error)
{
    for (size_t first = 0; first < batch->count;) {
        const size_t end = mc_trace_group(batch, first, GRAM_TOKENS);
        MC_TRY(check_cancel(watch, error));
        MC_TRY(run_block(trace, batch, block, first, end, block < 0 ? NULL : states, states, NULL,
                         error));
        first = end;
    }
    return MC_OK;
}

/* ---- Fisher information ---------------------------------------------------------------------- */

static void softmax(const float *logits, size_t count, double *p)
{
    double largest = (double)logits[0], total = 0;
    for (size_t i = 1; i < count; i++)
        largest = fmax(largest, (double)logits[i]);
    for (size_t i = 0; i < count; i++)
        total += p[i] = exp((double)logits[i] - largest);
    for (size_t i = 0; i < count; i++)
        p[i] /= total;
}

/*
 * The expectation over labels is Jᵀ M J with M = diag(p) − ppᵀ, the covariance of a label, and J
 * the derivatives of the logits. For any factors M = Σ v vᵀ its diagonal is Σ (Jᵀ v)²: one backward
 * pass per factor, and Cholesky's are one less than the labels. v: column `factor`, in closed form
 * vᵢ = 0 above the diagonal; with tail = Σ pⱼ over j > factor, and `rest` that from factor on:
 * v_f = √(p_f · tail / rest), vⱼ = −pⱼ √(p_f / (rest · tail)).
 */
static void label_factor(const double *p, size_t labels, size_t factor, double *v)
{
    double tail = 0;
    for (size_t j = factor + 1; j < labels; j++)
        tail += p[j];
    const double rest = tail + p[factor];
    for (size_t j = 0; j < labels; j++)
        v[j] = 0;
    if (p[factor] == 0 || tail == 0)
        return;
    v[factor] = sqrt(p[factor] * tail / rest);
    for (size_t j = factor + 1; j < labels; j++)
        v[j] = -p[j] * sqrt(p[factor] / (rest * tail));
}

/*
 * Seeds of a backward pass: derivatives by logits z. Squares of gradients are added, so their sign
 * does not matter. y is the label, p the softmax, s the sigmoid.
 *
 *              own label       expectation over labels
 *   softmax    pⱼ − [j = y]    a column of label_factor per pass
 *   sigmoid    sⱼ − [j = y]    √(sⱼ (1 − sⱼ)) for one label per pass, 0 for the others
 *   normal     2 (z − y)       1 for one output per pass, 0 for the others; the squared error
 */
typedef struct fisher {
    mc_gradients_of form;
    mc_likelihood likelihood;
    const double *labels; /* of the group's sequences */
    size_t label_count;
} fisher;

static size_t pass_count(const fisher *f)
{
    if (f->form == MC_OF_OWN_LABEL)
        return 1;
    return f->likelihood == MC_LIKELIHOOD_SOFTMAX ? f->label_count - 1 : f->label_count;
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* The seeds of one sequence for one backward pass. */
static void seed_sequence(const fisher *f, const float *logits, size_t sequence, size_t pass,
                          double *p, double *seeds)
{
    const size_t labels = f->label_count;
    const bool empirical = f->form == MC_OF_OWN_LABEL;
    if (f->likelihood == MC_LIKELIHOOD_NORMAL) {
        for (size_t j = 0; j < labels; j++)
            seeds[j] = empirical ? 2 * ((double)logits[j] - f->labels[sequence]) : j == pass;
        return;
    }
    if (f->likelihood == MC_LIKELIHOOD_SIGMOID) {
        for (size_t j = 0; j < labels; j++) {
            const double s = sigmoid((double)logits[j]);
            seeds[j] = empirical ? s - ((double)j == f->labels[sequence])
                                 : (j == pass ? sqrt(s * (1 - s)) : 0);
        }
        return;
    }
    softmax(logits, labels, p);
    if (!empirical) {
        label_factor(p, labels, pass, seeds);
        return;
    }
    for (size_t j = 0; j < labels; j++)
        seeds[j] = p[j] - ((double)j == f->labels[sequence]);
}

static mc_status add_group(mc_trace_f32 *trace, const fisher *f, size_t count, double *seeds,
                           float *const *to, mc_error *error)
{
    const mc_network *const n = mc_trace_network_f32(trace);
    MC_TRY(mc_trace_forward_f32(trace, NULL, error));
    const float *const logits = mc_trace_value_f32(trace, n->result);
    for (size_t pass = 0; pass < pass_count(f); pass++) {
        double *const p = seeds + count * f->label_count;
        for (size_t i = 0; i < count; i++)
            seed_sequence(f, logits + i * f->label_count, i, pass, p, seeds + i * f->label_count);
        MC_TRY(mc_trace_backward_f32(trace, seeds, MC_GRADIENT_SQUARES, to, error));
    }
    return MC_OK;
}

static void clear_fisher(const sweep *s, size_t weight)
{
    float *const array = s->observed->arrays[weight];
    memset(array, 0, size_of(&s->network->weights[weight]) * sizeof *array);
}

static mc_status new_fishers(mc_trace_f32 *trace, mc_observed *out, mc_error *error)
{
    const mc_network *const n = mc_trace_network_f32(trace);
    for (size_t i = 0; i < n->weight_count; i++)
        if (!(out->arrays[i] = mc_alloc_huge(size_of(&n->weights[i]) * sizeof(float))))
            return mc_fail_memory(error);
    return sweep_arrays(trace, out, clear_fisher, error);
}

static void divide_fisher(const sweep *s, size_t weight)
{
    float *const array = s->observed->arrays[weight];
    for (size_t j = 0; j < size_of(&s->network->weights[weight]); j++)
        array[j] /= (float)s->observed->examples;
}

mc_status mc_observe_fisher(mc_trace_f32 *trace, const mc_batch *batch, mc_gradients_of form,
                            mc_likelihood likelihood, const double *labels, const mc_watch *watch,
                            mc_observed *out, mc_error *error)
{
    const mc_network *const n = mc_trace_network_f32(trace);
    MC_TRY(new_arrays(n, batch, out, error));
    MC_TRY(new_fishers(trace, out, error));
    fisher f = {.form = form, .likelihood = likelihood, .label_count = (size_t)n->labels};
    double *const seeds = mc_alloc((batch->count + 1) * f.label_count * sizeof *seeds);
    mc_status status = seeds ? MC_OK : mc_fail_memory(error);
    for (size_t first = 0; status == MC_OK && first < batch->count;) {
        const size_t end = mc_trace_group(batch, first, FISHER_TOKENS);
        f.labels = labels ? labels + first : NULL;
        status = check_cancel(watch, error);
        if (status == MC_OK)
            status = mc_trace_begin_f32(trace, batch, first, end - first, true, error);
        if (status == MC_OK)
            status = add_group(trace, &f, end - first, seeds, out->arrays, error);
        report(watch, batch, end);
        first = end;
    }
    mc_free(seeds);
    return status == MC_OK ? sweep_arrays(trace, out, divide_fisher, error) : status;
}

/* ---- entropy --------------------------------------------------------------------------------- */

/* H = −Σ p log p of a sequence and its derivatives by the logits z: −pⱼ (log pⱼ + H). */
static double seed_entropy(const float *logits, size_t labels, double share, double *p,
                           double *seeds)
{
    double entropy = 0;
    softmax(logits, labels, p);
    for (size_t j = 0; j < labels; j++)
        entropy -= p[j] > 0 ? p[j] * log(p[j]) : 0;
    for (size_t j = 0; j < labels; j++)
        seeds[j] = p[j] > 0 ? -share * p[j] * (log(p[j]) + entropy) : 0;
    return share * entropy;
}

mc_status mc_observe_entropy(mc_trace_f32 *trace, const mc_batch *batch, size_t first, size_t count,
                             float *const *gradients, double *entropy, mc_error *error)
{
    const mc_network *const n = mc_trace_network_f32(trace);
    const size_t labels = (size_t)n->labels, stop = first + count;
    double *const seeds = mc_alloc((count + 1) * labels * sizeof *seeds);
    mc_status status = seeds ? MC_OK : mc_fail_memory(error);
    while (status == MC_OK && first < stop) {
        const size_t group = mc_trace_group(batch, first, FISHER_TOKENS);
        const size_t end = group < stop ? group : stop;
        status = mc_trace_begin_f32(trace, batch, first, end - first, true, error);
        if (status == MC_OK)
            status = mc_trace_forward_f32(trace, NULL, error);
        const float *const logits = mc_trace_value_f32(trace, n->result);
        for (size_t i = 0; status == MC_OK && i < end - first; i++)
            *entropy += seed_entropy(logits + i * labels, labels, 1 / (double)count,
                                     seeds + count * labels, seeds + i * labels);
        if (status == MC_OK)
            status = mc_trace_backward_f32(trace, seeds, MC_GRADIENT_SUM, gradients, error);
        first = end;
    }
    mc_free(seeds);
    return status;
}
