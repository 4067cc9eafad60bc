/* Names of tasks, splits and labels; the choice of a file in a folder. */
#include "bytes.h"

#include "base/file.h"

#include <errno.h>
#include <ftw.h>

/* ---- names ---- */

static void test_tasks(void **state)
{
    (void)state;
    static const char *const names[][2] = {
        {"cola", "CoLA"},
        {"sst2", "SST-2"},
        {"stsb", "STS-B"},
        {"mnli", "MNLI"},
        {"rte", "rte"},
        {"mnli_matched", "MNLI-matched"},
        {"mnli_mismatched", "mnli-mm"},
        {"ax", "diagnostic"},
    };
    assert_int_equal(mc_glue_task_count(), 12);
    for (size_t i = 0; i < mc_glue_task_count(); i++) {
        const mc_glue_task *const task = mc_glue_task_at(i);
        assert_ptr_equal(mc_glue_task_find(task->name), task);
        assert_true(task->splits[0] && task->metrics[0] && task->help && task->columns[0]);
        assert_true((task->label_count == 0) == (task->labels == NULL));
        for (size_t k = 0; k < task->label_count; k++)
            assert_int_equal(mc_glue_label_find(task, task->labels[k]), k);
        assert_true(task->label_maximum == (task->labels ? (double)task->label_count - 1 : 5));
        assert_true(!task->labels || task->labels[task->label_count] == NULL);
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_string_equal(mc_glue_task_find(names[i][1])->name, names[i][0]);
    assert_null(mc_glue_task_find("rtee"));
    assert_null(mc_glue_task_find(""));
}

static void test_labels(void **state)
{
    (void)state;
    static const struct {
        const char *task, *name;
        int number;
    } labels[] = {
        {"rte", "entailment", 0},
        {"rte", "not_entailment", 1},
        {"rte", "Not-Entailment", 1},
        {"rte", "NOT ENTAILMENT", 1},
        {"rte", "neutral", -1},
        {"rte", "LABEL_0", -1},
        {"rte", "", -1},
        {"wnli", "entailment", 1},
        {"wnli", "not_entailment", 0},
        {"mnli", "ENTAILMENT", 0},
        {"mnli", "neutral", 1},
        {"mnli", "contradiction", 2},
        {"sst2", "POSITIVE", 1},
        {"sst2", "neg", 0},
        {"sst2", "pos", 1},
        {"cola", "acceptable", 1},
        {"mrpc", "paraphrase", 1},
        {"qqp", "not_paraphrase", 0},
        {"mrpc", "equivalent", 1},
        {"qqp", "duplicate", 1},
        {"stsb", "entailment", -1},
        {"ax", "contradiction", 2},
        {"qnli", "non-entailment", 1},
    };
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++)
        assert_int_equal(mc_glue_label_find(mc_glue_task_find(labels[i].task), labels[i].name),
                         labels[i].number);
}

static void test_splits(void **state)
{
    (void)state;
    static const char *const splits[][3] = {
        {"rte", "validation", "validation"},
        {"rte", "dev", "validation"},
        {"rte", "test", "test"},
        {"rte", "train", "train"},
        {"rte", "validation_matched", NULL},
        {"rte", "valid", NULL},
        {"mnli", "validation", "validation_matched"},
        {"mnli", "dev", "validation_matched"},
        {"mnli", "dev_mismatched", "validation_mismatched"},
        {"mnli", "test", "test_matched"},
        {"mnli", "test_mismatched", "test_mismatched"},
        {"mnli_mismatched", "validation", "validation"},
        {"ax", "test", "test"},
        {"ax", "validation", NULL},
    };
    for (size_t i = 0; i < sizeof splits / sizeof *splits; i++) {
        const char *const found = mc_glue_split_find(mc_glue_task_find(splits[i][0]), splits[i][1]);
        assert_true(splits[i][2] ? found && strcmp(found, splits[i][2]) == 0 : !found);
    }
    assert_string_equal(mc_glue_split_find(mc_glue_task_find("mnli"), NULL), "validation_matched");
    assert_string_equal(mc_glue_split_find(mc_glue_task_find("rte"), NULL), "validation");
    assert_string_equal(mc_glue_split_find(mc_glue_task_find("ax"), NULL), "test");
}

/* ---- folders ---- */

static char *scratch;

static int set_up(void **state)
{
    (void)state;
    scratch = make_folder();
    return 0;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    (void)status;
    (void)kind;
    (void)where;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(scratch);
    return 0;
}

