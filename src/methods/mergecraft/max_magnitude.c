#include <mergecraft/method.h>

/* best = model − base where that is of larger magnitude; NaN if one of the two is. */
MC_PASS void keep_larger(mc_real *best, const mc_real *model, const mc_real *base, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_real task = model[i] - base[i];
        const bool keep = mc_absolute(task) <= mc_absolute(best[i]) || best[i] != best[i];
        best[i] = keep ? best[i] : task;
    }
}

MC_LAYER_MERGE(max_magnitude,
               .help = "base plus, element by element, the task vector of largest magnitude",
               .scope = MC_ELEMENTWISE, .needs_base = true,
               .params = MC_PARAMS({"scale", MC_NUMBER, "factor of the task vector",
                                    .fallback = 1}))
{
    const mc_real scale = (mc_real)mc_number(layer, "scale");
    for (size_t start = 0; start < layer->count; start += MC_TILE_BLOCK) {
        const size_t length = mc_tile_block(start, layer->count);
        const mc_real *const base = layer->base + start;
        mc_real *const out = layer->out + start;
        mc_tile_subtract(out, layer->models[0] + start, base, length);
        for (size_t m = 1; m < layer->model_count; m++)
            keep_larger(out, layer->models[m] + start, base, length);
        mc_tile_add_scaled(out, base, scale, out, length);
    }
    return MC_OK;
}
