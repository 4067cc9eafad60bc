#include <mergecraft/method.h>

static mc_status check(const mc_value *values, size_t model_count, mc_error *error)
{
    (void)model_count;
    for (size_t i = 0; i < values[0].count; i++)
        if (fabs(values[0].numbers[i]) != 1)
            return mc_fail(error, MC_USAGE, "sign %zu is %g; expected 1 or -1", i + 1,
                           values[0].numbers[i]);
    return MC_OK;
}

/* total += sign · (model − base) */
MC_PASS void add_task(mc_real *total, mc_real sign, const mc_real *model, const mc_real *base,
                      size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++)
        total[i] += sign * (model[i] - base[i]);
}

MC_LAYER_MERGE(
    task, .help = "base plus the scaled mean of the task vectors, each added or subtracted",
    .paper = "Ilharco et al. 2022, Editing models with task arithmetic, arXiv:2212.04089",
    .scope = MC_ELEMENTWISE, .needs_base = true, .check = check,
    .params = MC_PARAMS({"signs", MC_NUMBERS,
                         "1 to add a model's task vector, -1 to subtract it; all 1 by default",
                         .each_model = true},
                        {"scale", MC_NUMBER, "factor of the mean task vector", .fallback = 1}))
{
    const double *const signs = mc_numbers(layer, "signs");
    const mc_real scale = (mc_real)mc_number(layer, "scale");
    for (size_t start = 0; start < layer->count; start += MC_TILE_BLOCK) {
        const size_t length = mc_tile_block(start, layer->count);
        const mc_real *const base = layer->base + start;
        mc_real *const out = layer->out + start;
        mc_tile_fill(out, 0, length);
        for (size_t m = 0; m < layer->model_count; m++)
            add_task(out, signs ? (mc_real)signs[m] : 1, layer->models[m] + start, base, length);
        mc_tile_divide(out, out, (mc_real)layer->model_count, length);
        mc_tile_add_scaled(out, base, scale, out, length);
    }
}
