/*
 * A method with side inputs: per model, the diagonal of the Hessian of its loss, in a checkpoint
 * with the same tensor names. It measures how much each weight matters to that model, and is its
 * weight in the mean.
 *
 *     mergecraft merge ./hessians.c A B --side hessians=A-HESSIAN,B-HESSIAN -o DIR
 */
#include <mergecraft/method.h>

/* Weights that add up to zero give the plain mean. */
static mc_real weighted_mean(const mc_layer *layer, const mc_real *const *hessians, size_t i)
{
    mc_real sum = 0, plain_sum = 0, weight = 0;
    for (size_t m = 0; m < layer->model_count; m++) {
        sum += hessians[m][i] * layer->models[m][i];
        plain_sum += layer->models[m][i];
        weight += hessians[m][i];
    }
    return weight == 0 ? plain_sum / (mc_real)layer->model_count : sum / weight;
}

MC_LAYER_MERGE(hessians, .help = "mean of the models, each weight by its Hessian",
               .sides = MC_SIDES({"hessians"}))
{
    for (size_t i = 0; i < layer->count; i++)
        layer->out[i] = weighted_mean(layer, layer->sides[0].tiles, i);
    return MC_OK;
}