/* Writes a TSV file with one example, whose text is its path; creates parent folders. */
static void put(const char *name)
{
    char folder[64], *text = NULL;
    char *const path = join(scratch, name);
    snprintf(folder, sizeof folder, "%s/%.*s", scratch,
             strchr(name, '/') ? (int)strcspn(name, "/") : 0, name);
    mkdir(folder, 0700);
    assert_true(asprintf(&text, "sentence1\tsentence2\n%s\tx\n", name) > 0);
    save_file(path, text, strlen(text));
    free(text);
    free(path);
}

static void take_away(const char *name)
{
    char *const path = join(scratch, name);
    assert_int_equal(unlink(path), 0);
    free(path);
}

static mc_status load(const char *task, const char *path, const char *split, mc_glue_data **out,
                      mc_error *error)
{
    *error = (mc_error)MC_ERROR_NONE;
    return mc_glue_load(mc_glue_task_find(task), path, split, out, error);
}

/* Expects this file to be chosen in the folder. */
static void assert_taken(const char *task, const char *split, const char *name)
{
    mc_glue_data *data = NULL;
    mc_error error;
    if (load(task, scratch, split, &data, &error) != MC_OK)
        fail_msg("%s: %s", name, message_of(&error));
    const mc_glue_example one = mc_glue_example_at(data, 0);
    if (!same_text(one.text, one.size, name, strlen(name)))
        fail_msg("expected %s to be taken, found %.*s", name, (int)one.size, one.text);
    char *const path = join(scratch, name);
    assert_string_equal(mc_glue_path(data), path);
    free(path);
    mc_glue_data_free(data);
}

/* Adds files one by one: each is preferred to those before it. */
static void test_preference(void **state)
{
    (void)state;
    static const char *const names[] = {
        "RTE/dev.tsv", "RTE/validation.tsv", "rte/dev.tsv",   "rte/validation.csv",
        "dev.tsv",     "validation.csv",     "validation.tsv"};
    put("train.tsv");
    put("test.tsv");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        put(names[i]);
        if (!has_ending(names[i], ".csv"))
            assert_taken("rte", "dev", names[i]);
    }
    assert_taken("rte", "train", "train.tsv");
    assert_taken("rte", "test", "test.tsv");
}

static void test_mnli(void **state)
{
    (void)state;
    put("MNLI/dev_matched.tsv");
    put("MNLI/dev_mismatched.tsv");
    put("MNLI/test_matched.tsv");
    assert_taken("mnli", NULL, "MNLI/dev_matched.tsv");
    assert_taken("mnli", "validation_mismatched", "MNLI/dev_mismatched.tsv");
    assert_taken("mnli_matched", NULL, "MNLI/dev_matched.tsv");
    assert_taken("mnli_mismatched", NULL, "MNLI/dev_mismatched.tsv");
    assert_taken("mnli_matched", "test", "MNLI/test_matched.tsv");
    put("mnli/validation_mismatched.tsv");
    assert_taken("mnli_mismatched", "dev", "mnli/validation_mismatched.tsv");
    put("mnli_mismatched/validation.tsv");
    take_away("mnli/validation_mismatched.tsv");
    take_away("MNLI/dev_mismatched.tsv");
    assert_taken("mnli_mismatched", "dev", "mnli_mismatched/validation.tsv");
}

static void test_ax(void **state)
{
    (void)state;
    put("diagnostic/diagnostic.tsv");
    assert_taken("ax", NULL, "diagnostic/diagnostic.tsv");
}

static void copy_golden(const char *name, const char *as)
{
    size_t size = 0;
    char *const from = join(MC_TEST_DATA "/glue/golden", name), *const to = join(scratch, as);
    char *const bytes = load_file(from, &size);
    save_file(to, bytes, size);
    free(bytes);
    free(from);
    free(to);
}

static void test_parts(void **state)
{
    (void)state;
    mc_glue_data *data = NULL;
    mc_error error;
    copy_golden("rows_snappy.parquet", "validation-00000-of-00003.parquet");
    copy_golden("nulls_v2_gzip.parquet", "validation-00001-of-00003.parquet");
    copy_golden("rows_none_v2.parquet", "validation-00002-of-00003.parquet");
    put("validation-00000-of-00001.parquet.tmp");
    put("validation-x-of-00009.parquet");
    assert_int_equal(load("rte", scratch, NULL, &data, &error), MC_OK);
    assert_int_equal(mc_glue_count(data), 72);
    assert_true(isnan(mc_glue_example_at(data, 25).label));
    assert_int_equal(mc_glue_example_at(data, 71).index, 123);
    assert_true(has_ending(mc_glue_path(data), "validation-00000-of-00003.parquet"));
    mc_glue_data_free(data);
    take_away("validation-00001-of-00003.parquet");
    assert_int_equal(load("rte", scratch, NULL, &data, &error), MC_NOT_FOUND);
    assert_true(has_ending(error.file, "validation-00001-of-00003.parquet"));
    assert_string_equal(error.text, "expected this file, which is one of 3 parts");
}

