/*
 * The median of any number of models against sorting: all patterns of a few values, zeros of both
 * signs and NaN among them.
 */
#include "methods/inputs.h"
#include "methods/run.h"

#include "base/cpu.h"
#include "methods/variant.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    const int order = (x > y) - (x < y);
    return order != 0 ? order : !!signbit(y) - !!signbit(x);
}

static float expected_of(float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (isnan(values[i]))
            return NAN;
    qsort(values, count, sizeof *values, by_value);
    return values[(count - 1) / 2];
}

/* Models are rows of `values`, `count` elements each. */
static void check(float *values, size_t model_count, size_t count)
{
    const float *models[RUN_MODELS];
    float *const out = calloc(count + 1, sizeof *out);
    for (size_t m = 0; m < model_count; m++)
        models[m] = values + m * count;
    const mc_layer layer = {.size = (int64_t)count,
                            .count = count,
                            .out = out,
                            .models = models,
                            .model_count = model_count};
    for (int level = 0; level < MC_CPU_LEVELS && mc_cpu_force((mc_cpu_level)level); level++) {
        out[count] = 7;
        run_check(mc_method_variant(mc_method_find("median"), false)->apply(&layer));
        for (size_t i = 0; i < count; i++) {
            float column[RUN_MODELS];
            for (size_t m = 0; m < model_count; m++)
                column[m] = models[m][i];
            const float expected = expected_of(column, model_count);
            assert_true(isnan(expected) ? isnan(out[i])
                                        : memcmp(&out[i], &expected, sizeof expected) == 0);
        }
        assert_true(out[count] == 7);
    }
    free(out);
}

/* Every way to choose the models' values among a few. */
static void check_patterns(const float *choices, size_t choice_count, size_t model_count)
{
    size_t count = 1;
    for (size_t m = 0; m < model_count; m++)
        count *= choice_count;
    float *const values = malloc(count * model_count * sizeof *values);
    for (size_t i = 0; i < count; i++) {
        size_t rest = i;
        for (size_t m = 0; m < model_count; m++, rest /= choice_count)
            values[m * count + i] = choices[rest % choice_count];
    }
    check(values, model_count, count);
    free(values);
}

/* A network that selects from all sequences of 0 and 1 selects from all sequences. */
static void test_zeros_and_ones(void **state)
{
    static const float choices[] = {1, 2};
    (void)state;
    for (size_t models = 1; models <= 12; models++)
        check_patterns(choices, 2, models);
}

static void test_all_kinds(void **state)
{
    static const float choices[] = {-INFINITY, -1, -0.f, 0, 1, NAN};
    (void)state;
    for (size_t models = 1; models <= 6; models++)
        check_patterns(choices, 6, models);
}

static void test_many_models(void **state)
{
    static const size_t counts[] = {7, 8, 9, 10, 15, 16, 17, 31, 33, 64, 65, 127, 128, 129, 200};
    static const size_t lengths[] = {1, 63, 64, 65, 600};
    (void)state;
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            float *const values = malloc(counts[c] * lengths[l] * sizeof *values);
            for (size_t i = 0; i < counts[c] * lengths[l]; i++)
                values[i] = (float)inputs_value(c, l, i, i % 97 == 0 ? SPECIAL : ZEROS);
            check(values, counts[c], lengths[l]);
            free(values);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zeros_and_ones),
        cmocka_unit_test(test_all_kinds),
        cmocka_unit_test(test_many_models),
    };
    return cmocka_run_group_tests_name("median", tests, NULL, NULL);
}
