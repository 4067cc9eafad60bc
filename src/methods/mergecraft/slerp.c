#include "methods/cosine.h"

typedef struct weights {
    double first, second; /* of the two models */
} weights;

static size_t weights_size(const mc_layer *layer)
{
    (void)layer;
    return sizeof(weights);
}

static mc_status accumulate(const mc_layer *layer, void *partial)
{
    cosine_add(partial, layer->models[0], layer->models[1], layer->count);
    return MC_OK;
}

/*
 * sin(x) for |x| ≤ π/2 by its series, and the angle of a cosine between 0 and 1. The C library's
 * functions are not the same to the last bit on every machine; these are.
 */
static double sine(double x)
{
    double sum = 1;
    for (int n = 22; n > 0; n -= 2)
        sum = 1 - x * x / (n * (n + 1)) * sum;
    return x * sum;
}

static double angle_of(double cosine)
{
    const double half_sine = sqrt((1 - cosine) / 2);
    double half = half_sine;
    for (int step = 0; step < 6; step++) { /* Newton's; the error is squared each time */
        const double s = sine(half);
        half += (half_sine - s) / sqrt(1 - s * s);
    }
    return 2 * half;
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    (void)round, (void)more;
    const double tau = mc_number(layer, "tau"), eps = mc_number(layer, "eps");
    const double cosine = cosine_of(total);
    const float seen = (float)cosine; /* the reference compares in float32 */
    weights *const found = state;
    *found = (weights){1 - tau, tau};
    if (seen > (float)eps && seen < (float)(1 - eps)) {
        const double angle = angle_of(cosine);
        *found = (weights){sine((1 - tau) * angle) / sine(angle), sine(tau * angle) / sine(angle)};
    }
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = weights_size,
                                         .partial_size = cosine_size,
                                         .accumulate = accumulate,
                                         .combine = cosine_combine,
                                         .next = next};

MC_LAYER_MERGE(
    slerp,
    .help = "along the arc from the first of two models to the second; along the line where they "
            "are parallel or at more than a right angle",
    .paper = "Shoemake 1985, Animating rotation with quaternion curves, SIGGRAPH",
    .scope = MC_ELEMENTWISE, .min_models = 2, .max_models = 2, .statistics = &statistics,
    .params = MC_PARAMS({"tau", MC_NUMBER, "how far to go: 0 is the first model, 1 the second",
                         .fallback = .5, .maximum = 1},
                        {"eps", MC_NUMBER,
                         "merge along the line unless the cosine is above this and below 1 minus "
                         "this",
                         .fallback = 1e-7, .maximum = .5}))
{
    const weights *const found = layer->state;
    mc_tile_blend(layer->out, (mc_real)found->first, layer->models[0], (mc_real)found->second,
                  layer->models[1], layer->count);
    return MC_OK;
}
