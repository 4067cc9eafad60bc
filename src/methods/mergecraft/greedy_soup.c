#include "methods/weights.h"

static mc_status check(const mc_value *values, size_t model_count, mc_error *error)
{
    (void)model_count;
    return check_weights(&values[0], error);
}

/*
 * mc_greedy_soup finds the weights. A model of weight 0 does not enter, even where it has NaN or
 * infinity.
 */
MC_LAYER_MERGE(greedy_soup, .help = "mean of the models that raise the score on held-out examples",
               .paper = "Wortsman et al. 2022, Model soups, arXiv:2203.05482",
               .scope = MC_ELEMENTWISE, .reproducibility = MC_SAME_ON_MACHINE, .check = check,
               .params = MC_PARAMS({"weights", MC_NUMBER,
                                    "weight of each model; --data sets 1 or 0", .maximum = 1e30,
                                    .per_input = true, .required = true}))
{
    const double *const weights = mc_numbers(layer, "weights");
    const double total = sum_of_weights(layer, weights);
    for (size_t i = 0; i < layer->count; i++) {
        double sum = 0;
        for (size_t t = 0; t < layer->model_count; t++)
            sum += weights[t] > 0 ? weights[t] / total * (double)layer->models[t][i] : 0;
        layer->out[i] = (mc_real)sum;
    }
    return MC_OK;
}
