#include "methods/elementary.h"
#include "methods/mergekit/gram.h"
#include "methods/weights.h"

/* The inner product of Σ a_i x_i and Σ b_j x_j. */
static double product(const mc_layer *layer, const double *gram, const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < layer->model_count; i++)
        for (size_t j = 0; j < layer->model_count; j++)
            sum += a[i] * b[j] * gram_at(gram, i, j);
    return sum;
}

static double length_of(const mc_layer *layer, const double *gram, const double *a)
{
    const double square = product(layer, gram, a, a);
    return square > 0 ? sqrt(square) : square == 0 || square < 0 ? 0 : square;
}

/* Vectors in the span of the models, as their coefficients; they live in the state's tail. */
typedef struct span {
    double *weights, *inverse, *mean, *step, *unit;
} span;

enum { SPAN_VECTORS = 5 };

static size_t state_size(const mc_layer *layer)
{
    return gram_state_size(layer) + SPAN_VECTORS * layer->model_count * sizeof(double);
}

static span span_of(const mc_layer *layer, double *factors)
{
    const size_t n = layer->model_count;
    double *const tail = factors + n;
    return (span){tail, tail + n, tail + 2 * n, tail + 3 * n, tail + 4 * n};
}

/* The weight of a single model does not matter: the result is that model. */
static mc_status check(const mc_value *values, size_t model_count, mc_error *error)
{
    const bool divides = values[1].numbers[0] != 0 && model_count > 1;
    return divides ? check_weight_sum("weight", &values[0], error) : MC_OK;
}

static void set_weights(const mc_layer *layer, double *weights)
{
    const double *const given = mc_numbers(layer, "weight");
    const double total = sum_of_weights(layer, given);
    const bool normalize = mc_number(layer, "normalize_weights") != 0;
    for (size_t i = 0; i < layer->model_count; i++)
        weights[i] = normalize ? given[i] / total : given[i];
}

/*
 * Computes the factors: the weighted mean of unit vectors, put back on the sphere, then one step
 * along the weighted mean of their parts in the tangent plane there.
 */
static mc_status find_factors(const mc_layer *layer, const double *gram, double *factors)
{
    const size_t n = layer->model_count;
    const double eps = mc_number(layer, "eps");
    const span s = span_of(layer, factors);
    double size = 0;
    bool zeros = true; /* all models are */
    set_weights(layer, s.weights);
    for (size_t i = 0; i < n; i++) {
        const double norm = sqrt(gram_at(gram, i, i));
        zeros = zeros && norm < eps;
        s.inverse[i] = 1 / (norm + eps);
        s.mean[i] = s.weights[i] * s.inverse[i];
        size += norm * s.weights[i];
    }
    const double mean_length = length_of(layer, gram, s.mean);
    if (mean_length < eps && (n == 2 || zeros)) {
        for (size_t i = 0; i < n; i++)
            factors[i] = s.weights[i];
        return MC_OK;
    }
    if (mean_length < eps)
        return mc_fail(layer->error, MC_USAGE,
                       "the weighted sum of the directions of %zu models is zero: no mean exists",
                       n);
    for (size_t i = 0; i < n; i++)
        s.mean[i] /= mean_length;
    for (size_t i = 0; i < n; i++)
        s.step[i] = 0;
    for (size_t i = 0; i < n; i++) {
        memset(s.unit, 0, n * sizeof *s.unit);
        s.unit[i] = s.inverse[i];
        const double dot = product(layer, gram, s.unit, s.mean);
        for (size_t j = 0; j < n; j++)
            s.step[j] += s.weights[i] * (s.unit[j] - dot * s.mean[j]);
    }
    const double angle = length_of(layer, gram, s.step) + eps;
    const double along = elementary_cos(angle), across = elementary_sin(angle) / angle;
    for (size_t i = 0; i < n; i++)
        factors[i] = (s.mean[i] * along + s.step[i] * across) * size;
    return MC_OK;
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    (void)round;
    (void)more;
    return find_factors(layer, total, state);
}

static const mc_statistics statistics = {.state_size = state_size,
                                         .partial_size = gram_size,
                                         .accumulate = gram_accumulate,
                                         .combine = gram_combine,
                                         .next = next};

MC_LAYER_MERGE(multislerp,
               .help = "weighted mean on the sphere of several models, or of their task vectors",
               .scope = MC_ELEMENTWISE, .takes_base = true, .check = check,
               .statistics = &statistics, .scratch_bytes = gram_scratch,
               .params = MC_PARAMS(
                   {"weight", MC_NUMBER, "weight of each model", .per_input = true,
                    .required = true},
                   {"normalize_weights", MC_FLAG, "make the sum of the weights one", .fallback = 1},
                   {"eps", MC_NUMBER, "lengths below this count as zero", .fallback = 1e-8}))
{
    /* A single model is its own mean. */
    if (layer->model_count == 1)
        mc_tile_copy(layer->out, layer->models[0], layer->count);
    else
        gram_apply(layer);
    return MC_OK;
}
