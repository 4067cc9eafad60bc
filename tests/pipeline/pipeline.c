/*
 * Pipelines of the demo models, against what transformers makes of them
 * (tests/data/pipeline/make_pipeline.py), and against each other: threads, batches, reloading,
 * merging.
 */
#include "merge/fixtures.h"

#include "base/json.h"
#include "base/memory.h"
#include "pipeline/pipeline.h"

#include <mergecraft/observe.h>

#include <math.h>

#define MODELS MC_SOURCE_DIR "/examples/models/"

/* Logits and scores of float32 against torch's float32: sums in another order. */
static const double tolerance = 1e-4;

static json_t *expected; /* pipeline.json */

static mc_model *open_demo(const char *name)
{
    char path[4096];
    mc_model *model = NULL;
    snprintf(path, sizeof path, MODELS "%s", name);
    assert_done(mc_model_open(path, &model, &error));
    return model;
}

static mc_pipeline *open_pipeline(const char *name, const mc_pipeline_options *options)
{
    mc_model *const model = open_demo(name);
    mc_pipeline *pipeline = NULL;
    assert_done(mc_pipeline_open(model, options, &pipeline, &error));
    mc_model_close(model);
    return pipeline;
}

static mc_glue_data *open_data(void)
{
    mc_glue_data *data = NULL;
    assert_done(mc_glue_load(mc_glue_task_find("rte"), MODELS "data", "validation", &data, &error));
    return data;
}

static mc_evaluation evaluate(const mc_pipeline *pipeline, const mc_glue_data *data)
{
    mc_evaluation result;
    assert_done(
        mc_pipeline_evaluate(pipeline, mc_glue_task_find("rte"), data, NULL, &result, &error));
    return result;
}

static mc_text_input text_of(const char *text, const char *pair)
{
    return (mc_text_input){text, strlen(text), pair, pair ? strlen(pair) : 0};
}

/* ---- against transformers -------------------------------------------------------------------- */

/* rows[i] is a list of numbers in JSON, values one row after the other. */
static void assert_rows(const json_t *rows, const float *values)
{
    size_t i, j;
    json_t *row, *number;
    json_array_foreach(rows, i, row) json_array_foreach(row, j, number)
    {
        const double found = (double)*values++, wanted = json_number_value(number);
        if (!(fabs(found - wanted) <= tolerance))
            fail_msg("row %zu, %zu: expected %.7f, found %.7f", i, j, wanted, found);
    }
}

static void check_predictions(const json_t *model, const mc_evaluation *result)
{
    const char *const digits = json_string_value(json_object_get(model, "predictions"));
    assert_int_equal(strlen(digits), result->examples);
    for (size_t i = 0; i < result->examples; i++)
        if ((int)result->predictions[i] != digits[i] - '0')
            fail_msg("example %zu: expected %c, found %g", i, digits[i], result->predictions[i]);
}

static void check_logits(const mc_pipeline *pipeline, const mc_glue_data *data, const json_t *model)
{
    const json_t *const rows = json_object_get(model, "logits");
    const size_t count = json_array_size(rows);
    mc_text_input texts[64];
    float logits[2 * 64];
    assert_true(count > 0 && count <= 64);
    for (size_t i = 0; i < count; i++) {
        const mc_glue_example example = mc_glue_example_at(data, i);
        texts[i] = (mc_text_input){example.text, example.size, example.pair, example.pair_size};
    }
    assert_done(mc_pipeline_logits(pipeline, texts, count, NULL, logits, &error));
    assert_rows(rows, logits);
}

static void check_scores(const mc_pipeline *pipeline, const json_t *model)
{
    const json_t *const list = json_object_get(expected, "texts");
    mc_text_input texts[16];
    float scores[2 * 16];
    size_t i, truncated = 0;
    json_t *text;
    assert_true(json_array_size(list) <= 16);
    json_array_foreach(list, i, text)
        texts[i] = text_of(json_string_value(json_object_get(text, "text")),
                           json_string_value(json_object_get(text, "text_pair")));
    const mc_pipeline_run run = {.truncated = &truncated};
    assert_done(mc_pipeline_classify(pipeline, texts, i, &run, scores, &error));
    assert_rows(json_object_get(model, "scores"), scores);
    assert_int_equal(truncated, 1);
}

static void test_against_transformers(void **state)
{
    (void)state;
    mc_glue_data *const data = open_data();
    const char *name;
    json_t *model;
    json_object_foreach(json_object_get(expected, "models"), name, model)
    {
        mc_pipeline *const pipeline = open_pipeline(name, NULL);
        mc_evaluation result = evaluate(pipeline, data);
        assert_true(result.labelled);
        assert_false(result.guessed);
        assert_int_equal(result.truncated, 0);
        assert_int_equal(result.metric_count, 1);
        assert_string_equal(result.metrics[0].name, "accuracy");
        check_predictions(model, &result);
        check_logits(pipeline, data, model);
        check_scores(pipeline, model);
        mc_evaluation_free(&result);
        mc_pipeline_close(pipeline);
    }
    mc_glue_data_free(data);
}

