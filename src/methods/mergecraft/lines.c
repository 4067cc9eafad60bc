/*
 * Scales the task vector of a merge by depth: alpha + beta · l / (L − 1) in block l of L, alpha
 * outside blocks. Without alpha, the merge's own norm decides: ‖Σ τ_t‖₁ / ‖τ‖₁ / models over the
 * whole model, which makes a sum of task vectors their mean.
 */
#include <mergecraft/method.h>

/* L1 norms over the whole model; in the end `sum` is alpha. */
typedef struct norms {
    double sum, merged; /* of the sum of the task vectors, and of the merged one */
} norms;

static size_t state_size(const mc_layer *layer)
{
    (void)layer;
    return sizeof(norms);
}

static size_t partial_size(const mc_layer *layer)
{
    return mc_number(layer, "alpha") < 0 ? sizeof(norms) : 0;
}

static mc_status accumulate(const mc_layer *layer, void *partial)
{
    norms *const found = partial;
    for (size_t i = 0; i < layer->count; i++) {
        const double base = (double)layer->base[i];
        double sum = 0;
        for (size_t t = 0; t < layer->model_count; t++)
            sum += (double)layer->models[t][i] - base;
        found->sum += fabs(sum);
        found->merged += fabs((double)layer->merged[i] - base);
    }
    return MC_OK;
}

static void combine(const mc_layer *layer, void *into, const void *from)
{
    norms *const all = into;
    const norms *const more = from;
    (void)layer;
    all->sum += more->sum;
    all->merged += more->merged;
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    const norms *const found = total;
    (void)round;
    (void)more;
    if (!isfinite(found->sum) || !isfinite(found->merged))
        return mc_fail(layer->error, MC_FORMAT,
                       "expected finite values for norms, found NaN or infinity");
    ((norms *)state)->sum = found->merged > 0
                                ? found->sum / found->merged / (double)layer->model_count
                                : 0;
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = state_size,
                                         .partial_size = partial_size,
                                         .accumulate = accumulate,
                                         .combine = combine,
                                         .next = next};

static double factor_of(const mc_layer *layer)
{
    const double given = mc_number(layer, "alpha"), beta = mc_number(layer, "beta");
    const double alpha = given < 0 ? ((const norms *)layer->model_state)->sum : given;
    const double wanted = mc_number(layer, "blocks");
    const int blocks = wanted > 0 ? (int)wanted : layer->block_count;
    if (layer->block < 0 || layer->block >= blocks)
        return alpha;
    return alpha + beta * (blocks > 1 ? layer->block / (double)(blocks - 1) : 1);
}

MC_LAYER_MERGE(
    lines, .help = "add-on: scales the merged task vector up from the first block to the last",
    .paper = "Wang et al. 2024, LiNeS, arXiv:2410.17146", .scope = MC_ELEMENTWISE,
    .needs_base = true, .add_on = true, .model_statistics = &statistics,
    .params = MC_PARAMS({"beta", MC_NUMBER, "how much larger the last block's factor is than alpha",
                         .fallback = .5},
                        {"alpha", MC_NUMBER,
                         "factor of the first block, and outside blocks; -1: from norms",
                         .fallback = -1, .minimum = -1, .maximum = 1e6},
                        {"blocks", MC_INTEGER, "number of blocks; 0: as many as the model has",
                         .maximum = 1000000}))
{
    const double factor = factor_of(layer);
    for (size_t i = 0; i < layer->count; i++) {
        const double base = (double)layer->base[i];
        layer->out[i] = (mc_real)(base + factor * ((double)layer->merged[i] - base));
    }
    return MC_OK;
}
