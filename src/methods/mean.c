/* The plain mean of layers that the chosen method does not merge. Not in the list of methods. */
#include <mergecraft/method.h>

MC_LAYER_MERGE(mean, .help = "mean of the models", .scope = MC_ELEMENTWISE)
{
    mc_tile_mean(layer->out, layer->models, layer->model_count, layer->count);
    return MC_OK;
}
