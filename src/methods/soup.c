#include <mergecraft/method.h>

static mc_status check(const mc_value *values, size_t model_count, mc_error *error)
{
    double total = 0;
    for (size_t i = 0; i < values[0].count; i++)
        total += values[0].numbers[i];
    if (values[0].count > 0 && (total == 0 || !isfinite(total)))
        return mc_fail(error, MC_USAGE,
                       "the weights of %zu models add up to %g, by which they would be divided",
                       model_count, total);
    return MC_OK;
}

MC_LAYER_MERGE(soup, .help = "mean of the models, plain or weighted",
               .paper = "Wortsman et al. 2022, Model soups, arXiv:2203.05482",
               .scope = MC_ELEMENTWISE, .check = check,
               .params = MC_PARAMS({"weights", MC_NUMBERS,
                                    "weight of each model; they are divided by their sum",
                                    .each_model = true}))
{
    const double *const weights = mc_numbers(layer, "weights");
    if (weights)
        mc_tile_weighted_mean(layer->out, layer->models, weights, layer->model_count, layer->count);
    else
        mc_tile_mean(layer->out, layer->models, layer->model_count, layer->count);
}
