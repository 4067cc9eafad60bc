/* One threshold search per model, side by side, by density and by count, against sorting. */
#include "methods/inputs.h"
#include "methods/run.h"

#include "methods/threshold.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { MODELS = 3, LARGE = 66 * MC_LEAF + 1234, SMALL = 1000 };

static size_t state_size(const mc_layer *layer)
{
    return layer->model_count * sizeof(order_search);
}

static void begin(const mc_layer *layer, void *state)
{
    order_begin(state, layer->model_count, layer->size, 1, order_first_stride(layer->size));
}

static size_t partial_size(const mc_layer *layer)
{
    return threshold_partial_size(layer->state, layer->model_count);
}

static int64_t stride(const mc_layer *layer, int round)
{
    (void)round;
    return order_stride(layer->state, layer->model_count);
}

static mc_status accumulate(const mc_layer *layer, void *partial)
{
    for (size_t m = 0; m < layer->model_count; m++)
        threshold_add(layer->state, layer->model_count, m, partial, layer->models[m], layer->base,
                      layer->count);
    return MC_OK;
}

static void combine(const mc_layer *layer, void *into, const void *from)
{
    order_combine(layer->state, layer->model_count, into, from);
}

static mc_status next(const mc_layer *layer, int round, void *state, const void *total, bool *more)
{
    order_search *const searches = state;
    const double kept = mc_number(layer, "kept");
    (void)round;
    for (size_t m = 0; m < layer->model_count; m++)
        if (kept < 1)
            threshold_set_density(&searches[m], kept);
        else
            searches[m].rank = layer->size - (int64_t)kept;
    *more = threshold_next(searches, layer->model_count, total);
    return MC_OK;
}

static const mc_statistics statistics = {.state_size = state_size,
                                         .begin = begin,
                                         .partial_size = partial_size,
                                         .order_free = true,
                                         .stride = stride,
                                         .accumulate = accumulate,
                                         .combine = combine,
                                         .next = next};

/* The thresholds themselves, in the first elements. */
MC_LAYER_MERGE(thresholds, .help = "the threshold of each model", .statistics = &statistics,
               .params = MC_PARAMS({"kept", MC_NUMBER, "share below 1, or number of elements"}))
{
    const order_search *const searches = layer->state;
    for (size_t m = 0; m < layer->model_count && layer->first == 0; m++)
        layer->out[m] = (mc_real)searches[m].threshold;
    return MC_OK;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double expected_of(const float *model, const float *base, size_t count, double kept)
{
    double *const sizes = malloc(count * sizeof *sizes);
    for (size_t i = 0; i < count; i++)
        sizes[i] = fabs((double)(base ? model[i] - base[i] : model[i]));
    qsort(sizes, count, sizeof *sizes, by_size);
    const double place = kept < 1 ? (double)(count - 1) * (1 - kept) : (double)count - kept;
    const size_t rank = (size_t)place;
    const double fraction = place - floor(place);
    const double low = sizes[rank], high = fraction > 0 ? sizes[rank + 1] : low;
    free(sizes);
    return low + (high - low) * fraction;
}

static void check(size_t count, bool with_base, const char *setting, double kept)
{
    float *models[MODELS], *const base = inputs_make(7, BASE, PLAIN, MC_F32, count);
    float *const out = calloc(count, sizeof *out);
    mc_params *const params = run_params(&thresholds, MODELS, setting);
    for (size_t m = 0; m < MODELS; m++)
        models[m] = inputs_make(7, m, m == 1 ? ZEROS : PLAIN, MC_F32, count);
    const mc_layer layer = {.name = "layer",
                            .size = (int64_t)count,
                            .count = count,
                            .out = out,
                            .models = (const mc_real *const *)models,
                            .model_count = MODELS,
                            .base = with_base ? base : NULL,
                            .params = thresholds.params,
                            .values = params->values};
    for (int64_t tile = MC_LEAF; tile <= 8 * MC_LEAF; tile *= 2) {
        run_method(&thresholds, &layer, tile);
        for (size_t m = 0; m < MODELS; m++) {
            const double expected = expected_of(models[m], layer.base, count, kept);
            if (out[m] != (float)expected)
                fail_msg("%zu elements, %s, model %zu: expected %.9g, found %.9g", count, setting,
                         m, expected, (double)out[m]);
        }
    }
    for (size_t m = 0; m < MODELS; m++)
        free(models[m]);
    free(base), free(out);
    mc_params_unref(params);
}

static void test_per_model(void **state)
{
    static const struct {
        const char *setting;
        double kept;
    } cases[] = {{"kept=0.1", .1}, {"kept=0", 0},   {"kept=0.999", .999},
                 {"kept=1", 1},    {"kept=37", 37}, {"kept=1000", 1000}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int with_base = 0; with_base < 2; with_base++) {
            check(SMALL, with_base, cases[i].setting, cases[i].kept);
            check(LARGE, with_base, cases[i].setting, cases[i].kept);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_per_model)};
    return cmocka_run_group_tests_name("threshold", tests, NULL, NULL);
}
