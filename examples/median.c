/*
 * A merge method of your own is one file like this one:
 *
 *     mergecraft merge ./median.c MODEL MODEL MODEL... -o DIR
 *
 * The function below is called per piece of a layer, from several threads. `layer->models` has that
 * piece of every model as plain floats, for any format and dtype on disk.
 */
#include <mergecraft/method.h>

MC_LAYER_MERGE(median, .help = "element-wise median of the models")
{
    mc_tile_median(layer->out, layer->models, layer->model_count, layer->count);
    return MC_OK;
}
