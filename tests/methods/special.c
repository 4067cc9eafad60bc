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
        char name[128];
        snprintf(name, sizeof name, "%s:%s", method->family, method->name);
        assert_ptr_equal(mc_method_find(name), method);
        assert_int_equal(method->api, MC_METHOD_API);
        assert_non_null(method->help);
        assert_null(strchr(method->help, '\n'));
        /* In the order of family and name. */
        const mc_method *const before = i > 0 ? mc_method_at(i - 1) : NULL;
        const int families = before ? strcmp(before->family, method->family) : -1;
        assert_true(families < 0 || (families == 0 && strcmp(before->name, method->name) < 0));
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

/* One NaN would be in every singular vector: an error, not a matrix of NaN. */
static void test_nan_in_matrix(void **state)
{
    static const char *const names[] = {"iso_c", "iso_cts", "tsvm",  "cart",
                                        "wudi",  "knots",   "boost", "svc"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const mc_method *const method = mc_method_variant(mc_method_find(names[i]), false);
        const int64_t shape[2] = {2, 2};
        const float base[4] = {0}, model[4] = {1, (float)NAN, 2, 3};
        const float *const models[] = {model};
        float out[4];
        mc_error error = MC_ERROR_NONE;
        mc_params *const params = run_params(method, 1, "");
        mc_layer layer = {.name = "layer",
                          .rank = 2,
                          .shape = shape,
                          .size = 4,
                          .count = 4,
                          .matrix = true,
                          .out = (mc_real *)out,
                          .model_count = 1,
                          .models = (const mc_real *const *)models,
                          .base = (const mc_real *)base,
                          .merged = (const mc_real *)model,
                          .params = method->params,
                          .values = params->values,
                          .error = &error};
        layer.scratch = malloc(method->scratch_bytes(&layer));
        assert_int_equal(method->apply(&layer), MC_FORMAT);
        assert_non_null(strstr(error.text, "found NaN or infinity"));
        free(layer.scratch);
        mc_params_unref(params);
    }
}

