#include "methods/weights.h"

static mc_status check(const mc_value *values, size_t model_count, mc_error *error)
{
    (void)model_count;
    if (values[0].numbers[0] >= .5)
        return mc_fail(error, MC_USAGE, "trim: expected less than 0.5, found %g: nothing is left",
                       values[0].numbers[0]);
    return check_positive_weights(&values[1], error);
}

static size_t dropped_of(double trim, size_t model_count)
{
    return (size_t)floor(trim * (double)model_count);
}

static const char *note(const mc_value *values, size_t model_count)
{
    const double trim = values[0].numbers[0];
    return trim > 0 && dropped_of(trim, model_count) == 0
               ? "trim times the number of models is below 1, so that no value is trimmed: the "
                 "result is the mean"
               : NULL;
}

/* NaN has no place in an order: results are made NaN afterwards where a model has one. */
static void keep_nan(mc_real *out, const mc_real *const *models, size_t model_count, size_t start,
                     size_t count)
{
    for (size_t m = 0; m < model_count; m++)
        for (size_t i = start; i < start + count; i++)
            out[i] = models[m][i] != models[m][i] ? (mc_real)NAN : out[i];
}

static void mean_of_sorted(const mc_layer *layer, size_t dropped, size_t start, size_t count)
{
    const size_t kept = layer->model_count - 2 * dropped;
    mc_real rows[MC_MEDIAN_NETWORK][MC_MEDIAN_BLOCK];
    mc_real sum[MC_MEDIAN_BLOCK] = {0};
    for (size_t m = 0; m < layer->model_count; m++)
        mc_median_load_row(rows[m], layer->models[m] + start, count);
    mc_median_sort_rows(rows, layer->model_count);
    for (size_t r = dropped; r < dropped + kept; r++)
        mc_tile_add(sum, sum, rows[r], MC_MEDIAN_BLOCK);
    mc_tile_divide(layer->out + start, sum, (mc_real)kept, count);
}

/* The values of one rank, from the smallest on. */
static void find_rank(const mc_layer *layer, size_t rank, size_t start, size_t count,
                      mc_bits found[MC_MEDIAN_BLOCK])
{
    for (mc_bits bit = MC_TOP_BIT; bit > 0; bit >>= 1)
        mc_median_bisect(found, bit, rank, layer->models, layer->model_count, start, count);
}

/*
 * The sum of what lies between the smallest and the largest that are kept, and of those as often as
 * they are kept.
 */
static mc_real mean_between(const mc_layer *layer, size_t dropped, size_t i, mc_real low,
                            mc_real high)
{
    if (low == high)
        return low;
    mc_real sum = 0;
    size_t up_to_low = 0, below_high = 0;
    for (size_t m = 0; m < layer->model_count; m++) {
        const mc_real x = layer->models[m][i];
        up_to_low += x <= low;
        below_high += x < high;
        sum += x > low && x < high ? x : 0;
    }
    const size_t last = layer->model_count - dropped;
    sum += low * (mc_real)(up_to_low - dropped) + high * (mc_real)(last - below_high);
    return sum / (mc_real)(last - dropped);
}

/* For more models than are sorted on the stack. */
static void mean_by_rank(const mc_layer *layer, size_t dropped, size_t start, size_t count)
{
    mc_bits low[MC_MEDIAN_BLOCK] = {0}, high[MC_MEDIAN_BLOCK] = {0};
    find_rank(layer, dropped, start, count, low);
    find_rank(layer, layer->model_count - 1 - dropped, start, count, high);
    for (size_t i = 0; i < count; i++)
        layer->out[start + i] = mean_between(layer, dropped, start + i, mc_real_of_ordered(low[i]),
                                             mc_real_of_ordered(high[i]));
}

/*
 * The weighted mean of the values that are kept. Which are dropped is decided by number, not by
 * weight; equal values are ranked in the order of the models.
 */
static void weighted_mean(const mc_layer *layer, const double *weights, size_t dropped,
                          size_t start, size_t count)
{
    const size_t models = layer->model_count;
    double sum[MC_MEDIAN_BLOCK] = {0}, total[MC_MEDIAN_BLOCK] = {0};
    for (size_t m = 0; m < models; m++) {
        const mc_real *const own = layer->models[m] + start;
        unsigned rank[MC_MEDIAN_BLOCK] = {0};
        for (size_t k = 0; k < models; k++) {
            const mc_real *const other = layer->models[k] + start;
            for (size_t i = 0; i < count; i++)
                rank[i] += (other[i] < own[i]) | ((k < m) & (other[i] == own[i]));
        }
        for (size_t i = 0; i < count; i++) {
            const bool kept = rank[i] >= dropped && rank[i] < models - dropped;
            /* A branch, since 0 times an infinity that is dropped is NaN. */
            sum[i] += kept ? weights[m] * (double)own[i] : 0;
            total[i] += kept ? weights[m] : 0;
        }
    }
    for (size_t i = 0; i < count; i++)
        layer->out[start + i] = (mc_real)(sum[i] / total[i]);
}

MC_LAYER_MERGE(trimmed_mean, .help = "mean without the smallest and the largest values",
               .scope = MC_ELEMENTWISE, .check = check, .note = note,
               .params = MC_PARAMS({"trim", MC_NUMBER,
                                    "share of the models that is dropped at each end, below 0.5",
                                    .fallback = .2, .maximum = .5},
                                   {"weights", MC_NUMBER,
                                    "weight of each model among those that are kept", .fallback = 1,
                                    .per_input = true}))
{
    const size_t models = layer->model_count;
    const size_t dropped = dropped_of(mc_number(layer, "trim"), models);
    const double *const weights = mc_numbers(layer, "weights");
    const bool plain = equal_weights(layer, weights);
    for (size_t start = 0; start < layer->count; start += MC_MEDIAN_BLOCK) {
        const size_t left = layer->count - start;
        const size_t count = left < MC_MEDIAN_BLOCK ? left : MC_MEDIAN_BLOCK;
        if (!plain)
            weighted_mean(layer, weights, dropped, start, count);
        else if (models <= MC_MEDIAN_NETWORK)
            mean_of_sorted(layer, dropped, start, count);
        else
            mean_by_rank(layer, dropped, start, count);
        keep_nan(layer->out, layer->models, models, start, count);
    }
    return MC_OK;
}
