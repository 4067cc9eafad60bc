/*
 * The list of methods, the checks of their parameters, and inputs at the edge of what a method is
 * defined for.
 */
#include "methods/inputs.h"
#include "methods/run.h"

#include "base/cpu.h"
#include "methods/variant.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/*
 * ---- the list ---------------------------------------------------------------------------------
 */

static void test_list(void **state)
{
    (void)state;
    for (size_t i = 0; i < mc_method_count(); i++) {
        const mc_method *const method = mc_method_at(i);
        assert_ptr_equal(mc_method_find(method->name), method);
        assert_int_equal(method->api, MC_METHOD_API);
        assert_non_null(method->help);
        assert_null(strchr(method->help, '\n'));
        if (i > 0)
            assert_true(strcmp(mc_method_at(i - 1)->name, method->name) < 0);
        for (size_t p = 0; method->params && method->params[p].name; p++)
            assert_non_null(method->params[p].help);
    }
    assert_ptr_equal(mc_method_find("mergecraft:ties"), mc_method_find("ties"));
    assert_null(mc_method_find("mergecraft:"));
    assert_null(mc_method_find("mergecraft"));
    assert_null(mc_method_find("other:ties"));
    assert_null(mc_method_find("tie"));
    assert_null(mc_method_find(""));
}

MC_LAYER_MERGE(own, .help = "not built in", .scope = MC_ELEMENTWISE)
{
    mc_tile_copy(layer->out, layer->models[0], layer->count);
}

static void test_variants(void **state)
{
    (void)state;
    for (size_t i = 0; i < mc_method_count(); i++) {
        const mc_method *const method = mc_method_at(i);
        for (int level = 0; level < MC_CPU_LEVELS && mc_cpu_force((mc_cpu_level)level); level++) {
            assert_int_equal(mc_method_variant(method, false)->real_size, sizeof(float));
            assert_int_equal(mc_method_variant(method, true)->real_size, sizeof(double));
            assert_string_equal(mc_method_variant(method, true)->name, method->name);
        }
    }
    assert_ptr_equal(mc_method_variant(&own, true), &own);
}

/*
 * ---- parameters that do not fit ---------------------------------------------------------------
 */

static mc_status check_numbers(const char *method, const double *numbers, size_t count,
                               mc_error *error)
{
    const mc_value values[] = {{.numbers = numbers, .count = count}, {.number = 1}};
    return mc_method_find(method)->check(values, count, error);
}

static void test_checks(void **state)
{
    mc_error error = MC_ERROR_NONE;
    (void)state;
    assert_int_equal(check_numbers("soup", (const double[]){1, -1}, 2, &error), MC_USAGE);
    assert_string_equal(error.text,
                        "the weights of 2 models add up to 0, by which they would be divided");
    assert_int_equal(check_numbers("soup", (const double[]){1e308, 1e308}, 2, &error), MC_USAGE);
    assert_string_equal(error.text,
                        "the weights of 2 models add up to inf, by which they would be divided");
    assert_int_equal(check_numbers("soup", (const double[]){1, -.5}, 2, NULL), MC_OK);
    assert_int_equal(check_numbers("soup", NULL, 0, NULL), MC_OK);
    assert_int_equal(check_numbers("task", (const double[]){1, .5}, 2, &error), MC_USAGE);
    assert_string_equal(error.text, "sign 2 is 0.5; expected 1 or -1");
    assert_int_equal(check_numbers("task", (const double[]){1, -1}, 2, NULL), MC_OK);
    assert_int_equal(check_numbers("task", NULL, 0, NULL), MC_OK);
}

/*
 * ---- inputs at the edge ------------------------------------------------------------------------
 */

enum { COUNT = 5, MODELS = 2 };

static const mc_value half[] = {{.number = .5}, {.number = 0}};

/* Merges two models of five elements, at the first level, into out. */
static void merge(const char *name, const mc_value *values, const float models[MODELS][COUNT],
                  const float base[COUNT], float out[COUNT])
{
    const mc_method *const method = mc_method_variant(mc_method_find(name), false);
    const float *const rows[] = {models[0], models[1]};
    const mc_layer layer = {.name = name,
                            .size = COUNT,
                            .count = COUNT,
                            .out = out,
                            .models = rows,
                            .model_count = MODELS,
                            .base = base,
                            .params = method->params,
                            .values = values,
                            .random_key = 1};
    run_method(method, &layer, MC_LEAF);
}

