#include "methods/elementary.h"
#include "methods/mergekit/gram.h"

/*
 * Everything lies in the span of the models: a vector is u = Σ u_i x_i, and products follow from
 * the Gram matrix. So the cost of a step does not depend on the size of the tensor.
 */
typedef struct mean {
    const double *gram;
    size_t count;
    double *u, *step, *share, *unit; /* [count] each; share 0: not taken part */
} mean;

enum { MEAN_VECTORS = 4 };

static size_t state_size(const mc_layer *layer)
{
    return gram_state_size(layer) + MEAN_VECTORS * layer->model_count * sizeof(double);
}

static double product(const mean *m, const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < m->count; i++)
        for (size_t j = 0; j < m->count; j++)
            sum += a[i] * b[j] * gram_at(m->gram, i, j);
    return sum;
}

static double length_of(const mean *m, const double *a)
{
    const double square = product(m, a, a);
    return square < 0 ? 0 : sqrt(square);
}

static void scale(const mean *m, double *a, double factor)
{
    for (size_t i = 0; i < m->count; i++)
        a[i] *= factor;
}

/* The weighted mean of the directions, on the sphere; the first direction if the mean is zero. */
static void start(const mean *m, double tolerance)
{
    for (size_t i = 0; i < m->count; i++)
        m->u[i] = m->share[i] * m->unit[i];
    const double length = length_of(m, m->u);
    if (length >= tolerance) {
        scale(m, m->u, 1 / length);
        return;
    }
    memset(m->u, 0, m->count * sizeof *m->u);
    size_t first = 0;
    while (m->share[first] == 0)
        first++;
    m->u[first] = m->unit[first];
}

/*
 * One step along the mean of the tangents that lead to the models; false when it is short enough.
 */
static bool walk(const mean *m, double tolerance)
{
    memset(m->step, 0, m->count * sizeof *m->step);
    for (size_t i = 0; i < m->count; i++) {
        double dot = 0;
        for (size_t j = 0; j < m->count; j++)
            dot += m->u[j] * m->unit[i] * gram_at(m->gram, i, j);
        const double cosine = dot < -1 ? -1 : dot > 1 ? 1 : dot, angle = elementary_acos(cosine);
        /* To the opposite point every way is as short: there is no direction. */
        if (m->share[i] == 0 || !(angle >= tolerance) || angle == 0 || cosine < -1 + 1e-12)
            continue;
        const double weight = m->share[i] * (angle / elementary_sin(angle));
        for (size_t j = 0; j < m->count; j++)
            m->step[j] += weight * ((j == i ? m->unit[i] : 0) - cosine * m->u[j]);
    }
    const double length = length_of(m, m->step);
    if (!(length >= tolerance))
        return false;
    const double along = elementary_cos(length), across = elementary_sin(length) / length;
    for (size_t i = 0; i < m->count; i++)
        m->u[i] = along * m->u[i] + across * m->step[i];
    const double size = length_of(m, m->u);
    if (size > tolerance)
        scale(m, m->u, 1 / size);
    return true;
}

/* Sets directions and shares of the models that have a length; returns the mean length of all. */
static double set_models(const mean *m, double tolerance)
{
    double lengths = 0, valid = 0;
    for (size_t i = 0; i < m->count; i++) {
        const double length = sqrt(gram_at(m->gram, i, i));
        lengths += length / (double)m->count;
        m->unit[i] = length > 0 ? 1 / length : 0;
        m->share[i] = length > tolerance;
        valid += m->share[i];
    }
    for (size_t i = 0; i < m->count; i++)
        m->share[i] = valid > 0 ? m->share[i] / valid : 0;
    return valid > 0 ? lengths : 0;
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    (void)round;
    (void)more;
    double *const factors = state;
    const size_t n = layer->model_count;
    double *const tail = factors + n;
    const mean m = {total, n, tail, tail + n, tail + 2 * n, tail + 3 * n};
    const double tolerance = mc_number(layer, "tol"), steps = mc_number(layer, "max_iter");
    const double size = set_models(&m, tolerance);
    if (size > 0 || size != size) {
        start(&m, tolerance);
        for (int i = 0; i < steps && walk(&m, tolerance); i++)
            ;
    }
    for (size_t i = 0; i < n; i++)
        factors[i] = size * m.u[i];
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = state_size,
                                         .partial_size = gram_size,
                                         .accumulate = gram_accumulate,
                                         .combine = gram_combine,
                                         .next = next};

MC_LAYER_MERGE(
    karcher,
    .help = "the point on the sphere whose angles to all models are least, at their mean "
            "length",
    .paper = "Karcher 1977, Riemannian center of mass and mollifier smoothing",
    .scope = MC_ELEMENTWISE, .statistics = &statistics, .scratch_bytes = gram_scratch,
    .params = MC_PARAMS({"max_iter", MC_INTEGER, "steps at most", .fallback = 10, .maximum = 1e6},
                        {"tol", MC_NUMBER, "length of a step that ends the search",
                         .fallback = 1e-5}))
{
    if (layer->model_count == 1)
        mc_tile_copy(layer->out, layer->models[0], layer->count);
    else
        gram_apply(layer);
    return MC_OK;
}
