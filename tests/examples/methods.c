/* The example methods, included as their users have them, on numbers that can be checked by eye. */
#include "../../examples/hessians.c"
#include "../../examples/low_rank.c"
#include "../../examples/median.c"

#include <mergecraft/mergecraft.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { COUNT = 3 };

static mc_state_dict *shaped_dict(int rank, const int64_t *shape, const float *values)
{
    mc_source *source = NULL;
    mc_state_dict *dict = NULL;
    assert_int_equal(mc_source_wrap(MC_F32, rank, shape, values, NULL, NULL, &source, NULL), MC_OK);
    assert_int_equal(mc_state_dict_new(&dict, NULL), MC_OK);
    assert_int_equal(mc_state_dict_set(dict, "weight", source, NULL), MC_OK);
    mc_source_unref(source);
    return dict;
}

static mc_state_dict *dict_of(const float *values)
{
    return shaped_dict(1, (const int64_t[]){COUNT}, values);
}

static void expect(const mc_method *method, const mc_merge_input *input, const float *expected)
{
    mc_state_dict *merged = NULL;
    float found[COUNT];
    assert_int_equal(mc_dict_map(method, input, &merged, NULL, NULL), MC_OK);
    assert_int_equal(
        mc_source_read_f32(mc_state_dict_find(merged, "weight"), 0, COUNT, found, NULL), MC_OK);
    for (size_t i = 0; i < COUNT; i++)
        assert_float_equal(found[i], expected[i], 0);
    mc_state_dict_free(merged);
}

static void test_hessians(void **state)
{
    (void)state;
    const float models[2][COUNT] = {{1, 2, 3}, {5, 6, 8}};
    const float weights[2][COUNT] = {{3, 0, 0}, {1, 1, 0}};
    mc_state_dict *const dicts[] = {dict_of(models[0]), dict_of(models[1])};
    mc_state_dict *const further[] = {dict_of(weights[0]), dict_of(weights[1])};
    const mc_side_dicts side = {
        .name = "hessians", .items = (const mc_state_dict *const *)further, .count = 2};
    mc_merge_input input = {.models = (const mc_state_dict *const *)dicts,
                            .model_count = 2,
                            .sides = &side,
                            .side_count = 1};
    expect(&hessians, &input, (const float[]){2, 6, 5.5f});
    mc_state_dict *merged = NULL;
    input.side_count = 0;
    assert_int_equal(mc_dict_map(&hessians, &input, &merged, NULL, NULL), MC_USAGE);
    for (size_t i = 0; i < 2; i++) {
        mc_state_dict_free(dicts[i]);
        mc_state_dict_free(further[i]);
    }
}

static void test_median(void **state)
{
    (void)state;
    const float models[3][COUNT] = {{1, 2, 9}, {5, 6, 8}, {4, 7, 1}};
    mc_state_dict *const dicts[] = {dict_of(models[0]), dict_of(models[1]), dict_of(models[2])};
    const mc_merge_input input = {.models = (const mc_state_dict *const *)dicts, .model_count = 3};
    expect(&median, &input, (const float[]){4, 6, 8});
    for (size_t i = 0; i < 3; i++)
        mc_state_dict_free(dicts[i]);
}

enum { ROWS = 3, COLUMNS = 4 };

/* Merges two models by low_rank with "k=RANK"; turned: the matrices are higher than wide. */
static mc_status merge_low_rank(bool turned, const char *k, const float *models[2],
                                const float *base, float *found, mc_error *error)
{
    const int64_t shape[] = {turned ? COLUMNS : ROWS, turned ? ROWS : COLUMNS};
    mc_state_dict *const dicts[] = {shaped_dict(2, shape, models[0]),
                                    shaped_dict(2, shape, models[1]), shaped_dict(2, shape, base)};
    const mc_merge_input input = {.models = (const mc_state_dict *const *)dicts,
                                  .model_count = 2,
                                  .base = dicts[2],
                                  .params = &k,
                                  .param_count = 1};
    mc_state_dict *merged = NULL;
    mc_status status = mc_dict_map(&low_rank, &input, &merged, NULL, error);
    if (status == MC_OK)
        status = mc_source_read_f32(mc_state_dict_find(merged, "weight"), 0, ROWS * COLUMNS, found,
                                    error);
    mc_state_dict_free(merged);
    for (size_t i = 0; i < 3; i++)
        mc_state_dict_free(dicts[i]);
    return status;
}

/* The mean task vector is 3 · u vᵀ + 1 · x yᵀ, of orthogonal unit vectors that are exact. */
static void fill_low_rank(bool turned, float *base, float *first, float *second, float *cut)
{
    static const float u[ROWS] = {.6f, .8f, 0}, x[ROWS] = {0, 0, 1};
    static const float v[COLUMNS] = {.5f, .5f, .5f, .5f}, y[COLUMNS] = {.5f, -.5f, .5f, -.5f};
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < COLUMNS; j++) {
            const size_t at = turned ? j * ROWS + i : i * COLUMNS + j;
            base[at] = (float)at;
            cut[at] = base[at] + 3 * u[i] * v[j];
            first[at] = base[at] + 6 * u[i] * v[j];
            second[at] = base[at] + 2 * x[i] * y[j];
        }
}

static void test_low_rank(void **state)
{
    (void)state;
    float base[ROWS * COLUMNS], first[ROWS * COLUMNS], second[ROWS * COLUMNS];
    float cut[ROWS * COLUMNS], found[ROWS * COLUMNS];
    const float *models[] = {first, second};
    mc_error error = MC_ERROR_NONE;
    for (int turned = 0; turned < 2; turned++) {
        fill_low_rank(turned, base, first, second, cut);
        assert_int_equal(merge_low_rank(turned, "k=1", models, base, found, &error), MC_OK);
        for (size_t i = 0; i < ROWS * COLUMNS; i++)
            assert_float_equal(found[i], cut[i], 1e-5);
        assert_int_equal(merge_low_rank(turned, "k=9", models, base, found, &error), MC_OK);
        for (size_t i = 0; i < ROWS * COLUMNS; i++)
            assert_float_equal(found[i], (first[i] + second[i]) / 2, 1e-5);
    }
    second[5] = INFINITY;
    assert_int_equal(merge_low_rank(true, "k=1", models, base, found, &error), MC_UNSUPPORTED);
    assert_non_null(strstr(error.text, "expected finite task vectors"));
    assert_string_equal(error.tensor, "weight");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hessians),
                                       cmocka_unit_test(test_median),
                                       cmocka_unit_test(test_low_rank)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
