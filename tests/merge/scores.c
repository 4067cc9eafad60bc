/* Scores are added to a card and its record, and a crash in between leaves them consistent. */
#include "merge/fixtures.h"

#include "base/checksum.h"
#include "base/json.h"
#include "base/system.h"

#include <errno.h>

static const char card[] = "---\ntags:\n- merge\n---\n\n# A merge\n";

static const mc_score score = {.task = "rte",
                               .split = "validation",
                               .metric = "accuracy",
                               .value = 0.625,
                               .standard_error = 0.03,
                               .examples = 277};

/* Renames that may still succeed; then the program has crashed. */
static int renames_left;

static int rename_or_crash(const char *from, const char *to, unsigned flags)
{
    if (renames_left-- > 0)
        return mc_system_real.rename(from, to, flags);
    errno = EIO;
    return -1;
}

/* A folder with a card and a record that lists it behind another file. */
static char *new_folder(void)
{
    char *const folder = temporary_folder();
    mc_checksum sum;
    char digits[MC_CHECKSUM_TEXT], record[512];
    mc_checksum_begin(&sum);
    mc_checksum_add(&sum, card, strlen(card));
    mc_checksum_text(mc_checksum_end(&sum), digits);
    snprintf(record, sizeof record,
             "{\"files\": [{\"name\": \"README.md\", \"bytes\": %zu, \"xxh64\": \"%s\"}, "
             "{\"name\": \"notes.txt\", \"bytes\": 0, \"xxh64\": \"ef46db3751d8e999\"}]}\n",
             strlen(card), digits);
    write_text(folder, "README.md", card);
    write_text(folder, "notes.txt", "");
    write_text(folder, "mergecraft.json", record);
    return folder;
}

/* Files that the record lists, all of which are as it says. */
static size_t verified(const char *folder)
{
    mc_verify_result found;
    mc_report *report = NULL;
    assert_done(mc_report_new(&report, &error));
    assert_done(mc_verify(folder, NULL, report, &found, &error));
    mc_report_free(report);
    return found.files;
}

static bool has(const char *folder, const char *file, const char *part)
{
    size_t size;
    char *const path = path_of(folder, file), *const text = read_text(path, &size);
    const bool found = memmem(text, size, part, strlen(part)) != NULL;
    free(text);
    free(path);
    return found;
}

static void test_scores(void **state)
{
    (void)state;
    char *const folder = new_folder();
    assert_int_equal(verified(folder), 2);
    assert_done(mc_add_scores(folder, &score, 1, &error));
    assert_int_equal(verified(folder), 2);
    assert_true(
        has(folder, "README.md", "| rte | validation | 277 | accuracy | 0.6250 ± 0.0300 |"));
    assert_true(has(folder, "mergecraft.json", "\"value\": 0.625"));
    remove_temporary(folder);
}

static void test_crash(void **state)
{
    (void)state;
    mc_system_calls calls = mc_system_real;
    calls.rename = rename_or_crash;
    for (int done = 0; done < 3; done++) {
        char *const folder = new_folder();
        renames_left = done;
        mc_system = &calls;
        assert_error(MC_IO, "rename", mc_add_scores(folder, &score, 1, &error));
        mc_system = &mc_system_real;
        assert_int_equal(verified(folder), done == 0 ? 2 : 1);
        /* A card with scores has them in its record. */
        assert_int_equal(has(folder, "README.md", "0.6250"), done == 2);
        assert_int_equal(has(folder, "mergecraft.json", "\"value\": 0.625"), done > 0);
        remove_temporary(folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scores), cmocka_unit_test(test_crash)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