/* ---- the same for any threads and batch ------------------------------------------------------ */

static void test_same_bits(void **state)
{
    (void)state;
    static const mc_pipeline_options ways[] = {{.threads = 1, .batch_tokens = 1},
                                               {.threads = 1, .batch_tokens = 77},
                                               {.threads = 2, .batch_tokens = 1000},
                                               {.threads = 3, .batch_tokens = 333},
                                               {.threads = 8, .batch_tokens = 100000}};
    mc_glue_data *const data = open_data();
    mc_pipeline *const plain = open_pipeline("rte-2", NULL);
    mc_evaluation wanted = evaluate(plain, data);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        mc_pipeline *const pipeline = open_pipeline("rte-2", &ways[i]);
        mc_evaluation found = evaluate(pipeline, data);
        assert_memory_equal(found.scores, wanted.scores,
                            wanted.examples * wanted.label_count * sizeof *wanted.scores);
        mc_evaluation_free(&found);
        mc_pipeline_close(pipeline);
    }
    mc_evaluation_free(&wanted);
    mc_pipeline_close(plain);
    mc_glue_data_free(data);
}

/* ---- other weights, merges ------------------------------------------------------------------- */

static void assert_same_scores(const mc_pipeline *a, const mc_pipeline *b, const mc_glue_data *data)
{
    mc_evaluation left = evaluate(a, data), right = evaluate(b, data);
    assert_memory_equal(left.scores, right.scores,
                        left.examples * left.label_count * sizeof *left.scores);
    mc_evaluation_free(&left);
    mc_evaluation_free(&right);
}

static void test_reload(void **state)
{
    (void)state;
    mc_glue_data *const data = open_data();
    mc_model *const other = open_demo("rte-3");
    mc_pipeline *const first = open_pipeline("rte-1", NULL), *const second = open_pipeline("rte-3",
                                                                                           NULL);
    assert_done(mc_pipeline_load(first, mc_model_state_dict(other), &error));
    assert_same_scores(first, second, data);
    mc_pipeline_close(second);
    mc_pipeline_close(first);
    mc_model_close(other);
    mc_glue_data_free(data);
}

/* Merged in memory by a plan, by pipelines, and through a folder: one result. */
static void test_merge(void **state)
{
    (void)state;
    static const char *const names[] = {"rte-1", "rte-2", "rte-5"};
    enum { COUNT = 3 };
    mc_glue_data *const data = open_data();
    mc_model *models[COUNT], *written = NULL;
    mc_pipeline *parents[COUNT], *planned = NULL, *merged = NULL, *read = NULL;
    for (size_t i = 0; i < COUNT; i++) {
        models[i] = open_demo(names[i]);
        parents[i] = open_pipeline(names[i], NULL);
    }
    const mc_method *const method = mc_method_find("median");
    const mc_plan_input input = {
        .method = method, .models = (const mc_model *const *)models, .model_count = COUNT};
    mc_plan *plan = NULL;
    mc_run_result result = {0};
    assert_done(mc_plan_new(&input, &plan, &error));
    assert_done(mc_pipeline_from_plan(plan, NULL, &planned, &result, &error));
    assert_int_equal(result.tensors, 73);
    assert_done(mc_pipeline_merge(method, (const mc_pipeline *const *)parents, COUNT, NULL, NULL,
                                  &merged, NULL, &error));
    assert_same_scores(planned, merged, data);

    char *const folder = temporary_folder(), *const path = path_of(folder, "out");
    assert_done(mc_plan_run(plan, path, NULL, NULL, &error));
    assert_done(mc_model_open(path, &written, &error));
    assert_done(mc_pipeline_open(written, NULL, &read, &error));
    assert_same_scores(planned, read, data);

    mc_pipeline_close(read);
    mc_model_close(written);
    mc_pipeline_close(merged);
    mc_pipeline_close(planned);
    mc_plan_free(plan);
    for (size_t i = 0; i < COUNT; i++) {
        mc_pipeline_close(parents[i]);
        mc_model_close(models[i]);
    }
    free(path);
    remove_temporary(folder);
    mc_glue_data_free(data);
}