MC_LAYER_MERGE(own, .help = "not built in", .scope = MC_ELEMENTWISE)
{
    mc_tile_copy(layer->out, layer->models[0], layer->count);
    return MC_OK;
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

/* The error text of parameters for two models; "" if they are accepted. */
static const char *refusal(const char *method, const char *setting)
{
    static mc_error error;
    mc_params *params = NULL;
    error = (mc_error)MC_ERROR_NONE;
    mc_params_parse(mc_method_find(method), &setting, 1, 2, &params, &error);
    mc_params_unref(params);
    return error.text;
}

static void test_checks(void **state)
{
    static const char zero[] = "weights: expected a finite sum other than 0, found 0 for 2 models";
    (void)state;
    assert_string_equal(refusal("soup", "weights=1,-1"), zero);
    assert_string_equal(refusal("soup", "weights=1e308"),
                        "weights: expected a finite sum other than 0, found inf for 2 models");
    assert_string_equal(refusal("soup", "weights=1,-.5"), "");
    assert_string_equal(refusal("task", "signs=1,.5"),
                        "signs: expected 1 or -1 for model 2, found 0.5");
    assert_string_equal(refusal("task", "signs=1,-1"), "");
    assert_string_equal(refusal("task", "signs=-1"), "");
    assert_string_equal(refusal("task", "weights=1,-1"), zero);
    assert_string_equal(refusal("ties", "weights=0"), zero);
    assert_string_equal(refusal("ties", "weights=1,-.5"),
                        "weights: expected no negative weight, found -0.5");
    assert_string_equal(refusal("dare", "weights=-1,2"),
                        "weights: expected no negative weight, found -1");
    assert_string_equal(refusal("trimmed_mean", "trim=.5"),
                        "trim: expected less than 0.5, found 0.5: nothing is left");
}

/* A share that trims nothing is noted; 0 is what the user asked for. */
static void test_notes(void **state)
{
    const mc_method *const method = mc_method_find("trimmed_mean");
    (void)state;
    for (size_t models = 1; models < 8; models++) {
        mc_params *const standard = run_params(method, models, "");
        mc_params *const none = run_params(method, models, "trim=0");
        assert_int_equal(mc_params_note(standard) != NULL, models < 5);
        assert_null(mc_params_note(none));
        mc_params_unref(standard);
        mc_params_unref(none);
    }
}

/*
 * ---- inputs at the edge ------------------------------------------------------------------------
 */

enum { COUNT = 5, MODELS = 2 };

/* Merges two models of five elements, at the first level, into out. */
static void merge(const char *name, const char *settings, const float models[MODELS][COUNT],
                  const float base[COUNT], float out[COUNT])
{
    const mc_method *const method = mc_method_variant(mc_method_find(name), false);
    const float *const rows[] = {models[0], models[1]};
    mc_params *const params = run_params(mc_method_find(name), MODELS, settings);
    const mc_layer layer = {.name = name,
                            .size = COUNT,
                            .count = COUNT,
                            .out = out,
                            .models = rows,
                            .model_count = MODELS,
                            .base = base,
                            .params = method->params,
                            .values = params->values,
                            .random_key = 1};
    run_method(method, &layer, MC_LEAF);
    mc_params_unref(params);
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
    merge("slerp", "", zeros, NULL, out);
    assert_row(out, (const float[]){0, 0, 0, 0, 0});
    merge("slerp", "", one, NULL, out);
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
    merge("slerp", "", across, NULL, out);
    assert_row(out, (const float[]){1, 2, 0, 0, 0});
    merge("slerp", "", against, NULL, out);
    assert_row(out, (const float[]){-1, -2, -3, -4, -1});
    merge("slerp", "", along, NULL, out);
    assert_row(out, (const float[]){3, 6, 9, 12, 3});
}

/* A NaN has no cosine: the line, on which it stays where it is. */
static void test_slerp_of_nan(void **state)
{
    const float models[MODELS][COUNT] = {{1, NAN, 3, 4, 5}, {2, 2, 4, 4, 5}};
    float out[COUNT];
    (void)state;
    merge("slerp", "", models, NULL, out);
    assert_row(out, (const float[]){1.5f, NAN, 3.5f, 4, 5});
}

static void test_stock_of_zeros(void **state)
{
    const float zeros[MODELS][COUNT] = {{0}};
    const float models[MODELS][COUNT] = {{2, 4, 0, -2, 6}, {2, 4, 0, -2, 6}};
    const float base[COUNT] = {1, 2, 3, 4, 5}, none[COUNT] = {0};
    float out[COUNT];
    (void)state;
    merge("stock", "", zeros, none, out);
    assert_row(out, none);
    merge("stock", "", zeros, base, out);
    assert_row(out, base);
    merge("stock", "", models, none, out);
    assert_row(out, none);
    merge("stock", "", models, models[0], out);
    assert_row(out, models[0]);
}

/* One NaN decides over the whole layer: there is no cosine to share by. */
static void test_stock_of_nan(void **state)
{
    const float models[MODELS][COUNT] = {{1, NAN, 3, 4, 5}, {2, 2, 4, 4, 5}};
    const float base[COUNT] = {1, 2, 3, 4, 5};
    float out[COUNT];
    (void)state;
    merge("stock", "", models, base, out);
    assert_row(out, (const float[]){NAN, NAN, NAN, NAN, NAN});
}

/* With p = 1 nothing survives, not even NaN, and the base comes out to the sign of its zeros. */
static void test_dare_drops_all(void **state)
{
    const float models[MODELS][COUNT] = {{1, NAN, INFINITY, 4, 5}, {2, 2, 4, 4, 5}};
    const float base[COUNT] = {-0.f, 2, 3, 0, -5};
    float out[COUNT];
    (void)state;
    merge("dare", "p=1", models, base, out);
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
        char kept[64], dropped[64];
        snprintf(kept, sizeof kept, "p=%.17g average=models", number * 0x1p-16);
        snprintf(dropped, sizeof dropped, "p=%.17g average=models", (number + 1.) * 0x1p-16);
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
    const mc_method *const dare = mc_method_variant(mc_method_find("dare"), false);
    mc_params *const params = run_params(mc_method_find("dare"), 2, "p=0.3 average=models");
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
                            .values = params->values,
                            .random_key = mc_random_key(3, "w")};
    run_method(dare, &layer, 8 * MC_LEAF);
    mc_params_unref(params);
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
    const float models[MODELS][COUNT] = {{2, -1, 0, 4, 1}, {-1, -3, 0, 8, -1}};
    const float base[COUNT] = {0, 0, 7, 0, 0}, zeros[COUNT] = {0};
    float out[COUNT];
    (void)state;
    merge("ties", "k=1", models, zeros, out);
    assert_row(out, (const float[]){2, -2, 0, 6, 0});
    merge("ties", "k=0", models, base, out);
    assert_row(out, (const float[]){0, 0, 7, 8, 0});
}

