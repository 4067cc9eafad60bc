/*
 * The mean of the models, each element weighted by its Fisher information: how much the model's
 * outputs depend on it. Elements without information in any model get the plain mean.
 */
#include <mergecraft/method.h>

#include "base/error.h"
#include "methods/weights.h"

enum { FLOOR, FLOOR_MODE, NORMALIZE, WEIGHTS }; /* parameters */
enum { RELATIVE, ADD, CLAMP_SUM };              /* floor_mode */
enum { NONE, TENSOR, MODEL };                   /* normalize */

/* Of each model: the sum of its Fisher information and of its squares. */
typedef struct moments {
    double sum, squares;
} moments;

static size_t moments_size(const mc_layer *layer)
{
    return layer->model_count * sizeof(moments);
}

/* A negative element would put the result outside the range of the models. */
static mc_status fail_element(const mc_layer *layer, size_t t, mc_real found)
{
    return mc_fail(layer->error, MC_FORMAT,
                   "side input '%s' of model %zu: expected finite values of at least 0, found %g",
                   layer->sides[0].name, t + 1, (double)found);
}

static mc_status accumulate(const mc_layer *layer, void *partial)
{
    moments *const m = partial;
    for (size_t t = 0; t < layer->model_count; t++) {
        const mc_real *const f = layer->sides[0].tiles[t];
        for (size_t i = 0; i < layer->count; i++) {
            if (!(f[i] >= 0) || isinf(f[i]))
                return fail_element(layer, t, f[i]);
            m[t].sum += (double)f[i];
            m[t].squares += (double)f[i] * (double)f[i];
        }
    }
    return MC_OK;
}

static void combine(const mc_layer *layer, void *into, const void *from)
{
    moments *const to = into;
    const moments *const more = from;
    for (size_t t = 0; t < layer->model_count; t++) {
        to[t].sum += more[t].sum;
        to[t].squares += more[t].squares;
    }
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    (void)round;
    (void)more;
    memcpy(state, total, moments_size(layer));
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = moments_size,
                                         .partial_size = moments_size,
                                         .accumulate = accumulate,
                                         .combine = combine,
                                         .next = next};

/* The same over all layers that are merged, for the norms of whole models. */
static size_t model_moments_size(const mc_layer *layer)
{
    return mc_number(layer, "normalize") == MODEL ? moments_size(layer) : 0;
}

static const mc_statistics model_statistics = {.state_size = moments_size,
                                               .partial_size = model_moments_size,
                                               .accumulate = accumulate,
                                               .combine = combine,
                                               .next = next};

/* The norm that a model's Fisher information is divided by. */
static double norm_of(const mc_layer *layer, size_t t)
{
    const moments *const own = layer->state, *const all = layer->model_state;
    const double kind = mc_number(layer, "normalize");
    return kind == MODEL ? sqrt(all[t].squares) : kind == TENSOR ? sqrt(own[t].squares) : 1;
}

/* The weight of a model is scale · f + added; the sum of weights is at least `least`. */
typedef struct weighting {
    double scale, added;
} weighting;

/*
 * The floor that is added to the information of all models alike. In proportion to each model's own
 * information, elements without any would favour the model with the most information elsewhere.
 */
static double relative_floor(const mc_layer *layer, const weighting *w, double floor)
{
    const moments *const all = layer->state;
    const double elements = (double)layer->size * (double)layer->model_count;
    double sum = 0;
    for (size_t t = 0; t < layer->model_count; t++)
        sum += w[t].scale * all[t].sum;
    /* A tensor without any information has the plain mean, with any floor. */
    return sum > 0 ? floor * sum / elements : 1;
}

static bool has_information(const mc_layer *layer)
{
    const moments *const all = layer->state;
    for (size_t t = 0; t < layer->model_count; t++)
        if (all[t].sum > 0)
            return true;
    return false;
}

static void find_weightings(const mc_layer *layer, weighting *w)
{
    const double *const weights = mc_numbers(layer, "weights");
    const double mode = mc_number(layer, "floor_mode"), floor = mc_number(layer, "floor");
    const bool normalized = mc_number(layer, "normalize") != NONE;
    for (size_t t = 0; t < layer->model_count; t++) {
        const double norm = norm_of(layer, t) + (normalized && mode == ADD ? floor : 0);
        w[t] = (weighting){.scale = norm > 0 ? 1 / norm : 0};
    }
    const double shared = mode == RELATIVE ? relative_floor(layer, w, floor) : 0;
    for (size_t t = 0; t < layer->model_count; t++) {
        w[t].added = weights[t] * (mode == ADD ? floor * w[t].scale : shared);
        w[t].scale *= weights[t];
    }
}

/* The weighted mean, for elements whose weights are all 0. */
static double mean_at(const mc_layer *layer, size_t i)
{
    const double *const weights = mc_numbers(layer, "weights");
    double sum = 0;
    for (size_t t = 0; t < layer->model_count; t++)
        sum += weights[t] * (double)layer->models[t][i];
    return sum / sum_of_weights(layer, weights);
}

static double average_at(const mc_layer *layer, const weighting *w, size_t i, double least)
{
    double total = 0, sum = 0;
    for (size_t t = 0; t < layer->model_count; t++) {
        const double weight = w[t].scale * (double)layer->sides[0].tiles[t][i] + w[t].added;
        total += weight;
        sum += weight * (double)layer->models[t][i];
    }
    if (total == 0 && least == 0)
        return mean_at(layer, i);
    return sum / (total < least ? least : total);
}

static size_t scratch_bytes(const mc_layer *layer)
{
    return layer->model_count * sizeof(weighting);
}

static mc_status check(const mc_value *values, size_t model_count, mc_error *error)
{
    (void)model_count;
    return check_weights(&values[WEIGHTS], error);
}

MC_LAYER_MERGE(
    fisher, .help = "mean of the models, weighted by the Fisher information of each element",
    .paper = "Matena & Raffel 2022, Merging models with Fisher-weighted averaging, "
             "arXiv:2111.09832",
    .scope = MC_ELEMENTWISE, .reproducibility = MC_SAME_ON_MACHINE, .statistics = &statistics,
    .model_statistics = &model_statistics, .scratch_bytes = scratch_bytes, .check = check,
    .sides = MC_SIDES({"fishers"}),
    .params = MC_PARAMS(
        {"floor", MC_NUMBER, "least information of an element", .fallback = 1e-3, .maximum = 1e30},
        {"floor_mode", MC_CHOICE,
         "relative: floor times the mean of the tensor is added; add: floor is added; clamp_sum: "
         "the sum over the models is at least floor",
         .choices = MC_NAMES("relative", "add", "clamp_sum")},
        {"normalize", MC_CHOICE, "divide by the norm of each model's information",
         .choices = MC_NAMES("none", "tensor", "model")},
        {"weights", MC_NUMBER, "weight of each model", .fallback = 1, .per_input = true}))
{
    weighting *const w = layer->scratch;
    const double least = mc_number(layer, "floor_mode") == CLAMP_SUM ? mc_number(layer, "floor")
                                                                     : 0;
    find_weightings(layer, w);
    if (!has_information(layer))
        mc_layer_averaged(layer, "its Fisher information is zero in all models");
    for (size_t i = 0; i < layer->count; i++)
        layer->out[i] = (mc_real)average_at(layer, w, i, least);
    return MC_OK;
}