/* A merge in memory is rounded to the dtype that it would be written in. */
static void test_merge_rounds(void **state)
{
    (void)state;
    mc_glue_data *const data = open_data();
    mc_model *const models[2] = {open_demo("rte-1"), open_demo("rte-2")}, *written = NULL;
    mc_pipeline *planned = NULL, *read = NULL;
    mc_plan *plan = NULL;
    const mc_plan_input input = {.method = mc_method_find("soup"),
                                 .models = (const mc_model *const *)models,
                                 .model_count = 2,
                                 .convert = true,
                                 .dtype = MC_F16};
    char *const folder = temporary_folder(), *const path = path_of(folder, "out");
    assert_done(mc_plan_new(&input, &plan, &error));
    assert_done(mc_pipeline_from_plan(plan, NULL, &planned, NULL, &error));
    assert_done(mc_plan_run(plan, path, NULL, NULL, &error));
    assert_done(mc_model_open(path, &written, &error));
    assert_done(mc_pipeline_open(written, NULL, &read, &error));
    assert_same_scores(planned, read, data);
    mc_pipeline_close(read);
    mc_pipeline_close(planned);
    mc_model_close(written);
    mc_plan_free(plan);
    for (size_t i = 0; i < 2; i++)
        mc_model_close(models[i]);
    free(path);
    remove_temporary(folder);
    mc_glue_data_free(data);
}

/* ---- what cannot be done --------------------------------------------------------------------- */

static void test_no_weights(void **state)
{
    (void)state;
    mc_model *const model = open_demo("rte-1"), *const headless = open_demo("base");
    mc_pipeline *pipeline = NULL, *none = NULL;
    const mc_text_input text = text_of("a medic slept", NULL);
    float scores[2];
    assert_done(
        mc_pipeline_new(mc_model_config(model), mc_model_folder(model), NULL, &pipeline, &error));
    assert_error(MC_USAGE, "expected a pipeline with weights",
                 mc_pipeline_classify(pipeline, &text, 1, NULL, scores, &error));
    assert_error(MC_NOT_FOUND, "classifier",
                 mc_pipeline_load(pipeline, mc_model_state_dict(headless), &error));
    assert_error(MC_USAGE, "expected a pipeline with weights",
                 mc_pipeline_classify(pipeline, &text, 1, NULL, scores, &error));
    assert_done(mc_pipeline_load(pipeline, mc_model_state_dict(model), &error));
    assert_done(mc_pipeline_classify(pipeline, &text, 1, NULL, scores, &error));
    assert_int_not_equal(mc_pipeline_open(headless, NULL, &none, NULL), MC_OK);
    assert_null(none);
    mc_pipeline_close(pipeline);
    mc_model_close(headless);
    mc_model_close(model);
}

static void test_cancel(void **state)
{
    (void)state;
    const volatile int now = 1;
    const mc_pipeline_run run = {.cancel = &now};
    mc_glue_data *const data = open_data();
    mc_pipeline *const pipeline = open_pipeline("rte-1", NULL);
    mc_evaluation result;
    assert_status(MC_INTERRUPTED, mc_pipeline_evaluate(pipeline, mc_glue_task_find("rte"), data,
                                                       &run, &result, &error));
    mc_pipeline_close(pipeline);
    mc_glue_data_free(data);
}

static size_t count_tokens(const mc_pipeline *pipeline, const mc_text_input *text)
{
    mc_encoding encoding = {0};
    assert_done(mc_pipeline_tokenize(pipeline, text, &encoding, &error));
    const size_t count = encoding.count;
    mc_encoding_free(&encoding);
    return count;
}

/* A text without a size ends at its terminator; "" is the empty text. */
static void test_text_without_size(void **state)
{
    (void)state;
    mc_pipeline *const pipeline = open_pipeline("rte-1", NULL);
    const mc_text_input whole = text_of("a medic slept", "no medic slept");
    const mc_text_input plain = {.text = "a medic slept", .pair = "no medic slept"};
    const mc_text_input part = {.text = "a medic slept", .size = 7, .pair = "no medic slept"};
    const mc_text_input nothing = {.text = ""};
    assert_int_equal(count_tokens(pipeline, &plain), count_tokens(pipeline, &whole));
    assert_true(count_tokens(pipeline, &part) < count_tokens(pipeline, &whole));
    assert_int_equal(count_tokens(pipeline, &nothing), 2);
    mc_pipeline_close(pipeline);
}

/* Cancelled from the first progress call, so within the first batch. */
static void cancel_now(size_t done, size_t total, void *user)
{
    (void)done;
    (void)total;
    *(volatile int *)user = 1;
}

