/* Checks of the parameter `weights`, shared by the methods that weigh models. */
#ifndef MC_METHODS_WEIGHTS_H
#define MC_METHODS_WEIGHTS_H

#include <mergecraft/method.h>

/* Checks weights by whose sum a method divides: the sum must be finite and not 0. */
static inline mc_status check_weight_sum(const mc_value *weights, mc_error *error)
{
    double total = 0;
    for (size_t m = 0; m < weights->count; m++)
        total += weights->numbers[m];
    if (total == 0 || !isfinite(total))
        return mc_fail(error, MC_USAGE,
                       "weights: expected a finite sum other than 0, found %g for %zu models",
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
    return check_weight_sum(weights, error);
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
