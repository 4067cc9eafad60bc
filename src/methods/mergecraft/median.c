#include <mergecraft/method.h>

MC_LAYER_MERGE(
    median, .help = "element-wise median of the models (of an even number: the lower middle value)",
    .scope = MC_ELEMENTWISE)
{
    mc_tile_median(layer->out, layer->models, layer->model_count, layer->count);
    return MC_OK;
}
