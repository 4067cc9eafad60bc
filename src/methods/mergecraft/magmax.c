#include <mergecraft/method.h>

/* Equal magnitudes: the later model wins, as in the authors' code. */
MC_LAYER_MERGE(magmax, .help = "base plus, per element, the task vector of the largest magnitude",
               .paper = "Marczak et al. 2024, MagMax, arXiv:2407.06322", .scope = MC_ELEMENTWISE,
               .needs_base = true,
               .params = MC_PARAMS({"scale", MC_NUMBER, "factor of the task vector",
                                    .fallback = .5}))
{
    const mc_real scale = (mc_real)mc_number(layer, "scale");
    for (size_t i = 0; i < layer->count; i++) {
        const mc_real base = layer->base[i];
        mc_real largest = 0;
        for (size_t t = 0; t < layer->model_count; t++) {
            const mc_real task = layer->models[t][i] - base;
            const bool wins = mc_absolute(task) >= mc_absolute(largest) || task != task;
            largest = wins && largest == largest ? task : largest;
        }
        layer->out[i] = base + scale * largest;
    }
    return MC_OK;
}
