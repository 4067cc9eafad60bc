/* Metrics, losses and tests against scikit-learn and scipy (make_metrics.py). */
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

static void assert_within(double found, double expected, double tolerance, const char *task,
                          size_t number)
{
    if (isnan(expected) ? !isnan(found) : !(fabs(found - expected) <= tolerance))
        fail_msg("case %zu, %s: expected %.17g, found %.17g", number, task, expected, found);
}

static mc_glue_task *own; /* five labels */

static const mc_glue_task *find(const char *name)
{
    return strcmp(name, "own5") == 0 ? own : mc_glue_task_find(name);
}

/* Returns false at the end of the file. */
static bool check_case(FILE *file, size_t number)
{
    double predictions[MOST], labels[MOST];
    mc_metric metrics[MC_GLUE_METRICS];
    char name[16];
    size_t count;
    if (fscanf(file, "%15s %zu", name, &count) != 2)
        return false;
    const mc_glue_task *const task = find(name);
    assert_true(task && count <= MOST);
    for (size_t i = 0; i < count; i++)
        predictions[i] = read_number(file);
    for (size_t i = 0; i < count; i++)
        labels[i] = read_number(file);
    const size_t found = mc_glue_score(task, predictions, labels, count, metrics);
    assert_true(found > 0);
    for (size_t i = 0; i < found; i++) {
        assert_string_equal(metrics[i].name, task->metrics[i]);
        assert_within(metrics[i].value, read_number(file), 1e-12, name, number);
    }
    /* Differences of nearly equal numbers: fewer digits than the values. */
    for (size_t i = 0; i < found; i++)
        assert_within(metrics[i].standard_error, read_number(file), 1e-9, name, number);
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

static void test_losses(void **state)
{
    (void)state;
    float logits[MOST];
    double labels[MOST];
    size_t count, columns, cases = 0;
    FILE *const file = fopen(MC_TEST_DATA "/glue/losses.txt", "r");
    assert_non_null(file);
    for (; fscanf(file, "%zu %zu", &count, &columns) == 2; cases++) {
        for (size_t i = 0; i < count * columns; i++)
            logits[i] = (float)read_number(file);
        for (size_t i = 0; i < count; i++)
            labels[i] = read_number(file);
        const mc_metric loss = mc_glue_loss(logits, columns, labels, count);
        assert_string_equal(loss.name, columns > 1 ? "cross_entropy" : "mse");
        assert_within(loss.value, read_number(file), 1e-10, "loss", cases);
        assert_within(loss.standard_error, read_number(file), 1e-10, "loss", cases);
    }
    assert_true(cases == 16);
    fclose(file);
    const double wrong[] = {2};
    assert_true(isnan(mc_glue_loss((const float[]){1, 2}, 2, wrong, 1).value));
}

static void test_mcnemar(void **state)
{
    enum { MOST_COMPARED = 2000 };
    (void)state;
    double *const values = mc_alloc(3 * MOST_COMPARED * sizeof *values);
    size_t count, cases = 0;
    FILE *const file = fopen(MC_TEST_DATA "/glue/mcnemar.txt", "r");
    assert_true(file && values);
    for (; fscanf(file, "%zu", &count) == 1; cases++) {
        for (size_t i = 0; i < 3 * count; i++)
            values[i] = read_number(file);
        const mc_mcnemar m = mc_glue_mcnemar(values, values + count, values + 2 * count, count);
        const double expected = read_number(file);
        assert_within(m.p_value / expected, 1, 1e-9, "mcnemar", cases);
        assert_true(m.both + m.first_only + m.second_only + m.neither <= count);
    }
    assert_true(cases == 7);
    fclose(file);
    mc_free(values);
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

/* A value that is not a label of the task is wrong, and is not counted as another label. */
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

static int make_own(void **state)
{
    static const char *const labels[] = {"a", "b", "c", "d", "e"};
    const mc_glue_columns columns = {.text = "text", .label = "label"};
    (void)state;
    return mc_glue_task_new("own", &columns, labels, 5, &own, NULL);
}

static int free_own(void **state)
{
    (void)state;
    mc_glue_task_free(own);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),       cmocka_unit_test(test_losses),
        cmocka_unit_test(test_mcnemar),      cmocka_unit_test(test_names),
        cmocka_unit_test(test_other_labels), cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, make_own, free_own);
}