/* Infinity is the largest magnitude and NaN stays where it is. */
static void test_ties_specials(void **state)
{
    const float models[MODELS][COUNT] = {{1, INFINITY, NAN, 2, 3}, {1, 1, 1, -INFINITY, 1}};
    const float base[COUNT] = {0};
    float out[COUNT];
    (void)state;
    merge("ties", "k=.34", models, base, out);
    assert_row(out, (const float[]){0, INFINITY, NAN, -INFINITY, 3});
}

/* base = 0, so that task vectors are the models: .25 · first + .75 · second, and its kind. */
static void test_weights(void **state)
{
    const float models[MODELS][COUNT] = {{4, -4, 0, 8, 1}, {8, 4, 2, -8, NAN}};
    const float base[COUNT] = {0};
    float out[COUNT];
    (void)state;
    merge("soup", "weights=1,3", models, NULL, out);
    assert_row(out, (const float[]){7, 2, 1.5f, -4, NAN});
    merge("task", "weights=1,3", models, base, out);
    assert_row(out, (const float[]){7, 2, 1.5f, -4, NAN});
    merge("task", "weights=.5 scaling=sum", models, base, out);
    assert_row(out, (const float[]){6, 0, 1, 0, NAN});
    merge("task", "scaling=sum signs=1,-1 scale=2", models, base, out);
    assert_row(out, (const float[]){-8, -16, -4, 32, NAN});
    merge("ties", "k=1 weights=1,3", models, base, out);
    assert_row(out, (const float[]){7, 4, 2, -8, NAN});
    merge("ties", "k=1 weights=3,1", models, base, out);
    assert_row(out, (const float[]){5, -4, 2, 8, NAN});
    merge("dare", "p=0 weights=1,3", models, base, out);
    assert_row(out, (const float[]){7, 2, 1.5f, -4, NAN});
    merge("dare", "p=0 weights=1,3 average=models", models, base, out);
    assert_row(out, (const float[]){7, 2, 1.5f, -4, NAN});
}

static void test_max_magnitude_takes_the_first(void **state)
{
    const float models[MODELS][COUNT] = {{1, -2, 3, NAN, 0}, {-1, 2, -4, 1, -0.f}};
    const float base[COUNT] = {0};
    float out[COUNT];
    (void)state;
    merge("max_magnitude", "", models, base, out);
    assert_row(out, (const float[]){1, -2, -4, NAN, 0});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_nan_in_matrix),
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_checks),
        cmocka_unit_test(test_notes),
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
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_max_magnitude_takes_the_first),
    };
    return cmocka_run_group_tests_name("methods", tests, NULL, NULL);
}
