#include <mergecraft/method.h>

/*
 * The closer the two are, the more of the model is taken: a share of t / |difference|, at most 1.
 */
MC_LAYER_MERGE(nearswap,
               .help = "the base where the model is far from it, the model where it is near",
               .scope = MC_ELEMENTWISE, .needs_base = true, .max_models = 1,
               .params = MC_PARAMS({"t", MC_NUMBER, "difference up to which the model is taken",
                                    .required = true}))
{
    const mc_real t = (mc_real)mc_number(layer, "t");
    const mc_real *const model = layer->models[0], *const base = layer->base;
    const mc_real nearest = (mc_real)1e-6;
    MC_INDEPENDENT
    for (size_t i = 0; i < layer->count; i++) {
        const mc_real distance = mc_absolute(base[i] - model[i]);
        const mc_real share = (1 / (distance < nearest ? nearest : distance)) * t;
        const mc_real w = share < 0 ? 0 : share > 1 ? 1 : share;
        layer->out[i] = w * model[i] + (1 - w) * base[i];
    }
    return MC_OK;
}