static void assert_row(const float *found, const float *expected)
{
    for (size_t i = 0; i < COUNT; i++)
        if (isnan(expected[i]) ? !isnan(found[i]) : found[i] != expected[i])
            fail_msg("element %zu: expected %g, found %g", i, (double)expected[i],
                     (double)found[i]);
}

static void test_slerp_of_zeros(void **state)
{
    const float zeros[MODELS][COUNT] = {{0}}, one[MODELS][COUNT] = {{2, 4, 0, -2, 6}, {0}};
    float out[COUNT];
    (void)state;
    merge("slerp", half, zeros, NULL, out);
    assert_row(out, (const float[]){0, 0, 0, 0, 0});
    merge("slerp", half, one, NULL, out);
    assert_row(out, (const float[]){1, 2, 0, -1, 3});
}

/* On a right angle and beyond, and for parallel models, the way is the line. */
static void test_slerp_along_the_line(void **state)
{
    const float across[MODELS][COUNT] = {{2, 0, 0, 0, 0}, {0, 4, 0, 0, 0}};
    const float against[MODELS][COUNT] = {{2, 4, 6, 8, 2}, {-4, -8, -12, -16, -4}};
    const float along[MODELS][COUNT] = {{2, 4, 6, 8, 2}, {4, 8, 12, 16, 4}};
    float out[COUNT];
    (void)state;
    merge("slerp", half, across, NULL, out);
    assert_row(out, (const float[]){1, 2, 0, 0, 0});
    merge("slerp", half, against, NULL, out);
    assert_row(out, (const float[]){-1, -2, -3, -4, -1});
    merge("slerp", half, along, NULL, out);
    assert_row(out, (const float[]){3, 6, 9, 12, 3});
}

/* A NaN has no cosine: the line, on which it stays where it is. */
static void test_slerp_of_nan(void **state)
{
    const float models[MODELS][COUNT] = {{1, NAN, 3, 4, 5}, {2, 2, 4, 4, 5}};
    float out[COUNT];
    (void)state;
    merge("slerp", half, models, NULL, out);
    assert_row(out, (const float[]){1.5f, NAN, 3.5f, 4, 5});
}

static void test_stock_of_zeros(void **state)
{
    const float zeros[MODELS][COUNT] = {{0}};
    const float models[MODELS][COUNT] = {{2, 4, 0, -2, 6}, {2, 4, 0, -2, 6}};
    const float base[COUNT] = {1, 2, 3, 4, 5}, none[COUNT] = {0};
    float out[COUNT];
    (void)state;
    merge("stock", NULL, zeros, none, out);
    assert_row(out, none);
    merge("stock", NULL, zeros, base, out);
    assert_row(out, base);
    merge("stock", NULL, models, none, out);
    assert_row(out, none);
    merge("stock", NULL, models, models[0], out);
    assert_row(out, models[0]);
}

/* One NaN decides over the whole layer: there is no cosine to share by. */
static void test_stock_of_nan(void **state)
{
    const float models[MODELS][COUNT] = {{1, NAN, 3, 4, 5}, {2, 2, 4, 4, 5}};
    const float base[COUNT] = {1, 2, 3, 4, 5};
    float out[COUNT];
    (void)state;
    merge("stock", NULL, models, base, out);
    assert_row(out, (const float[]){NAN, NAN, NAN, NAN, NAN});
}

/* With p = 1 nothing survives, not even NaN, and the base comes out to the sign of its zeros. */
static void test_dare_drops_all(void **state)
{
    const mc_value all[] = {{.number = 1}, {.number = 0}};
    const float models[MODELS][COUNT] = {{1, NAN, INFINITY, 4, 5}, {2, 2, 4, 4, 5}};
    const float base[COUNT] = {-0.f, 2, 3, 0, -5};
    float out[COUNT];
    (void)state;
    merge("dare", all, models, base, out);
    assert_memory_equal(out, base, sizeof base);
}

