/*
 * The trimmed mean of few and of many models (which are not sorted on the stack) against sorting.
 * Tolerance: the values are multiples of 1/32, so that sums are exact, and the quotient is rounded
 * once to float32.
 */
#include "methods/inputs.h"
#include "methods/run.h"

#include "base/cpu.h"
#include "methods/variant.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { COUNT = 300 };

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double expected_of(const float *const *models, size_t model_count, size_t i, double trim)
{
    double column[RUN_MODELS], sum = 0;
    const size_t dropped = (size_t)floor(trim * (double)model_count);
    for (size_t m = 0; m < model_count; m++)
        column[m] = models[m][i];
    for (size_t m = 0; m < model_count; m++)
        if (isnan(column[m]))
            return NAN;
    qsort(column, model_count, sizeof *column, by_value);
    for (size_t m = dropped; m < model_count - dropped; m++)
        sum += column[m];
    return sum / (double)(model_count - 2 * dropped);
}

static void check(const float *const *models, size_t model_count, double trim)
{
    const mc_method *const method = mc_method_find("trimmed_mean");
    double weights[RUN_MODELS];
    for (size_t m = 0; m < model_count; m++)
        weights[m] = 1;
    const mc_value values[] = {{.numbers = &trim, .count = 1},
                               {.numbers = weights, .count = model_count}};
    float out[COUNT];
    const mc_layer layer = {.size = COUNT,
                            .count = COUNT,
                            .out = out,
                            .models = models,
                            .model_count = model_count,
                            .params = method->params,
                            .values = values};
    for (int level = 0; level < MC_CPU_LEVELS && mc_cpu_force((mc_cpu_level)level); level++) {
        run_check(mc_method_variant(method, false)->apply(&layer));
        for (size_t i = 0; i < COUNT; i++) {
            const double expected = expected_of(models, model_count, i, trim);
            assert_true(isnan(expected) ? isnan(out[i]) : fabs(out[i] - expected) < 1e-7);
        }
    }
}

static void test_any_count(void **state)
{
    static const size_t counts[] = {1, 2, 3, 5, 127, 128, 129, 131, 200};
    static const double trims[] = {0, .2, .499};
    static float values[RUN_MODELS][COUNT];
    const float *models[RUN_MODELS];
    (void)state;
    uint32_t random = 1;
    for (size_t m = 0; m < RUN_MODELS; m++) {
        models[m] = values[m];
        for (size_t i = 0; i < COUNT; i++) {
            random = random * 1664525 + 1013904223;
            /* Few enough values that many are equal; a NaN now and then. */
            values[m][i] = i % 50 == 7 && m == 0 ? NAN : (float)(random >> 26) / 32 - 1;
        }
    }
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
        for (size_t t = 0; t < sizeof trims / sizeof *trims; t++)
            check(models, counts[c], trims[t]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_count)};
    return cmocka_run_group_tests_name("trimmed_mean", tests, NULL, NULL);
}
