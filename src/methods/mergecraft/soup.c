#include "methods/weights.h"

static mc_status check(const mc_value *values, size_t model_count, mc_error *error)
{
    (void)model_count;
    return check_weight_sum("weights", &values[0], error);
}

MC_LAYER_MERGE(soup, .help = "mean of the models, plain or weighted",
               .paper = "Wortsman et al. 2022, Model soups, arXiv:2203.05482",
               .scope = MC_ELEMENTWISE, .check = check,
               .params = MC_PARAMS({"weights", MC_NUMBER,
                                    "weight of each model; the weights are divided by their sum",
                                    .fallback = 1, .per_input = true}))
{
    mc_tile_weighted_mean(layer->out, layer->models, mc_numbers(layer, "weights"),
                          layer->model_count, layer->count);
    return MC_OK;
}