/* An element is dropped when its number is below p · 2^16, and survives when it is just that. */
static void test_dare_limit(void **state)
{
    const float models[MODELS][COUNT] = {{1, 1, 1, 1, 1}};
    const float base[COUNT] = {0};
    float out[COUNT];
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        uint16_t number = 0, survives;
        for (unsigned bit = 1u << 15; bit > 0; bit >>= 1) {
            mc_random_bernoulli(1, 0, (int64_t)i, 1, (uint16_t)(number | bit), &survives);
            number |= survives ? (uint16_t)bit : 0;
        }
        const mc_value kept[] = {{.number = number * 0x1p-16}, {.number = 1}};
        const mc_value dropped[] = {{.number = (number + 1.) * 0x1p-16}, {.number = 1}};
        merge("dare", kept, models, base, out);
        assert_true(out[i] > 0);
        merge("dare", dropped, models, base, out);
        assert_true(out[i] == 0);
    }
}

/* The share that survives is 1 − p, and what is dropped in one model says nothing about another. */
static void test_dare_share(void **state)
{
    enum { MANY = 1 << 16 };
    const double p = .3;
    const mc_value values[] = {{.number = p}, {.number = 1}};
    const mc_method *const dare = mc_method_variant(mc_method_find("dare"), false);
    float *const one = calloc(MANY, sizeof *one), *const two = calloc(MANY, sizeof *two);
    float *const base = calloc(MANY, sizeof *base), *const out = calloc(MANY, sizeof *out);
    const float *const rows[] = {one, two};
    double seen[4] = {0};
    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        one[i] = (float)(2 * (1 - p));
        two[i] = (float)(4 * (1 - p));
    }
    const mc_layer layer = {.size = MANY,
                            .count = MANY,
                            .out = out,
                            .models = rows,
                            .model_count = 2,
                            .base = base,
                            .params = dare->params,
                            .values = values,
                            .random_key = mc_random_key(3, "w")};
    run_method(dare, &layer, 8 * MC_LEAF);
    for (size_t i = 0; i < MANY; i++)
        seen[lrintf(out[i])]++; /* 0, 1, 2 or both: 3 */
    const double expected[] = {p * p, p * (1 - p), p * (1 - p), (1 - p) * (1 - p)};
    for (size_t n = 0; n < 4; n++)
        assert_true(fabs(seen[n] / MANY - expected[n]) <
                    4 * sqrt(expected[n] * (1 - expected[n]) / MANY));
    free(one);
    free(two);
    free(base);
    free(out);
}

static void test_ties_edges(void **state)
{
    const mc_value all[] = {{.number = 1}}, none[] = {{.number = 0}};
    const float models[MODELS][COUNT] = {{2, -1, 0, 4, 1}, {-1, -3, 0, 8, -1}};
    const float base[COUNT] = {0, 0, 7, 0, 0}, zeros[COUNT] = {0};
    float out[COUNT];
    (void)state;
    merge("ties", all, models, zeros, out);
    assert_row(out, (const float[]){2, -2, 0, 6, 0});
    merge("ties", none, models, base, out);
    assert_row(out, (const float[]){0, 0, 7, 8, 0});
}

/* Infinity is the largest magnitude and NaN stays where it is. */
static void test_ties_specials(void **state)
{
    const mc_value some[] = {{.number = .34}};
    const float models[MODELS][COUNT] = {{1, INFINITY, NAN, 2, 3}, {1, 1, 1, -INFINITY, 1}};
    const float base[COUNT] = {0};
    float out[COUNT];
    (void)state;
    merge("ties", some, models, base, out);
    assert_row(out, (const float[]){0, INFINITY, NAN, -INFINITY, 3});
}

static void test_max_magnitude_takes_the_first(void **state)
{
    const float models[MODELS][COUNT] = {{1, -2, 3, NAN, 0}, {-1, 2, -4, 1, -0.f}};
    const float base[COUNT] = {0};
    float out[COUNT];
    (void)state;
    merge("max_magnitude", NULL, models, base, out);
    assert_row(out, (const float[]){1, -2, -4, NAN, 0});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_checks),
        cmocka_unit_test(test_slerp_of_zeros),
        cmocka_unit_test(test_slerp_along_the_line),
        cmocka_unit_test(test_slerp_of_nan),
        cmocka_unit_test(test_stock_of_zeros),
        cmocka_unit_test(test_stock_of_nan),
        cmocka_unit_test(test_dare_drops_all),
        cmocka_unit_test(test_dare_limit),
        cmocka_unit_test(test_dare_share),
        cmocka_unit_test(test_ties_edges),
        cmocka_unit_test(test_ties_specials),
        cmocka_unit_test(test_max_magnitude_takes_the_first),
    };
    return cmocka_run_group_tests_name("methods", tests, NULL, NULL);
}
