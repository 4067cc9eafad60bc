/* Statistics of `mergecraft compare`; merges nothing. Not in the list of methods. */
#include "methods/compare.h"

#include <mergecraft/method.h>

static size_t sums_size(const mc_layer *layer)
{
    return compare_size(layer->model_count) * sizeof(double);
}

/* Task vectors of all models, and the largest and smallest of them per element. */
static size_t scratch_bytes(const mc_layer *layer)
{
    return (layer->model_count + 3) * layer->count * sizeof(mc_real);
}

/*
 * Computes the task vector of a tile, and returns the number of elements that differ. Equal values
 * differ by 0, also two infinities or two NaN, whose difference would be NaN.
 */
static uint32_t subtract(mc_real *out, const mc_real *model, const mc_real *base, size_t count)
{
    uint32_t different = 0;
    for (size_t i = 0; i < count; i++) {
        const int nan = (model[i] != model[i]) & (base[i] != base[i]);
        const int equal = (model[i] == base[i]) | nan;
        out[i] = equal ? 0 : model[i] - base[i];
        different += !equal;
    }
    return different;
}

/*
 * The largest value, or NaN; overwrites the values. Halves them over and over: a loop that compares
 * each with the largest so far is not vectorised and took half the time of a comparison.
 */
static double largest_of(mc_real *values, size_t count)
{
    while (count > 1) {
        const size_t half = (count + 1) / 2;
        mc_tile_maximum(values, values, values + half, count - half);
        count = half;
    }
    return count > 0 ? (double)values[0] : 0;
}

static void count_signs(double *sums, const mc_real *high, const mc_real *low, size_t count)
{
    /* As wide as the values, so that vectors hold as many: a tile is a leaf. */
    uint32_t agree = 0, conflict = 0;
    for (size_t i = 0; i < count; i++) {
        conflict += (high[i] > 0) & (low[i] < 0);
        agree += (high[i] > 0) ^ (low[i] < 0);
    }
    sums[COMPARE_AGREE] += (double)agree;
    sums[COMPARE_CONFLICT] += (double)conflict;
}

static mc_status accumulate(const mc_layer *layer, void *partial)
{
    const size_t n = layer->model_count, count = layer->count;
    double *const sums = partial, *const products = sums + compare_products(n);
    mc_real *const vectors = layer->scratch, *const high = vectors + n * count;
    mc_real *const low = high + count, *const absolute = low + count;
    /* High and low start at 0: elements that no model changes neither agree nor conflict. */
    memset(high, 0, 2 * count * sizeof *high);
    sums[COMPARE_ELEMENTS] += (double)count;
    sums[COMPARE_BASE_SQUARES] += mc_tile_squares(layer->base, count);
    for (size_t m = 0; m < n; m++) {
        mc_real *const vector = vectors + m * count;
        double *const own = sums + COMPARE_MODELS + COMPARE_PER_MODEL * m;
        own[COMPARE_DIFFERENT] += (double)subtract(vector, layer->models[m], layer->base, count);
        mc_tile_absolute(absolute, vector, count);
        own[COMPARE_ABSOLUTE] += mc_tile_total(absolute, count);
        const double largest = largest_of(absolute, count);
        own[COMPARE_LARGEST] = compare_larger(own[COMPARE_LARGEST], largest);
        mc_tile_maximum(high, high, vector, count);
        mc_tile_minimum(low, low, vector, count);
        for (size_t k = 0; k <= m; k++)
            products[k * n + m] += mc_tile_dot(vectors + k * count, vector, count);
    }
    count_signs(sums, high, low, count);
    return MC_OK;
}

static void combine(const mc_layer *layer, void *into, const void *from)
{
    compare_add(into, from, layer->model_count);
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    (void)round;
    (void)more;
    memcpy(state, total, sums_size(layer));
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = sums_size,
                                         .partial_size = sums_size,
                                         .accumulate = accumulate,
                                         .combine = combine,
                                         .next = next};

MC_LAYER_MERGE(compare, .help = "sums over task vectors, for comparisons", .needs_base = true,
               .scratch_bytes = scratch_bytes, .statistics = &statistics)
{
    return mc_fail(layer->error, MC_UNSUPPORTED, "a comparison has no result");
}
