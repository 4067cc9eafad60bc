/*
 * The mean of the models, each element weighted by its Fisher information: how much the model's
 * outputs depend on it. Elements without information in any model get the plain mean.
 */
#include <mergecraft/method.h>

#include "base/error.h"
#include "methods/weights.h"

enum { FLOOR, FLOOR_MODE, NORMALIZE, NORMS, WEIGHTS }; /* parameters */
enum { RELATIVE, ADD, CLAMP_SUM };                     /* floor_mode */
enum { NONE, TENSOR, MODEL };                          /* normalize */

/* Of each model: the sum of its Fisher information and of its squares. */
typedef struct moments {
    double sum, squares;
} moments;

static size_t moments_size(const mc_layer *layer)
{
    return layer->model_count * sizeof(moments);
}

static mc_status accumulate(const mc_layer *layer, void *partial)
{
    moments *const m = partial;
    for (size_t t = 0; t < layer->model_count; t++) {
        const mc_real *const f = layer->sides[0].tiles[t];
        for (size_t i = 0; i < layer->count; i++) {
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

/* The norm that a model's Fisher information is divided by. */
static double norm_of(const mc_layer *layer, size_t t)
{
    const moments *const all = layer->state;
    const double kind = mc_number(layer, "normalize");
    return kind == MODEL    ? mc_numbers(layer, "norms")[t]
           : kind == TENSOR ? sqrt(all[t].squares)
                            : 1;
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

static mc_status add_squares(const mc_source *source, double *sum, mc_error *error)
{
    double values[MC_LEAF];
    const int64_t step = MC_LEAF, count = mc_source_count(source);
    for (int64_t first = 0; first < count; first += step) {
        const int64_t taken = count - first < step ? count - first : step;
        MC_TRY(mc_source_read_f64(source, first, taken, values, error));
        for (int64_t i = 0; i < taken; i++)
            *sum += values[i] * values[i];
    }
    return MC_OK;
}

/*
 * The norm over the tensors that are merged: those that all models have. Others do not take part in
 * the merge.
 */
static mc_status find_norm(const mc_whole_input *input, size_t t, double *norm, mc_error *error)
{
    const mc_state_dict *const fishers = input->sides[0][t];
    double sum = 0;
    for (size_t i = 0; i < mc_state_dict_count(fishers); i++) {
        size_t owners = 0;
        for (size_t m = 0; m < input->model_count; m++)
            owners += mc_state_dict_find(input->models[m], mc_state_dict_name(fishers, i)) != NULL;
        if (owners == input->model_count)
            MC_TRY(add_squares(mc_state_dict_source(fishers, i), &sum, error));
    }
    *norm = sqrt(sum);
    return MC_OK;
}

static mc_status prepare(const mc_whole_input *input, double *const *values, mc_error *error)
{
    for (size_t t = 0; t < input->model_count && values[NORMALIZE][0] == MODEL; t++)
        if (values[NORMS][t] == 0)
            MC_TRY(find_norm(input, t, &values[NORMS][t], error));
    return MC_OK;
}

MC_LAYER_MERGE(
    fisher, .help = "mean of the models, weighted by the Fisher information of each element",
    .paper = "Matena & Raffel 2022, Merging models with Fisher-weighted averaging, "
             "arXiv:2111.09832",
    .scope = MC_ELEMENTWISE, .statistics = &statistics, .scratch_bytes = scratch_bytes,
    .check = check, .prepare = prepare, .sides = MC_SIDES({"fishers"}),
    .params = MC_PARAMS(
        {"floor", MC_NUMBER, "least information of an element", .fallback = 1e-3, .maximum = 1e30},
        {"floor_mode", MC_CHOICE,
         "relative: floor times the mean of the tensor is added; add: floor is added; clamp_sum: "
         "the sum over the models is at least floor",
         .choices = MC_NAMES("relative", "add", "clamp_sum")},
        {"normalize", MC_CHOICE, "divide by the norm of each model's information",
         .choices = MC_NAMES("none", "tensor", "model")},
        {"norms", MC_NUMBER, "these norms, for normalize=model; 0: computed", .fallback = 0,
         .maximum = 1e30, .per_input = true},
        {"weights", MC_NUMBER, "weight of each model", .fallback = 1, .per_input = true}))
{
    weighting *const w = layer->scratch;
    if (mc_number(layer, "normalize") == MODEL && mc_numbers(layer, "norms")[0] == 0)
        return mc_fail(layer->error, MC_UNSUPPORTED,
                       "norms: expected a new plan for normalize=model, which knows all tensors");
    const double least = mc_number(layer, "floor_mode") == CLAMP_SUM ? mc_number(layer, "floor")
                                                                     : 0;
    find_weightings(layer, w);
    for (size_t i = 0; i < layer->count; i++)
        layer->out[i] = (mc_real)average_at(layer, w, i, least);
    return MC_OK;
}
