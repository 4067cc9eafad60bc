/*
 * The threshold is an order statistic of |task vector| elements (order.h): of all models'
 * elements of a layer, or, as in the paper, of each model's elements of all layers.
 */
#include "methods/threshold.h"
#include "methods/weights.h"

enum { K, WEIGHTS };   /* parameters */
enum { LAYER, MODEL }; /* values of `trim` */

static bool trims_models(const mc_layer *layer)
{
    return mc_number(layer, "trim") == MODEL;
}

/* ---- a threshold per layer ------------------------------------------------------------------ */

static size_t state_size(const mc_layer *layer)
{
    (void)layer;
    return sizeof(order_search);
}

static void begin(const mc_layer *layer, void *state)
{
    order_search *const search = state;
    order_begin(search, 1, layer->size, layer->model_count,
                order_first_stride(layer->size * (int64_t)layer->model_count));
    if (trims_models(layer))
        search->phase = ORDER_DONE;
}

static size_t partial_size(const mc_layer *layer)
{
    return threshold_partial_size(layer->state, 1);
}

static size_t partial_zeros(const mc_layer *layer)
{
    return partial_size(layer) > 0 ? order_partial_zeros(layer->state, 1) : 0;
}

static int64_t stride(const mc_layer *layer, int round)
{
    (void)round;
    return order_stride(layer->state, 1);
}

/* Block by block, so that a block of the base stays in the first cache for all models. */
static mc_status accumulate(const mc_layer *layer, void *partial)
{
    for (size_t start = 0; start < layer->count; start += MC_TILE_BLOCK) {
        const size_t length = mc_tile_block(start, layer->count);
        for (size_t m = 0; m < layer->model_count; m++)
            threshold_add(layer->state, 1, 0, partial, layer->models[m] + start,
                          layer->base + start, length);
    }
    return MC_OK;
}

static void combine(const mc_layer *layer, void *into, const void *from)
{
    order_combine(layer->state, 1, into, from);
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    order_search *const search = state;
    (void)round;
    threshold_set_density(search, mc_number(layer, "k"));
    *more = threshold_next(search, 1, total);
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = state_size,
                                         .begin = begin,
                                         .partial_size = partial_size,
                                         .partial_zeros = partial_zeros,
                                         .order_free = true,
                                         .stride = stride,
                                         .accumulate = accumulate,
                                         .combine = combine,
                                         .next = next};

/* ---- a threshold per model ------------------------------------------------------------------ */
static size_t models_state_size(const mc_layer *layer)
{
    return layer->model_count * sizeof(order_search);
}

static void models_begin(const mc_layer *layer, void *state)
{
    threshold_begin(state, layer->model_count, layer->size);
}

static size_t models_partial_size(const mc_layer *layer)
{
    return trims_models(layer) ? threshold_partial_size(layer->model_state, layer->model_count) : 0;
}

static mc_status models_accumulate(const mc_layer *layer, void *partial)
{
    const order_search *const searches = layer->model_state;
    for (size_t m = 0; m < layer->model_count; m++)
        threshold_add(searches, layer->model_count, m, partial, layer->models[m], layer->base,
                      layer->count);
    return MC_OK;
}

static void models_combine(const mc_layer *layer, void *into, const void *from)
{
    order_combine(layer->model_state, layer->model_count, into, from);
}

/*
 * Looks for the (d − int(d · k))-th smallest of d magnitudes: the authors keep what is not below
 * it.
 */
static mc_status models_next(const mc_layer *layer, int round, void *state, const void *total,
                             bool *more)
{
    order_search *const searches = state;
    const int64_t kept = (int64_t)((double)layer->size * mc_number(layer, "k"));
    (void)round;
    for (size_t m = 0; m < layer->model_count; m++)
        searches[m].rank = layer->size - kept - (kept < layer->size ? 1 : 0);
    *more = threshold_next(searches, layer->model_count, total);
    return MC_OK;
}

static const mc_statistics model_statistics = {.state_size = models_state_size,
                                               .begin = models_begin,
                                               .partial_size = models_partial_size,
                                               .order_free = true,
                                               .accumulate = models_accumulate,
                                               .combine = models_combine,
                                               .next = models_next};

