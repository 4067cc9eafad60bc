#include <mergecraft/method.h>

MC_LAYER_MERGE(passthrough, .help = "the one model as it is, or scaled", .scope = MC_ELEMENTWISE,
               .max_models = 1,
               .params = MC_PARAMS({"scale", MC_NUMBER, "what every element is multiplied by",
                                    .fallback = 1, .per_input = true}))
{
    mc_tile_scale(layer->out, layer->models[0], (mc_real)mc_numbers(layer, "scale")[0],
                  layer->count);
    return MC_OK;
}
