/* Own data sets: columns by name, labels of a model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"

#include <mergecraft/glue.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NAMES(...) ((const char *const[]){__VA_ARGS__})

static char path[64];

static void write_file(const char *suffix, const char *text)
{
    snprintf(path, sizeof path, "/tmp/mergecraft-own-%ld.%s", (long)getpid(), suffix);
    FILE *const file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static mc_glue_task *make(const char *pair, const char *label, const char *const *labels,
                          size_t count)
{
    mc_glue_task *task = NULL;
    const mc_glue_columns columns = {.text = "a", .pair = pair, .label = label};
    assert_int_equal(mc_glue_task_new("mine", &columns, labels, count, &task, NULL), MC_OK);
    return task;
}

static mc_glue_data *load(const mc_glue_task *task, const char *suffix, const char *text)
{
    mc_glue_data *data = NULL;
    mc_error error = MC_ERROR_NONE;
    write_file(suffix, text);
    if (mc_glue_load(task, path, NULL, &data, &error) != MC_OK)
        fail_msg("%s", error.text);
    unlink(path);
    return data;
}

static void refuse(const mc_glue_task *task, const char *suffix, const char *text,
                   const char *expected)
{
    mc_glue_data *data = NULL;
    mc_error error = MC_ERROR_NONE;
    write_file(suffix, text);
    assert_int_equal(mc_glue_load(task, path, NULL, &data, &error), MC_FORMAT);
    if (!strstr(error.text, expected))
        fail_msg("expected '%s', found '%s'", expected, error.text);
    unlink(path);
}

/* Labels of the examples; NAN stands for none. */
static void expect_labels(const mc_glue_task *task, const char *suffix, const char *text,
                          size_t count, const double *expected)
{
    mc_glue_data *const data = load(task, suffix, text);
    size_t none = 0;
    assert_int_equal(mc_glue_count(data), count);
    for (size_t i = 0; i < count; i++) {
        const double label = mc_glue_example_at(data, i).label;
        none += isnan(label) != 0;
        if (isnan(expected[i]) ? !isnan(label) : label != expected[i])
            fail_msg("%s, example %zu: expected %g, found %g", text, i, expected[i], label);
    }
    assert_int_equal(mc_glue_unlabelled(data), none);
    mc_glue_data_free(data);
}

static void test_formats(void **state)
{
    static const char *const files[][2] = {
        {"csv", "\xef\xbb\xbfid,y,a,B\n7,pos,\"one, two\",second\n8,neg,x,y\n"},
        {"tsv", "\xef\xbb\xbf"
                "B\ta\ty\nsecond\tone, two\tpos\ny\tx\tneg\n"},
        {"jsonl", "\xef\xbb\xbf{\"y\": \"pos\", \"a\": \"one, two\", \"B\": \"second\"}\n"
                  "{\"a\": \"x\", \"B\": \"y\", \"y\": 0}\n"},
    };
    (void)state;
    mc_glue_task *const task = make("B", "y", NAMES("neg", "pos"), 2);
    assert_true(task->own && task->label_count == 2 && strcmp(task->name, "mine") == 0);
    assert_string_equal(task->metrics[0], "accuracy");
    assert_string_equal(task->metrics[1], "f1");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        mc_glue_data *const data = load(task, files[i][0], files[i][1]);
        const mc_glue_example one = mc_glue_example_at(data, 0);
        assert_int_equal(mc_glue_count(data), 2);
        assert_memory_equal(one.text, "one, two", one.size);
        assert_memory_equal(one.pair, "second", one.pair_size);
        assert_true(one.label == 1 && mc_glue_example_at(data, 1).label == 0);
        assert_true(one.index == 0);
        mc_glue_data_free(data);
    }
    mc_glue_task_free(task);
}

static void test_class_labels(void **state)
{
    (void)state;
    mc_glue_task *task = make(NULL, "y", NAMES("Not ok", "ok", "-1"), 3);
    expect_labels(task, "csv", "a,y\nx,ok\nx,not_OK\nx,1\nx,0\nx,\nx,-1\n", 6,
                  (const double[]){1, 0, 1, 0, NAN, 2});
    expect_labels(task, "jsonl",
                  "{\"a\":\"x\",\"y\":null}\n{\"a\":\"x\",\"y\":true}\n{\"a\":\"x\",\"y\":2.0}\n",
                  3, (const double[]){NAN, 1, 2});
    refuse(task, "csv", "a,y\nx,maybe\n",
           "line 2: column 'y': expected 'Not ok', 'ok', '-1', or 0 to 2, found maybe");
    refuse(task, "csv", "a,y\nx,3\n", "found 3");
    refuse(task, "jsonl", "{\"a\":\"x\",\"y\":0.5}\n", "found 0.5");
    mc_glue_task_free(task);
    /* Without an alias: "pos" is not a label here. */
    task = make(NULL, "y", NAMES("negative", "positive"), 2);
    refuse(task, "csv", "a,y\nx,pos\n", "found pos");
    expect_labels(task, "csv", "a,y\nx,-1\n", 1, (const double[]){NAN});
    mc_glue_task_free(task);
}

