/* The space of a search, and the points of Sobol's sequence against scipy's. */
#include "search/space.h"
#include "search/sobol.h"

#include "base/memory.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static void sobol_is_that_of_scipy(void **state)
{
    (void)state;
    FILE *const file = fopen(MC_TEST_DATA "/search/sobol.txt", "r");
    assert_non_null(file);
    for (uint32_t i = 0; i < 64; i++) {
        double point[MC_SOBOL_DIMENSIONS];
        mc_sobol_point(MC_SOBOL_PLAIN, i, point, MC_SOBOL_DIMENSIONS);
        for (size_t d = 0; d < MC_SOBOL_DIMENSIONS; d++) {
            int expected = -1;
            assert_int_equal(fscanf(file, "%d", &expected), 1);
            assert_true(point[d] * 1024 == expected);
        }
    }
    fclose(file);
}

/* 64 shifted points still have one in each of 64 intervals, in every dimension. */
static void a_seed_keeps_points_even(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 5; seed++)
        for (size_t d = 0; d < MC_SOBOL_DIMENSIONS; d++) {
            bool seen[64] = {false};
            for (uint32_t i = 0; i < 64; i++) {
                double point[MC_SOBOL_DIMENSIONS + 3];
                mc_sobol_point(seed, i, point, MC_SOBOL_DIMENSIONS + 3);
                const size_t interval = (size_t)(point[d] * 64);
                assert_true(interval < 64 && !seen[interval]);
                seen[interval] = true;
                assert_true(point[MC_SOBOL_DIMENSIONS + 2] >= 0 &&
                            point[MC_SOBOL_DIMENSIONS + 2] < 1);
            }
        }
}

static void values_are_within_their_ranges(void **state)
{
    (void)state;
    mc_error error = MC_ERROR_NONE;
    mc_space space = {0};
    const mc_space_counts of = {3, 2};
    const char *const text = " k = .05:.5 , rate=1e-4:1e-1:log:4,\nn=1:8:int, sign=sum|count";
    assert_int_equal(mc_space_add(&space, text, of, &error), MC_OK);
    assert_int_equal(mc_space_add(&space, "w[*]=0:.3333333333, models=subset,", of, &error), MC_OK);
    assert_int_equal(space.count, 4 + 3 + 3);
    assert_string_equal(space.dimensions[5].name, "w[2]");
    assert_int_equal(space.dimensions[9].switches, 3);
    const double ends[][2] = {{.05, .5}, {1e-4, 1e-1}, {1, 8}, {0, 1}, {0, .3333333333}};
    for (size_t i = 0; i < 5; i++)
        for (int end = 0; end < 2; end++)
            assert_true(mc_dimension_value(&space.dimensions[i], end) == ends[i][end]);
    assert_true(mc_dimension_value(&space.dimensions[1], 1. / 3) == 1e-3);
    assert_int_equal(space.dimensions[1].levels, 4);
    assert_int_equal(space.dimensions[2].levels, 5);
    /* Every whole number has a share of one eighth. */
    size_t counts[9] = {0};
    for (int i = 0; i < 800; i++)
        counts[(size_t)mc_dimension_value(&space.dimensions[2], (i + .5) / 800)]++;
    for (size_t i = 1; i <= 8; i++)
        assert_int_equal(counts[i], 100);
    /* What is written is read as the same. */
    for (int i = 0; i <= 100; i++) {
        const double value = mc_dimension_value(&space.dimensions[4], i / 100.);
        char *const shown = mc_dimension_text(&space.dimensions[4], value);
        assert_true(strtod(shown, NULL) == value);
        mc_free(shown);
    }
    mc_space_free(&space);
}

/* Stars stand for models and blocks; a pattern of names keeps its own. */
static void stars_are_replaced(void **state)
{
    (void)state;
    mc_error error = MC_ERROR_NONE;
    mc_space space = {0};
    static const char *const names[] = {"w[1]@0",   "w[1]@1",      "w[2]@0",          "w[2]@1",
                                        "w[3]@0",   "w[3]@1",      "w[1]@mlp",        "w[2]@mlp",
                                        "w[3]@mlp", "k@*.query.*", "k@0-1/attention", "k@*.[01].*"};
    const char *const text = "w[*]@*=0:1, w[*]@mlp=0:1, k@*.query.*=0:1, k@0-1/attention=0:1, "
                             "k@*.[01].*=.1|.2";
    assert_int_equal(mc_space_add(&space, text, (mc_space_counts){3, 2}, &error), MC_OK);
    assert_int_equal(space.count, sizeof names / sizeof *names);
    for (size_t i = 0; i < space.count; i++)
        assert_string_equal(space.dimensions[i].name, names[i]);
    mc_space_free(&space);
    assert_int_equal(mc_space_add(&space, "k@*=0:1", (mc_space_counts){3, 0}, &error), MC_USAGE);
    assert_non_null(strstr(error.text, "expected models with blocks"));
    mc_space_free(&space);
    assert_int_equal(mc_space_add(&space, "k@*=0:1", (mc_space_counts){0}, &error), MC_USAGE);
    assert_non_null(strstr(error.text, "in a recipe"));
    mc_space_free(&space);
}

static void malformed_spaces_are_rejected(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "k",           "=1:2",       "k=",         "k=1:",     "k=:1",
        "k=2:1",       "k=1:1",      "k=nan:1",    "k=1:inf",  "k=0:1:0",
        "k=0:1:lag",   "k=0:1:log",  "k=.5:2:int", "k=a||b",   "k=a|a",
        "k=1:2,k=3:4", "models=all", "k=0:1:1e9",  "w[*]=1:0", "models=subset,models=subset"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        mc_error error = MC_ERROR_NONE;
        mc_space space = {0};
        assert_int_equal(mc_space_add(&space, texts[i], (mc_space_counts){2, 0}, &error), MC_USAGE);
        assert_true(error.text[0]);
        mc_space_free(&space);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sobol_is_that_of_scipy),
        cmocka_unit_test(a_seed_keeps_points_even),
        cmocka_unit_test(values_are_within_their_ranges),
        cmocka_unit_test(stars_are_replaced),
        cmocka_unit_test(malformed_spaces_are_rejected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
