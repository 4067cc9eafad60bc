/*
 * The threshold search of ties on layers that are large enough to be sampled first, against
 * sorting: inputs that the sample tells well, and inputs made to mislead it.
 */
#include "methods/inputs.h"
#include "methods/run.h"

#include "base/cpu.h"
#include "methods/variant.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { MODELS = 3, COUNT = 66 * MC_LEAF + 1234 };

typedef double (*maker)(uint64_t model, uint64_t element);

static double plain(uint64_t model, uint64_t element)
{
    return inputs_number(inputs_bits(1, model, element));
}

/* Runs of 512 elements differ in size by up to a million. */
static double uneven(uint64_t model, uint64_t element)
{
    return ldexp(plain(model, element), -(int)(mc_random_mix(element / 512) % 20));
}

/* Many equal magnitudes, zeros above all. */
static double coarse(uint64_t model, uint64_t element)
{
    const double x = plain(model, element);
    return fabs(x) < .3 ? 0 : nearbyint(x * 4) / 4;
}

static double constant(uint64_t model, uint64_t element)
{
    return (model + element) % 2 == 0 ? 1.5 : -1.5;
}

static double zero(uint64_t model, uint64_t element)
{
    return (model + element) % 2 == 0 ? 0. : -0.;
}

/* What the sample sees, every few leaves, is of another size than the rest. */
static double misleading_low(uint64_t model, uint64_t element)
{
    return element / MC_LEAF % 3 == 0 ? plain(model, element) * 0x1p-30 : plain(model, element);
}

static double misleading_high(uint64_t model, uint64_t element)
{
    return element / MC_LEAF % 3 == 0 ? plain(model, element) * 0x1p30 : plain(model, element);
}

/* All magnitudes in one narrow range: thousands of neighbouring floats. */
static double narrow(uint64_t model, uint64_t element)
{
    return 1 + plain(model, element) * 0x1p-6;
}

static double with_special(uint64_t model, uint64_t element)
{
    return inputs_sprinkle(inputs_bits(1, model, element), plain(model, element), SPECIAL);
}

static const struct {
    const char *name;
    maker make;
} inputs[] = {
    {"plain", plain},
    {"uneven", uneven},
    {"coarse", coarse},
    {"constant", constant},
    {"zero", zero},
    {"misleading low", misleading_low},
    {"misleading high", misleading_high},
    {"narrow", narrow},
    {"with infinities and NaN", with_special},
};

/* The numbers as float or double, since both types of the method are tested. */
typedef struct layer_data {
    void *models[MODELS];
    void *base, *out;
    double *magnitudes; /* sorted, NaN as infinity */
    bool is_double;
} layer_data;

static double value_at(const layer_data *data, const void *values, size_t i)
{
    return data->is_double ? ((const double *)values)[i] : (double)((const float *)values)[i];
}

