#include <mergecraft/method.h>

/* ‖τ_t‖² of every model over all layers; the last step turns them into shares of the sum. */
static size_t state_size(const mc_layer *layer)
{
    return layer->model_count * sizeof(double);
}

static mc_status accumulate(const mc_layer *layer, void *partial)
{
    double *const squares = partial;
    for (size_t t = 0; t < layer->model_count; t++) {
        double sum = 0;
        for (size_t i = 0; i < layer->count; i++) {
            const double task = (double)layer->models[t][i] - (double)layer->base[i];
            sum += task * task;
        }
        squares[t] += sum;
    }
    return MC_OK;
}

static void combine(const mc_layer *layer, void *into, const void *from)
{
    double *const sums = into;
    const double *const more = from;
    for (size_t t = 0; t < layer->model_count; t++)
        sums[t] += more[t];
}

/* Turns squares into shares. If all models equal the base there is nothing to add: shares of 0. */
static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    double *const shares = state;
    const double *const squares = total;
    double sum = 0;
    (void)round;
    (void)more;
    for (size_t t = 0; t < layer->model_count; t++)
        sum += squares[t];
    for (size_t t = 0; t < layer->model_count; t++)
        shares[t] = sum > 0 ? squares[t] / sum : 0;
    if (!isfinite(sum))
        return mc_fail(layer->error, MC_FORMAT,
                       "expected finite values for norms, found NaN or infinity");
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = state_size,
                                         .partial_size = state_size,
                                         .accumulate = accumulate,
                                         .combine = combine,
                                         .next = next};

MC_LAYER_MERGE(metagpt,
               .help = "base plus the task vectors, weighted by the squares of their norms",
               .paper = "Zhou et al. 2024, MetaGPT, arXiv:2406.11385", .scope = MC_ELEMENTWISE,
               .needs_base = true, .model_statistics = &statistics)
{
    const double *const shares = layer->model_state;
    for (size_t i = 0; i < layer->count; i++) {
        double sum = 0;
        for (size_t t = 0; t < layer->model_count; t++)
            sum += shares[t] * ((double)layer->models[t][i] - (double)layer->base[i]);
        layer->out[i] = (mc_real)((double)layer->base[i] + sum);
    }
    return MC_OK;
}
