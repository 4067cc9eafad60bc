/* The example methods, included as their users have them, on numbers that can be checked by eye. */
#include "../../examples/hessians.c"
#include "../../examples/median.c"

#include <mergecraft/mergecraft.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { COUNT = 3 };

static mc_state_dict *dict_of(const float *values)
{
    static const int64_t shape[] = {COUNT};
    mc_source *source = NULL;
    mc_state_dict *dict = NULL;
    assert_int_equal(mc_source_wrap(MC_F32, 1, shape, values, NULL, NULL, &source, NULL), MC_OK);
    assert_int_equal(mc_state_dict_new(&dict, NULL), MC_OK);
    assert_int_equal(mc_state_dict_set(dict, "weight", source, NULL), MC_OK);
    mc_source_unref(source);
    return dict;
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hessians),
                                       cmocka_unit_test(test_median)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
