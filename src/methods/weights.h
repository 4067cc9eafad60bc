/* Checks of the weights of models, a parameter called `name`. */
#ifndef MC_METHODS_WEIGHTS_H
#define MC_METHODS_WEIGHTS_H

#include <mergecraft/method.h>

/* Checks weights by whose sum a method divides: the sum must be finite and not 0. */
static inline mc_status check_weight_sum(const char *name, const mc_value *weights, mc_error *error)
{
    double total = 0;
    for (size_t m = 0; m < weights->count; m++)
        total += weights->numbers[m];
    if (total == 0 || !isfinite(total))
        return mc_fail(error, MC_USAGE,
                       "%s: expected a finite sum other than 0, found %g for %zu models", name,
                       total, weights->count);
    return MC_OK;
}

/* The same for weights of which any part may be summed: none may be negative. */
static inline mc_status check_weights(const mc_value *weights, mc_error *error)
{
    for (size_t m = 0; m < weights->count; m++)
        if (weights->numbers[m] < 0)
            return mc_fail(error, MC_USAGE, "weights: expected no negative weight, found %g",
                           weights->numbers[m]);
    return check_weight_sum("weights", weights, error);
}

/* The same for methods that drop some of the models: what is left must weigh something. */
static inline mc_status check_positive_weights(const mc_value *weights, mc_error *error)
{
    for (size_t m = 0; m < weights->count; m++)
        if (!(weights->numbers[m] > 0))
            return mc_fail(error, MC_USAGE, "weights: expected weights above 0, found %g",
                           weights->numbers[m]);
    return check_weight_sum("weights", weights, error);
}

/* Whether all models weigh the same, so that weights change nothing. */
static inline bool equal_weights(const mc_layer *layer, const double *weights)
{
    for (size_t m = 1; m < layer->model_count; m++)
        if (weights[m] != weights[0])
            return false;
    return true;
}

/* The weighted mean of the models; of equal weights, the plain mean without products. */
static inline void mean_by_weights(mc_real *out, const mc_layer *layer, const double *weights)
{
    if (equal_weights(layer, weights))
        mc_tile_mean(out, layer->models, layer->model_count, layer->count);
    else
        mc_tile_weighted_mean(out, layer->models, weights, layer->model_count, layer->count);
}

/* The sum of the weights. */
static inline double sum_of_weights(const mc_layer *layer, const double *weights)
{
    double total = 0;
    for (size_t m = 0; m < layer->model_count; m++)
        total += weights[m];
    return total;
}

#endif
