#include "methods/weights.h"

enum { P, AVERAGE, WEIGHTS }; /* parameters */
enum { SURVIVORS, MODELS };   /* values of `average` */

static mc_status check(const mc_value *values, size_t model_count, mc_error *error)
{
    (void)model_count;
    return check_weights(&values[WEIGHTS], error);
}

/*
 * Where an element survives: sum += weight · (model − base), survivors += weight. Choices instead
 * of branches, for vectors.
 */
MC_PASS void add_survivors(mc_real *restrict sum, mc_real *restrict survivors,
                           const uint16_t *restrict survives, mc_real weight,
                           const mc_real *restrict model, const mc_real *restrict base,
                           size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_real more = sum[i] + weight * (model[i] - base[i]);
        sum[i] = survives[i] ? more : sum[i];
        survivors[i] += survives[i] ? weight : 0;
    }
}

/*
 * out = base + sum / (kept · divisor); the base itself, to the sign of its zero, where nothing
 * survived. `models` is the sum of all weights, or 0 to divide by that of the survivors.
 */
MC_PASS void add_mean(mc_real *restrict out, const mc_real *restrict base,
                      const mc_real *restrict sum, const mc_real *restrict survivors, mc_real kept,
                      mc_real models, size_t count)
{
    MC_INDEPENDENT
    for (size_t i = 0; i < count; i++) {
        const mc_real divisor = models > 0 ? models : survivors[i];
        const mc_real merged = base[i] + sum[i] / (kept * divisor);
        out[i] = survivors[i] > 0 ? merged : base[i];
    }
}

/*
 * Merges at most MC_RANDOM_GROUP elements from `start` on, within one group of random numbers. Each
 * model draws from its own stream, at the element's index in the tensor: results do not depend on
 * tiles.
 */
static void merge_group(const mc_layer *layer, uint16_t limit, const double *weights,
                        mc_real models, size_t start, size_t count)
{
    mc_real sum[MC_RANDOM_GROUP] = {0}, survivors[MC_RANDOM_GROUP] = {0};
    uint16_t survives[MC_RANDOM_GROUP];
    const mc_real *const base = layer->base + start;
    for (size_t m = 0; m < layer->model_count; m++) {
        mc_random_bernoulli(layer->random_key, (uint32_t)m, layer->first + (int64_t)start, count,
                            limit, survives);
        add_survivors(sum, survivors, survives, (mc_real)weights[m], layer->models[m] + start, base,
                      count);
    }
    const mc_real kept = (mc_real)(1 - limit * 0x1p-16);
    add_mean(layer->out + start, base, sum, survivors, kept, models, count);
}

MC_LAYER_MERGE(
    dare,
    .help = "base plus the mean of the task vectors with elements dropped at random, the rest "
            "scaled up",
    .paper = "Yu et al. 2023, Language models are super Mario, arXiv:2311.03099",
    .scope = MC_ELEMENTWISE, .needs_base = true, .check = check,
    .params = MC_PARAMS({"p", MC_NUMBER,
                         "probability that an element is dropped, to the nearest multiple of 2^-16",
                         .fallback = .5, .maximum = 1},
                        {"average", MC_CHOICE,
                         "what a sum is divided by: the survivors of the element, or all models",
                         .choices = MC_NAMES("survivors", "models")},
                        {"weights", MC_NUMBER, "weight of each model in the mean", .fallback = 1,
                         .per_input = true}))
{
    const double *const weights = mc_numbers(layer, "weights");
    const double limit = nearbyint(mc_number(layer, "p") * 0x1p16);
    const bool all = mc_number(layer, "average") == MODELS;
    const mc_real models = all ? (mc_real)sum_of_weights(layer, weights) : 0;
    /* p is 1 after rounding: nothing survives. */
    if (limit > UINT16_MAX) {
        mc_tile_copy(layer->out, layer->base, layer->count);
        return MC_OK;
    }
    for (size_t start = 0, next; start < layer->count; start = next) {
        const size_t left = layer->count - start;
        const size_t whole = MC_RANDOM_GROUP -
                             (size_t)(layer->first + (int64_t)start) % MC_RANDOM_GROUP;
        next = start + (left < whole ? left : whole);
        merge_group(layer, (uint16_t)limit, weights, models, start, next - start);
    }
    return MC_OK;
}
