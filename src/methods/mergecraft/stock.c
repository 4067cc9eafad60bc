#include "methods/cosine.h"
#include "methods/weights.h"

static mc_status check(const mc_value *values, size_t model_count, mc_error *error)
{
    (void)model_count;
    return check_weight_sum("weights", &values[0], error);
}

typedef struct share {
    double mean; /* how much of the models' mean is taken, the rest from the base */
} share;

static size_t share_size(const mc_layer *layer)
{
    (void)layer;
    return sizeof(share);
}

static mc_status accumulate(const mc_layer *layer, void *partial)
{
    mc_real mean[MC_LEAF];
    mean_by_weights(mean, layer, mc_numbers(layer, "weights"));
    cosine_add(partial, mean, layer->base, layer->count);
    return MC_OK;
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    (void)round, (void)more;
    const double cosine = cosine_of(total), models = (double)layer->model_count;
    const double clamped = cosine < 0 ? 0 : cosine > 1 ? 1 : cosine;
    share *const found = state;
    found->mean = models * clamped / (1 + (models - 1) * clamped);
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = share_size,
                                         .partial_size = cosine_size,
                                         .accumulate = accumulate,
                                         .combine = cosine_combine,
                                         .next = next};

MC_LAYER_MERGE(stock,
               .help = "between the base and the mean of the models, by the cosine of the two",
               .paper = "after Jang et al. 2024, Model Stock, arXiv:2403.19522",
               .scope = MC_ELEMENTWISE, .needs_base = true, .statistics = &statistics,
               .check = check,
               .params = MC_PARAMS({"weights", MC_NUMBER,
                                    "weight of each model in their mean; the weights are divided "
                                    "by their sum",
                                    .fallback = 1, .per_input = true}))
{
    const share *const found = layer->state;
    mean_by_weights(layer->out, layer, mc_numbers(layer, "weights"));
    mc_tile_blend(layer->out, (mc_real)found->mean, layer->out, (mc_real)(1 - found->mean),
                  layer->base, layer->count);
    return MC_OK;
}