static mc_real threshold_of(const mc_layer *layer, size_t model)
{
    const order_search *const models = layer->model_state;
    const order_search *const all = layer->state;
    return (mc_real)(trims_models(layer) ? models[model].threshold : all->threshold);
}

/* ---- merging -------------------------------------------------------------------------------- */
static mc_status check(const mc_value *values, size_t model_count, mc_error *error)
{
    (void)model_count;
    return check_weights(&values[WEIGHTS], error);
}

/* sum += weight · the model's task vector where it is large enough (or NaN) */
MC_PASS void add_kept(mc_real *sum, mc_real weight, const mc_real *model, const mc_real *base,
                      mc_real threshold, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_real task = model[i] - base[i];
        sum[i] += mc_absolute(task) < threshold ? 0 : weight * task;
    }
}

/*
 * Where the task vector is large enough and has the elected sign (0: none): agreed += weight · it,
 * votes += weight.
 */
MC_PASS void add_agreeing(mc_real *agreed, mc_real *votes, const mc_real *signs, mc_real weight,
                          const mc_real *model, const mc_real *base, mc_real threshold,
                          size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_real task = model[i] - base[i];
        const mc_real kept = mc_absolute(task) < threshold ? 0 : task;
        const bool agrees = kept * signs[i] > 0;
        agreed[i] += agrees ? weight * kept : 0;
        votes[i] += agrees ? weight : 0;
    }
}

/* out = base + scale · agreed / votes; NaN where the sum of the kept is. */
MC_PASS void add_mean(mc_real *out, const mc_real *base, mc_real scale, const mc_real *total,
                      const mc_real *agreed, const mc_real *votes, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_real mean = agreed[i] / (votes[i] > 0 ? votes[i] : 1);
        out[i] = base[i] + scale * (total[i] != total[i] ? total[i] : mean);
    }
}

static void merge_block(const mc_layer *layer, const double *weights, size_t start, size_t count)
{
    mc_real total[MC_TILE_BLOCK] = {0}, agreed[MC_TILE_BLOCK] = {0}, votes[MC_TILE_BLOCK] = {0};
    mc_real signs[MC_TILE_BLOCK];
    const mc_real *const base = layer->base + start;
    for (size_t m = 0; m < layer->model_count; m++)
        add_kept(total, (mc_real)weights[m], layer->models[m] + start, base, threshold_of(layer, m),
                 count);
    mc_tile_sign(signs, total, count);
    for (size_t m = 0; m < layer->model_count; m++)
        add_agreeing(agreed, votes, signs, (mc_real)weights[m], layer->models[m] + start, base,
                     threshold_of(layer, m), count);
    add_mean(layer->out + start, base, (mc_real)mc_number(layer, "scale"), total, agreed, votes,
             count);
}

MC_LAYER_MERGE(
    ties,
    .help = "base plus the mean of the large task vector elements that agree with the elected sign",
    .paper = "Yadav et al. 2023, TIES-Merging, arXiv:2306.01708", .scope = MC_ELEMENTWISE,
    .needs_base = true, .check = check, .statistics = &statistics,
    .model_statistics = &model_statistics,
    .params = MC_PARAMS({"k", MC_NUMBER, "share of the task vector elements that is kept",
                         .fallback = .1, .maximum = 1},
                        {"weights", MC_NUMBER,
                         "weight of each model in the election of signs and in the mean",
                         .fallback = 1, .per_input = true},
                        {"trim", MC_CHOICE,
                         "layer: k counts the elements of all models in a layer; model: those of "
                         "each model in all layers, as in the paper",
                         .choices = MC_NAMES("layer", "model")},
                        {"scale", MC_NUMBER, "factor of the mean", .fallback = 1}))
{
    const double *const weights = mc_numbers(layer, "weights");
    for (size_t start = 0; start < layer->count; start += MC_TILE_BLOCK)
        merge_block(layer, weights, start, mc_tile_block(start, layer->count));
    return MC_OK;
}
