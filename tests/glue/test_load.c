/* The bundled data set in all file formats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <mergecraft/glue.h>

#include <stdio.h>
#include <string.h>

#define BUNDLED MC_SOURCE_DIR "/examples/models/data"

static mc_glue_data *load(const char *path, const char *split)
{
    mc_glue_data *data = NULL;
    mc_error error = MC_ERROR_NONE;
    if (mc_glue_load(mc_glue_task_find("rte"), path, split, &data, &error) != MC_OK)
        fail_msg("%s: %s", error.file, error.text);
    return data;
}

static void assert_same(const mc_glue_data *a, const mc_glue_data *b)
{
    assert_int_equal(mc_glue_count(a), mc_glue_count(b));
    for (size_t i = 0; i < mc_glue_count(a); i++) {
        const mc_glue_example x = mc_glue_example_at(a, i), y = mc_glue_example_at(b, i);
        assert_int_equal(x.size, y.size);
        assert_memory_equal(x.text, y.text, x.size);
        assert_int_equal(x.pair_size, y.pair_size);
        assert_memory_equal(x.pair, y.pair, x.pair_size);
        assert_true(x.label == y.label && x.index == y.index);
    }
}

static void test_forms_are_the_same(void **state)
{
    (void)state;
    static const char *const splits[] = {"train", "validation"};
    static const size_t counts[] = {4000, 600};
    for (size_t i = 0; i < 2; i++) {
        char parquet[4096], tsv[4096];
        snprintf(parquet, sizeof parquet, "%s/%s.parquet", BUNDLED, splits[i]);
        snprintf(tsv, sizeof tsv, "%s/%s.tsv", BUNDLED, splits[i]);
        mc_glue_data *const a = load(parquet, NULL), *const b = load(tsv, NULL);
        mc_glue_data *const c = load(BUNDLED, splits[i]);
        assert_int_equal(mc_glue_count(a), counts[i]);
        assert_true(mc_glue_labelled(a));
        assert_same(a, b);
        assert_same(a, c);
        assert_string_equal(mc_glue_path(c), parquet);
        mc_glue_data_free(a);
        mc_glue_data_free(b);
        mc_glue_data_free(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms_are_the_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