/* Numbers that are part of the names are not indices. */
static void test_star_ratings(void **state)
{
    (void)state;
    mc_glue_task *task = make(NULL, "y", NAMES("1 star", "2 stars", "3 stars"), 3);
    expect_labels(task, "csv", "a,y\nx,1\nx,3\nx,2 stars\n", 3, (const double[]){0, 2, 1});
    expect_labels(task, "jsonl", "{\"a\":\"x\",\"y\":1}\n{\"a\":\"x\",\"y\":3.0}\n", 2,
                  (const double[]){0, 2});
    refuse(task, "csv", "a,y\nx,0\n", "or the number in such a name, found 0");
    mc_glue_task_free(task);
    task = make(NULL, "y", NAMES("LABEL_0", "LABEL_1"), 2);
    expect_labels(task, "csv", "a,y\nx,1\nx,LABEL_0\n", 2, (const double[]){1, 0});
    mc_glue_task_free(task);
}

static void test_regression(void **state)
{
    (void)state;
    mc_glue_task *const task = make(NULL, "y", NAMES("score"), 1);
    assert_int_equal(task->label_count, 0);
    assert_string_equal(task->metrics[0], "pearson");
    expect_labels(task, "csv", "a,y\nx,-1\nx,1e3\nx,\n", 3, (const double[]){-1, 1000, NAN});
    refuse(task, "csv", "a,y\nx,inf\n", "expected a finite number, found inf");
    refuse(task, "csv", "a,y\nx,high\n", "found high");
    mc_glue_task_free(task);
}

static void test_columns(void **state)
{
    (void)state;
    mc_glue_task *task = make("b", "y", NAMES("n", "p"), 2), *none = NULL;
    refuse(task, "csv", "A,b,y\nx,y,0\n", "expected a column 'a', found 'A', 'b', 'y'");
    refuse(task, "csv", "a,b,label\nx,y,0\n", "expected a column 'y', found 'a', 'b', 'label'");
    refuse(task, "csv", "a,a,b,y\nx,x,y,0\n", "expected one column 'a', found two");
    refuse(task, "jsonl", "{\"a\":\"x\",\"b\":\"z\",\"y\":0}\n{\"a\":\"x\",\"b\":\"z\"}\n",
           "line 2: expected a column 'y', found 'a', 'b'");
    mc_glue_task_free(task);
    task = make(NULL, NULL, NAMES("n", "p"), 2);
    mc_glue_data *const data = load(task, "csv", "a,A,y\nx,z,whatever\n");
    assert_false(mc_glue_labelled(data));
    mc_glue_data_free(data);
    mc_glue_task_free(task);
    const mc_glue_columns bad[] = {{.pair = "a"},
                                   {.text = "a", .pair = "a"},
                                   {.text = "a", .label = "a"},
                                   {.text = "a", .pair = "b", .label = "b"},
                                   {.text = ""}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(mc_glue_task_new("x", &bad[i], NULL, 0, &none, NULL), MC_USAGE);
}

static void test_limit(void **state)
{
    (void)state;
    mc_glue_task *const task = make(NULL, "y", NAMES("n", "p"), 2);
    mc_glue_data *const data = load(task, "csv", "a,y\nx,\nz,1\nw,0\n");
    mc_glue_limit(data, 9);
    assert_int_equal(mc_glue_count(data), 3);
    assert_int_equal(mc_glue_unlabelled(data), 1);
    mc_glue_limit(data, 1);
    assert_int_equal(mc_glue_count(data), 1);
    assert_false(mc_glue_labelled(data));
    mc_glue_data_free(data);
    mc_glue_task_free(task);
}

static void test_no_folder(void **state)
{
    (void)state;
    mc_glue_data *data = NULL;
    mc_error error = MC_ERROR_NONE;
    mc_glue_task *const task = make(NULL, "y", NAMES("n", "p"), 2);
    assert_int_equal(mc_glue_load(task, "/tmp", NULL, &data, &error), MC_USAGE);
    assert_int_equal(mc_glue_load(task, "/tmp/x", "train", &data, &error), MC_USAGE);
    mc_glue_task_free(task);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    const mc_glue_columns columns = {.text = "a", .pair = "b", .label = "y"};
    mc_glue_task *task = NULL;
    long allowed = 0;
    for (; !task; allowed++) {
        mc_memory_fail_after(allowed);
        const mc_status status = mc_glue_task_new("x", &columns, NAMES("n", "p"), 2, &task, NULL);
        mc_memory_fail_after(-1);
        assert_int_equal(status, task ? MC_OK : MC_NO_MEMORY);
    }
    assert_int_equal(allowed, 9); /* the task, four names, the list of labels, two labels */
    mc_glue_task_free(task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),      cmocka_unit_test(test_class_labels),
        cmocka_unit_test(test_star_ratings), cmocka_unit_test(test_regression),
        cmocka_unit_test(test_columns),      cmocka_unit_test(test_limit),
        cmocka_unit_test(test_no_folder),    cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