static void test_cancel_while_computing(void **state)
{
    (void)state;
    volatile int cancel = 0;
    const mc_pipeline_run run = {
        .cancel = &cancel, .progress = cancel_now, .user = (void *)(uintptr_t)&cancel};
    const mc_text_input text = text_of("a medic slept", NULL);
    float scores[2];
    mc_pipeline *const pipeline = open_pipeline("rte-1", NULL);
    assert_status(MC_INTERRUPTED, mc_pipeline_classify(pipeline, &text, 1, &run, scores, &error));
    cancel = 0;
    assert_done(mc_pipeline_classify(pipeline, &text, 1, NULL, scores, &error));
    mc_pipeline_close(pipeline);
}

static void test_cancel_loading(void **state)
{
    (void)state;
    const volatile int now = 1;
    mc_model *const model = open_demo("rte-1");
    mc_pipeline *none = NULL;
    assert_status(MC_INTERRUPTED,
                  mc_pipeline_open(model, &(mc_pipeline_options){.cancel = &now}, &none, &error));
    assert_null(none);
    mc_model_close(model);
}

static void count_progress(size_t done, size_t total, void *user)
{
    size_t *const seen = user;
    assert_true(done >= seen[0] && done <= total);
    seen[2] += seen[1] == 0 && done == 0; /* the first call comes before anything is computed */
    seen[0] = done;
    seen[1] = total;
}

static void test_progress(void **state)
{
    (void)state;
    size_t seen[3] = {0};
    const mc_pipeline_run run = {.progress = count_progress, .user = seen};
    const mc_text_input texts[3] = {text_of("a medic slept", NULL), text_of("", NULL),
                                    text_of("no medic slept", "a medic slept")};
    float scores[6];
    mc_pipeline *const pipeline = open_pipeline("rte-1", &(mc_pipeline_options){.batch_tokens = 1});
    assert_done(mc_pipeline_classify(pipeline, texts, 3, &run, scores, &error));
    size_t tokens = 0;
    for (size_t i = 0; i < 3; i++)
        tokens += count_tokens(pipeline, &texts[i]);
    assert_int_equal(seen[0], tokens);
    assert_int_equal(seen[1], tokens);
    assert_int_equal(seen[2], 1);
    assert_done(mc_pipeline_classify(pipeline, texts, 0, NULL, scores, &error));
    mc_pipeline_close(pipeline);
}

/*
 * Every allocation fails in turn: an error, no leak (with the sanitizer), and nothing is broken
 * afterwards.
 */
static void test_memory(void **state)
{
    (void)state;
    mc_model *const model = open_demo("rte-1");
    const mc_text_input text = text_of("a medic slept", "somebody rested");
    float scores[2];
    long failures = 0;
    for (mc_status status = MC_NO_MEMORY; status == MC_NO_MEMORY; failures++) {
        mc_pipeline *pipeline = NULL;
        mc_memory_fail_after(failures);
        status = mc_pipeline_open(model, &(mc_pipeline_options){.threads = 1}, &pipeline, NULL);
        if (status == MC_OK)
            status = mc_pipeline_classify(pipeline, &text, 1, NULL, scores, NULL);
        mc_memory_fail_after(-1);
        mc_pipeline_close(pipeline);
        assert_true(status == MC_OK || status == MC_NO_MEMORY);
    }
    assert_true(failures > 50);
    mc_model_close(model);
}

static int load_expected(void **state)
{
    (void)state;
    return mc_json_load(MC_TEST_DATA "/pipeline/pipeline.json", 1 << 20, &expected, NULL);
}

static int free_expected(void **state)
{
    (void)state;
    json_decref(expected);
    return 0;
}

/* An unknown form of Fisher information never counts as one of the known ones. */
static void test_unknown_form(void **state)
{
    mc_pipeline *const pipeline = open_pipeline("rte-1", NULL);
    mc_glue_data *const data = open_data();
    const mc_observe_options options = {.fishers = true, .form = (mc_fisher_form)2};
    const mc_statistics_file file = {.form = (mc_fisher_form)2};
    mc_error error = MC_ERROR_NONE;
    (void)state;
    assert_int_equal(mc_pipeline_observe(pipeline, NULL, mc_glue_task_find("rte"), data, &options,
                                         NULL, "unknown.stats", NULL, &error),
                     MC_USAGE);
    assert_string_equal(error.text,
                        "form: expected MC_FISHER_EXACT or MC_FISHER_EMPIRICAL, found 2");
    assert_int_equal(mc_statistics_save(&file, "unknown.stats", &error), MC_USAGE);
    mc_glue_data_free(data);
    mc_pipeline_close(pipeline);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_transformers),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_merge_rounds),
        cmocka_unit_test(test_no_weights),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_text_without_size),
        cmocka_unit_test(test_unknown_form),
        cmocka_unit_test(test_cancel_while_computing),
        cmocka_unit_test(test_cancel_loading),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, load_expected, free_expected);
}