static void set_at(const layer_data *data, void *values, size_t i, double x)
{
    if (data->is_double)
        ((double *)values)[i] = x;
    else
        ((float *)values)[i] = (float)x;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void set_up(layer_data *data, maker make, bool is_double)
{
    *data = (layer_data){.is_double = is_double};
    data->base = calloc(COUNT, sizeof(double)); /* of zeros: task vectors are the models */
    data->out = calloc(COUNT, sizeof(double));
    data->magnitudes = calloc(MODELS * (size_t)COUNT, sizeof(double));
    for (size_t m = 0; m < MODELS; m++) {
        data->models[m] = calloc(COUNT, sizeof(double));
        for (size_t i = 0; i < COUNT; i++) {
            set_at(data, data->models[m], i, make(m, i));
            const double size = fabs(value_at(data, data->models[m], i));
            data->magnitudes[m * COUNT + i] = isnan(size) ? (double)INFINITY : size;
        }
    }
    qsort(data->magnitudes, MODELS * (size_t)COUNT, sizeof(double), by_size);
}

static void tear_down(layer_data *data)
{
    for (size_t m = 0; m < MODELS; m++)
        free(data->models[m]);
    free(data->base);
    free(data->out);
    free(data->magnitudes);
}

static double threshold_of(const layer_data *data, double k)
{
    const double place = (MODELS * (double)COUNT - 1) * (1 - k);
    const size_t rank = (size_t)place;
    const double fraction = place - floor(place), low = data->magnitudes[rank];
    const double high = fraction > 0 ? data->magnitudes[rank + 1] : low;
    const double threshold = low == high ? low : low + (high - low) * fraction;
    return data->is_double ? threshold : (double)(float)threshold;
}

/* What ties makes of element i, when the base is zero. Sums in float are rounded as float. */
static double expected_at(const layer_data *data, double threshold, size_t i)
{
    double total = 0, agreed = 0, votes = 0;
    for (size_t m = 0; m < MODELS; m++) {
        const double x = value_at(data, data->models[m], i);
        total += fabs(x) < threshold ? 0 : x;
        total = data->is_double ? total : (double)(float)total;
    }
    for (size_t m = 0; m < MODELS; m++) {
        const double x = value_at(data, data->models[m], i);
        const bool agrees = !(fabs(x) < threshold) &&
                            ((x > 0 && total > 0) || (x < 0 && total < 0));
        agreed += agrees ? x : 0;
        agreed = data->is_double ? agreed : (double)(float)agreed;
        votes += agrees;
    }
    const double mean = agreed / (votes > 0 ? votes : 1);
    return isnan(total) ? total : data->is_double ? mean : (double)(float)mean;
}

static void check(const layer_data *data, const char *name, double k, int64_t tile)
{
    const int64_t shape[] = {COUNT};
    const mc_method *const ties = mc_method_variant(mc_method_find("mergecraft:ties"),
                                                    data->is_double);
    char settings[64];
    snprintf(settings, sizeof settings, "k=%.17g", k);
    mc_params *const params = run_params(ties, MODELS, settings);
    const mc_layer layer = {.name = name,
                            .rank = 1,
                            .shape = shape,
                            .size = COUNT,
                            .count = COUNT,
                            .out = data->out,
                            .models = (const mc_real *const *)data->models,
                            .model_count = MODELS,
                            .base = data->base,
                            .params = ties->params,
                            .values = params->values};
    const int rounds = run_method(ties, &layer, tile);
    mc_params_unref(params);
    const double threshold = threshold_of(data, k);
    for (size_t i = 0; i < COUNT; i++) {
        const double expected = expected_at(data, threshold, i);
        const double found = value_at(data, data->out, i);
        if (found != expected && !(isnan(found) && isnan(expected)))
            fail_msg("%s, k = %g, element %zu: expected %a, found %a", name, k, i, expected, found);
    }
    assert_in_range(rounds, 2, 8);
}

static void test_thresholds(void **state)
{
    static const double ks[] = {0, 1e-6, .1, .2, .5, .9, 1};
    const bool is_double = *(const bool *)*state;
    for (size_t n = 0; n < sizeof inputs / sizeof *inputs; n++) {
        layer_data data;
        set_up(&data, inputs[n].make, is_double);
        for (size_t k = 0; k < sizeof ks / sizeof *ks; k++)
            check(&data, inputs[n].name, ks[k], k % 2 == 0 ? 8 * MC_LEAF : 2 * MC_LEAF);
        tear_down(&data);
    }
}

/*
 * The sample sees only the larger of two neighbouring numbers, so that the bracket ends just above
 * the smaller.
 */
static double neighbours(uint64_t model, uint64_t element)
{
    const bool is_double = model >= MODELS;
    const double below = is_double ? nextafter(2, 0) : (double)nextafterf(2, 0);
    return element / MC_LEAF % 3 == 0 ? 2 : below;
}

static double double_neighbours(uint64_t model, uint64_t element)
{
    return neighbours(model + MODELS, element);
}

/* A threshold between the last key of the bracket and the first above it. */
static void test_bracket_ends(void **state)
{
    const bool is_double = *(const bool *)*state;
    layer_data data;
    set_up(&data, is_double ? double_neighbours : neighbours, is_double);
    size_t smaller = 0;
    while (data.magnitudes[smaller] < 2)
        smaller++;
    const double k = 1 - ((double)smaller - .5) / (MODELS * (double)COUNT - 1);
    check(&data, "neighbours", k, 8 * MC_LEAF);
    tear_down(&data);
}

int main(void)
{
    static bool is_float = false, is_double = true;
    const struct CMUnitTest tests[] = {
        {.name = "float", .test_func = test_thresholds, .initial_state = &is_float},
        {.name = "double", .test_func = test_thresholds, .initial_state = &is_double},
        {.name = "ends, float", .test_func = test_bracket_ends, .initial_state = &is_float},
        {.name = "ends, double", .test_func = test_bracket_ends, .initial_state = &is_double},
    };
    return cmocka_run_group_tests_name("ties", tests, NULL, NULL);
}
