#include "methods/weights.h"

enum { SIGNS, SCALE, WEIGHTS, SCALING }; /* parameters */
enum { MEAN, SUM };                      /* values of `scaling` */

static mc_status check(const mc_value *values, size_t model_count, mc_error *error)
{
    for (size_t m = 0; m < model_count; m++)
        if (fabs(values[SIGNS].numbers[m]) != 1)
            return mc_fail(error, MC_USAGE, "signs: expected 1 or -1 for model %zu, found %g",
                           m + 1, values[SIGNS].numbers[m]);
    return values[SCALING].numbers[0] == SUM ? MC_OK
                                             : check_weight_sum("weights", &values[WEIGHTS], error);
}

/* total += factor · (model − base) */
MC_PASS void add_task(mc_real *total, mc_real factor, const mc_real *model, const mc_real *base,
                      size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        total[i] += factor * (model[i] - base[i]);
}

MC_LAYER_MERGE(
    task, .help = "base plus the scaled mean of the task vectors, each added or subtracted",
    .paper = "Ilharco et al. 2022, Editing models with task arithmetic, arXiv:2212.04089",
    .scope = MC_ELEMENTWISE, .needs_base = true, .check = check,
    .params = MC_PARAMS({"signs", MC_NUMBER, "1 to add a model's task vector, -1 to subtract it",
                         .fallback = 1, .per_input = true},
                        {"scale", MC_NUMBER, "factor of the mean or sum of the task vectors",
                         .fallback = 1},
                        {"weights", MC_NUMBER, "weight of each model's task vector", .fallback = 1,
                         .per_input = true},
                        {"scaling", MC_CHOICE,
                         "mean: the weighted task vectors are divided by the sum of the weights; "
                         "sum: they are not, as in the paper",
                         .choices = MC_NAMES("mean", "sum")}))
{
    const double *const signs = mc_numbers(layer, "signs");
    const double *const weights = mc_numbers(layer, "weights");
    const mc_real scale = (mc_real)mc_number(layer, "scale");
    const bool mean = mc_number(layer, "scaling") == MEAN;
    const mc_real divisor = mean ? (mc_real)sum_of_weights(layer, weights) : 1;
    for (size_t start = 0; start < layer->count; start += MC_TILE_BLOCK) {
        const size_t length = mc_tile_block(start, layer->count);
        const mc_real *const base = layer->base + start;
        mc_real *const out = layer->out + start;
        mc_tile_fill(out, 0, length);
        for (size_t m = 0; m < layer->model_count; m++)
            add_task(out, (mc_real)(signs[m] * weights[m]), layer->models[m] + start, base, length);
        mc_tile_divide(out, out, divisor, length);
        mc_tile_add_scaled(out, base, scale, out, length);
    }
    return MC_OK;
}
