#include "methods/elementary.h"
#include "methods/mergekit/sphere.h"

/*
 * The base is the start of the arc, not subtracted: inner products of the two tensors themselves.
 */
static mc_status accumulate(const mc_layer *layer, void *partial)
{
    pair_add(partial, layer->base, layer->models[0], layer->count);
    return MC_OK;
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    (void)round;
    (void)more;
    const pair_sums *const sums = total;
    const double t = mc_number(layer, "t"), smallest = 1e-8;
    const double a = sqrt(sums->a_squares), b = sqrt(sums->b_squares);
    const double dot = sums->dot / ((a > smallest ? a : 1) * (b > smallest ? b : 1));
    const double cosine = dot < -1 ? -1 : dot > 1 ? 1 : dot;
    arc *const found = state;
    *found = (arc){1 - t, t};
    if (fabs(cosine) <= 0.9995) {
        const double angle = elementary_acos(cosine), sine = elementary_sin(angle);
        *found = (arc){elementary_sin((1 - t) * angle) / sine, elementary_sin(t * angle) / sine};
    }
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = arc_size,
                                         .partial_size = pair_size,
                                         .accumulate = accumulate,
                                         .combine = pair_combine,
                                         .next = next};

MC_LAYER_MERGE(
    slerp,
    .help = "along the arc from the base to the model; along the line where the angle is "
            "small",
    .paper = "Shoemake 1985, Animating rotation with quaternion curves, SIGGRAPH",
    .scope = MC_ELEMENTWISE, .needs_base = true, .max_models = 1, .statistics = &statistics,
    .params = MC_PARAMS({"t", MC_NUMBER, "how far to go: 0 is the base, 1 the model",
                         .required = true}))
{
    const arc *const found = layer->state;
    mc_tile_blend(layer->out, (mc_real)found->first, layer->base, (mc_real)found->second,
                  layer->models[0], layer->count);
    return MC_OK;
}
