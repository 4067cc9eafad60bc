/* Metrics against those of scikit-learn and scipy (make_metrics.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"

#include <mergecraft/glue.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 300 };

static double read_number(FILE *file)
{
    double number;
    assert_int_equal(fscanf(file, "%lf", &number), 1);
    return number;
}

static void assert_near(double found, double expected, const char *task, size_t number)
{
    if (isnan(expected) ? !isnan(found) : !(fabs(found - expected) <= 1e-12))
        fail_msg("case %zu, %s: expected %.17g, found %.17g", number, task, expected, found);
}

/* false at the end. */
static bool check_case(FILE *file, size_t number)
{
    double predictions[MOST], labels[MOST];
    mc_metric metrics[MC_GLUE_METRICS];
    char name[16];
    size_t count;
    if (fscanf(file, "%15s %zu", name, &count) != 2)
        return false;
    const mc_glue_task *const task = mc_glue_task_find(name);
    assert_true(task && count <= MOST);
    for (size_t i = 0; i < count; i++)
        predictions[i] = read_number(file);
    for (size_t i = 0; i < count; i++)
        labels[i] = read_number(file);
    const size_t found = mc_glue_score(task, predictions, labels, count, metrics);
    assert_true(found > 0);
    for (size_t i = 0; i < found; i++) {
        assert_string_equal(metrics[i].name, task->metrics[i]);
        assert_near(metrics[i].value, read_number(file), name, number);
    }
    assert_null(task->metrics[found]);
    return true;
}

static void test_golden(void **state)
{
    (void)state;
    FILE *const file = fopen(MC_TEST_DATA "/glue/metrics.txt", "r");
    assert_non_null(file);
    size_t count = 0;
    while (check_case(file, count))
        count++;
    assert_true(feof(file));
    assert_true(count >= 250);
    fclose(file);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const expected[][4] = {
        {"cola", "matthews_correlation"},
        {"sst2", "accuracy"},
        {"mrpc", "accuracy", "f1"},
        {"qqp", "accuracy", "f1"},
        {"mnli", "accuracy"},
        {"stsb", "pearson", "spearmanr"},
        {"qnli", "accuracy"},
        {"rte", "accuracy"},
        {"ax", "matthews_correlation"},
        {"wnli", "accuracy"},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const mc_glue_task *const task = mc_glue_task_find(expected[i][0]);
        for (size_t k = 0; expected[i][k + 1]; k++)
            assert_string_equal(task->metrics[k], expected[i][k + 1]);
    }
}

/* What is no label of the task is wrong, and does not count as any other. */
static void test_other_labels(void **state)
{
    (void)state;
    const double predictions[] = {1, 2, 7, 0.5, 0}, labels[] = {1, 1, 0, 0, 0};
    mc_metric m[MC_GLUE_METRICS];
    assert_int_equal(mc_glue_score(mc_glue_task_find("mrpc"), predictions, labels, 5, m), 2);
    assert_true(fabs(m[0].value - 0.4) < 1e-12);
    assert_true(fabs(m[1].value - 2.0 / 3) < 1e-12);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    const double values[] = {1, 2, 3};
    mc_metric m[MC_GLUE_METRICS];
    size_t found = 0;
    long allowed = 0;
    for (; found == 0; allowed++) {
        mc_memory_fail_after(allowed);
        found = mc_glue_score(mc_glue_task_find("stsb"), values, values, 3, m);
        mc_memory_fail_after(-1);
    }
    assert_int_equal(found, 2);
    assert_true(allowed == 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_other_labels),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
