#include "methods/weights.h"

static mc_status check(const mc_value *values, size_t model_count, mc_error *error)
{
    (void)model_count;
    return values[1].numbers[0] != 0 ? check_weight_sum("weight", &values[0], error) : MC_OK;
}

MC_LAYER_MERGE(linear, .help = "weighted sum of the models, by default their mean",
               .paper = "Wortsman et al. 2022, Model soups, arXiv:2203.05482",
               .scope = MC_ELEMENTWISE, .check = check,
               .params = MC_PARAMS({"weight", MC_NUMBER, "weight of each model", .per_input = true,
                                    .required = true},
                                   {"normalize", MC_FLAG, "divide by the sum of the weights",
                                    .fallback = 1}))
{
    const double *const weights = mc_numbers(layer, "weight");
    const double total = sum_of_weights(layer, weights);
    const bool normalize = mc_number(layer, "normalize") != 0;
    for (size_t start = 0; start < layer->count; start += MC_TILE_BLOCK) {
        const size_t count = mc_tile_block(start, layer->count);
        mc_real sum[MC_TILE_BLOCK];
        mc_tile_scale(sum, layer->models[0] + start, (mc_real)weights[0], count);
        for (size_t m = 1; m < layer->model_count; m++)
            mc_tile_add_scaled(sum, sum, (mc_real)weights[m], layer->models[m] + start, count);
        mc_tile_divide(layer->out + start, sum, normalize ? (mc_real)total : 1, count);
    }
    return MC_OK;
}
