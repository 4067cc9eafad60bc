#include "methods/threshold.h"

enum { BLOCKS, ALL }; /* values of `tensors` */

/* One search per model, over the task vector of all included tensors. */
static size_t state_size(const mc_layer *layer)
{
    return layer->model_count * sizeof(order_search);
}

static void begin(const mc_layer *layer, void *state)
{
    threshold_begin(state, layer->model_count, layer->size);
}

/* As in the paper, what lies in no block stays at the base, unless the model has no blocks. */
static bool is_included(const mc_layer *layer)
{
    return layer->block >= 0 || layer->block_count == 0 || mc_number(layer, "tensors") == ALL;
}

/* How many values were counted, then the searches' parts. */
static size_t partial_size(const mc_layer *layer)
{
    const size_t size = threshold_partial_size(layer->model_state, layer->model_count);
    return size > 0 ? sizeof(uint64_t) + size : 0;
}

static mc_status accumulate(const mc_layer *layer, void *partial)
{
    const order_search *const searches = layer->model_state;
    uint64_t *const counted = partial;
    if (!is_included(layer))
        return MC_OK;
    *counted += layer->count;
    for (size_t t = 0; t < layer->model_count; t++)
        threshold_add(searches, layer->model_count, t, counted + 1, layer->models[t], layer->base,
                      layer->count);
    return MC_OK;
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    order_search *const searches = state;
    const uint64_t *const counted = total;
    const uint64_t wanted = (uint64_t)(mc_number(layer, "keep") * (double)*counted);
    (void)round;
    for (size_t t = 0; t < layer->model_count; t++) {
        searches[t].rank = (int64_t)(*counted - wanted);
        if (wanted == 0) /* nothing is above it */
            searches[t] = (order_search){.phase = ORDER_DONE, .key = mc_bits_of((mc_real)INFINITY)};
    }
    *more = threshold_next(searches, layer->model_count, counted + 1);
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = state_size,
                                         .begin = begin,
                                         .partial_size = partial_size,
                                         .order_free = true,
                                         .accumulate = accumulate,
                                         .combine = threshold_combine_counted,
                                         .next = next};

MC_LAYER_MERGE(
    localize_stitch,
    .help = "base plus the largest elements of every task vector, averaged where models overlap",
    .paper = "He et al. 2024, Localize-and-Stitch (dataless), arXiv:2408.13656",
    .scope = MC_ELEMENTWISE, .needs_base = true, .model_statistics = &statistics,
    .params = MC_PARAMS({"keep", MC_NUMBER, "share of a task vector's elements that is kept",
                         .fallback = .05, .maximum = 1},
                        {"tensors", MC_CHOICE,
                         "blocks: tensors in no block stay at the base, if the model has blocks",
                         .choices = MC_NAMES("blocks", "all")}))
{
    const order_search *const searches = layer->model_state;
    if (!is_included(layer)) {
        mc_tile_copy(layer->out, layer->base, layer->count);
        return MC_OK;
    }
    for (size_t i = 0; i < layer->count; i++) {
        mc_real sum = 0, kept = 0;
        for (size_t t = 0; t < layer->model_count; t++) {
            const mc_real task = layer->models[t][i] - layer->base[i];
            /* Negated, so that NaN counts as kept and is seen. */
            const bool above = !(mc_absolute(task) <= (mc_real)searches[t].threshold);
            sum += above ? task : 0;
            kept += above ? 1 : 0;
        }
        layer->out[i] = layer->base[i] + sum / (kept > 1 ? kept : 1);
    }
    return MC_OK;
}
