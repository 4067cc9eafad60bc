#include "methods/mergekit/gram.h"

static bool filter_wise(const mc_layer *layer)
{
    return mc_number(layer, "filter_wise") != 0;
}

/* How much of the mean of the models is taken, by the mean cosine of their task vectors. */
static double share_of(const mc_layer *layer, const double *gram)
{
    const double n = (double)layer->model_count;
    double sum = 0;
    for (size_t i = 0; i < layer->model_count; i++)
        for (size_t j = 0; j < i; j++) {
            const double size = sqrt(gram_at(gram, i, i)) * sqrt(gram_at(gram, j, j));
            const double cosine = gram_at(gram, i, j) / (size < 1e-6 ? 1e-6 : size);
            sum += cosine < -1 ? -1 : cosine > 1 ? 1 : cosine;
        }
    const double cosine = sum / (n * (n - 1) / 2), divisor = 1 + (n - 1) * cosine;
    return fabs(divisor) < 1e-6 ? 0 : n * cosine / divisor;
}

static void set_factors(const mc_layer *layer, const double *gram, double *factors)
{
    const double share = share_of(layer, gram);
    for (size_t m = 0; m < layer->model_count; m++)
        factors[m] = share / (double)layer->model_count;
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    (void)round;
    (void)more;
    set_factors(layer, total, state);
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = gram_state_size,
                                         .partial_size = gram_size,
                                         .accumulate = gram_accumulate,
                                         .combine = gram_combine,
                                         .next = next};

/* Behind the blocks of gram.h, for a row: its products and factors. */
static size_t scratch_bytes(const mc_layer *layer)
{
    return gram_scratch(layer) + gram_size(layer) + gram_state_size(layer);
}

static void merge_row(const mc_layer *layer, size_t start, size_t length)
{
    double *const gram = (double *)(void *)((char *)layer->scratch + gram_scratch(layer));
    double *const factors = gram + gram_count(layer);
    memset(gram, 0, gram_size(layer));
    gram_add(layer, gram, start, length);
    set_factors(layer, gram, factors);
    gram_apply_run(layer, factors, start, length);
}

MC_LAYER_MERGE(model_stock,
               .help = "between the base and the mean of the models, by the angles between their "
                       "task vectors",
               .paper = "Jang et al. 2024, Model Stock, arXiv:2403.19522", .scope = MC_ROW,
               .needs_base = true, .min_models = 2, .statistics = &statistics,
               .scratch_bytes = scratch_bytes,
               .params = MC_PARAMS({"filter_wise", MC_FLAG, "each row by its own angles"}))
{
    if (!filter_wise(layer)) {
        gram_apply(layer);
        return MC_OK;
    }
    const size_t length = (size_t)(layer->rank > 0 ? layer->shape[layer->rank - 1] : 1);
    for (size_t start = 0; start < layer->count; start += length)
        merge_row(layer, start, length);
    return MC_OK;
}
