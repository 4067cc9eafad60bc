/* Which labels of a task the labels of a model are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pipeline/labels.h"
#include "pipeline/pipeline.h"

#include <string.h>

enum { MOST = 4 };

/* Matches the names (NULL-terminated), which a model's id2label would have. */
static mc_status match(const char *task, const char *const *names, size_t map[MOST], bool *guessed,
                       mc_error *error)
{
    char *labels[MOST];
    char folder[] = "some/model";
    mc_pipeline pipeline = {.folder = folder, .labels = labels};
    for (; names[pipeline.label_count]; pipeline.label_count++)
        labels[pipeline.label_count] = (char *)(uintptr_t)names[pipeline.label_count];
    return mc_match_labels(&pipeline, mc_glue_task_find(task), map, guessed, error);
}

#define NAMES(...)                                                                                 \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

/* `expected`: a digit for each label of the model. */
static void assert_map(const char *task, const char *const *names, const char *expected,
                       bool expect_guess)
{
    size_t map[MOST];
    bool guessed = !expect_guess;
    mc_error error = MC_ERROR_NONE;
    if (match(task, names, map, &guessed, &error) != MC_OK)
        fail_msg("%s: %s", task, error.text);
    assert_int_equal(guessed, expect_guess);
    for (size_t i = 0; expected[i]; i++)
        assert_int_equal(map[i], expected[i] - '0');
}

static void assert_mismatch(const char *task, const char *const *names, const char *part)
{
    size_t map[MOST];
    bool guessed;
    mc_error error = MC_ERROR_NONE;
    assert_int_equal(match(task, names, map, &guessed, &error), MC_MISMATCH);
    if (!strstr(error.text, part))
        fail_msg("expected \"%s\" in: %s", part, error.text);
}

static void test_names(void **state)
{
    (void)state;
    assert_map("rte", NAMES("entailment", "not_entailment"), "01", false);
    assert_map("rte", NAMES("not_entailment", "entailment"), "10", false);
    assert_map("rte", NAMES("Not Entailment", "ENTAILMENT"), "10", false);
    assert_map("rte", NAMES("not-entailment", "Entailment"), "10", false);
    assert_map("mnli", NAMES("contradiction", "neutral", "entailment"), "210", false);
    assert_map("mnli", NAMES("ENTAILMENT", "NEUTRAL", "CONTRADICTION"), "012", false);
    assert_map("mnli", NAMES("CONTRADICTION", "ENTAILMENT", "NEUTRAL"), "201", false);
    assert_map("sst2", NAMES("NEGATIVE", "POSITIVE"), "01", false);
    assert_map("stsb", NAMES("similarity"), "0", false);
    assert_map("stsb", NAMES("LABEL_0"), "0", false);
}

static void test_guesses(void **state)
{
    (void)state;
    assert_map("rte", NAMES("LABEL_0", "LABEL_1"), "01", true);
    assert_map("rte", NAMES("0", "1"), "01", true);
    assert_map("rte", NAMES("yes", "no"), "01", true);
    assert_map("mnli", NAMES("LABEL_0", "LABEL_1", "LABEL_2"), "012", true);
}

static void test_mismatches(void **state)
{
    (void)state;
    assert_mismatch("rte", NAMES("contradiction", "neutral", "entailment"),
                    "labels entailment, not_entailment, found contradiction, neutral, entailment");
    assert_mismatch("rte", NAMES("entailment", "contradiction"), "found entailment, contradiction");
    assert_mismatch("rte", NAMES("entailment", "entailment"), "found entailment, entailment");
    assert_mismatch("rte", NAMES("LABEL_0"), "found LABEL_0");
    assert_mismatch("stsb", NAMES("LABEL_0", "LABEL_1"), "regression");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_guesses),
        cmocka_unit_test(test_mismatches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
