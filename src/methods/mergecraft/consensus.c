#include <mergecraft/method.h>

/*
 * A model agrees with an element of the sum of task vectors if the element moves it less than
 * lam times it moved from the base: |base − model| > lam · |base + sum − model|. Both sides are
 * differences of weights, not of task vectors, as in the authors' code.
 */
MC_LAYER_MERGE(
    consensus,
    .help = "base plus the sum of the task vectors where enough models agree with the sum",
    .paper = "Wang et al. 2024, Localizing task information for improved model merging and "
             "compression, arXiv:2405.07813",
    .scope = MC_ELEMENTWISE, .needs_base = true,
    .params = MC_PARAMS({"lam", MC_NUMBER, "how far the sum may be from a model that agrees",
                         .fallback = .4, .per_input = true},
                        {"k", MC_INTEGER, "models that must agree; 0 keeps the whole sum",
                         .fallback = 2, .maximum = 1000000},
                        {"alpha", MC_NUMBER, "factor of the sum", .fallback = .3}))
{
    const double *const lam = mc_numbers(layer, "lam");
    const double wanted = mc_number(layer, "k");
    const mc_real alpha = (mc_real)mc_number(layer, "alpha");
    for (size_t i = 0; i < layer->count; i++) {
        const mc_real base = layer->base[i];
        mc_real sum = 0;
        double agree = 0;
        for (size_t t = 0; t < layer->model_count; t++)
            sum += layer->models[t][i] - base;
        for (size_t t = 0; t < layer->model_count; t++) {
            const mc_real model = layer->models[t][i];
            agree += mc_absolute(base - model) > mc_absolute(base + sum - model) * (mc_real)lam[t];
        }
        const bool kept = agree >= wanted || sum != sum;
        layer->out[i] = kept ? base + alpha * sum : base;
    }
    return MC_OK;
}
