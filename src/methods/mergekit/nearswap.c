#include <mergecraft/method.h>

/*
 * The closer the two are, the more of the model is taken: a share of t / |difference|, at most 1.
 */
MC_PASS void approach(mc_real *out, const mc_real *model, const mc_real *base, mc_real t,
                      size_t count)
{
    const mc_real nearest = (mc_real)1e-6;
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_real distance = mc_absolute(base[i] - model[i]);
        const mc_real share = (1 / (distance < nearest ? nearest : distance)) * t;
        const mc_real bounded = share > 1 ? 1 : share;
        const mc_real w = bounded < 0 ? 0 : bounded;
        out[i] = w * model[i] + (1 - w) * base[i];
    }
}

MC_LAYER_MERGE(nearswap,
               .help = "the base where the model is far from it, the model where it is near",
               .scope = MC_ELEMENTWISE, .needs_base = true, .max_models = 1,
               .params = MC_PARAMS({"t", MC_NUMBER, "difference up to which the model is taken",
                                    .required = true}))
{
    approach(layer->out, layer->models[0], layer->base, (mc_real)mc_number(layer, "t"),
             layer->count);
    return MC_OK;
}