static void test_not_found(void **state)
{
    (void)state;
    mc_glue_data *data = NULL;
    mc_error error;
    assert_int_equal(load("rte", scratch, NULL, &data, &error), MC_NOT_FOUND);
    assert_string_equal(error.file, scratch);
    assert_string_equal(error.text, "no 'validation' of rte in this folder: expected "
                                    "validation.parquet, .tsv, .jsonl or .csv, or parts as the Hub "
                                    "has them, here or in rte/ or RTE/ (GLUE calls it dev.tsv)");
    assert_int_equal(load("rte", "/nowhere/x.tsv", NULL, &data, &error), MC_NOT_FOUND);
    assert_string_equal(error.file, "/nowhere/x.tsv");
    assert_int_equal(load("rte", "/dev/null", NULL, &data, &error), MC_FORMAT);
    assert_non_null(strstr(error.text, "expected a regular file"));
    assert_int_equal(load("rte", scratch, "validated", &data, &error), MC_USAGE);
    assert_string_equal(error.text,
                        "task rte has no split 'validated': expected one of validation, "
                        "train, test");
}

static void test_out_of_memory(void **state)
{
    (void)state;
    mc_status status = MC_NO_MEMORY;
    put("RTE/dev.tsv");
    for (long allowed = 0; status == MC_NO_MEMORY; allowed++) {
        mc_glue_data *data = NULL;
        mc_error error;
        mc_memory_fail_after(allowed);
        status = load("rte", scratch, NULL, &data, &error);
        mc_memory_fail_after(-1);
        assert_int_equal(error.code, status);
        mc_glue_data_free(data);
        assert_true(allowed < 100);
    }
    assert_int_equal(status, MC_OK);
}

/* ---- standard input ---- */

static const char *input;
static size_t input_at;
static int input_errors;

/* Returns a few bytes at a time, and fails with EINTR now and then. */
static ssize_t read_input(int fd, void *out, size_t size)
{
    assert_int_equal(fd, STDIN_FILENO);
    if (input_errors != 0 && input_at > 10) {
        errno = input_errors;
        input_errors = input_errors == EINTR ? 0 : input_errors;
        return -1;
    }
    const size_t left = strlen(input) - input_at, most = left < 7 ? left : 7;
    const size_t given = most < size ? most : size;
    memcpy(out, input + input_at, given);
    input_at += given;
    return (ssize_t)given;
}

static mc_status load_input(const char *text, int errors, mc_glue_data **data, mc_error *error)
{
    mc_system_calls calls = mc_system_real;
    calls.read = read_input;
    input = text;
    input_at = 0;
    input_errors = errors;
    mc_system = &calls;
    const mc_status status = load("rte", "-", NULL, data, error);
    mc_system = &mc_system_real;
    return status;
}

static void test_standard_input(void **state)
{
    (void)state;
    enum { LONG = 200000 };
    mc_glue_data *data = NULL;
    mc_error error;
    char *const text = malloc(LONG + 100);
    sprintf(text, "sentence1\tsentence2\n%0*d\tb\n", LONG, 7);
    assert_int_equal(load_input(text, EINTR, &data, &error), MC_OK);
    assert_int_equal(mc_glue_count(data), 1);
    assert_int_equal(mc_glue_example_at(data, 0).size, LONG);
    assert_string_equal(mc_glue_path(data), "-");
    mc_glue_data_free(data);
    assert_int_equal(load_input(text, EIO, &data, &error), MC_IO);
    assert_string_equal(error.file, "standard input");
    assert_int_equal(load_input("", 0, &data, &error), MC_FORMAT);
    assert_string_equal(error.file, "standard input");
    char *bytes = NULL;
    size_t size = 0;
    mc_system_calls calls = mc_system_real;
    calls.read = read_input;
    input_at = 0;
    input_errors = 0;
    input = text;
    mc_system = &calls;
    assert_int_equal(mc_input_load(1000, &bytes, &size, &error), MC_FORMAT);
    mc_system = &mc_system_real;
    assert_string_equal(error.text, "expected at most 1000 bytes, found more");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tasks),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_splits),
        cmocka_unit_test_setup_teardown(test_preference, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mnli, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ax, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_out_of_memory, set_up, tear_down),
        cmocka_unit_test(test_standard_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
