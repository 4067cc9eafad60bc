/* Files, disks, notes, names of files. */
#include "base/companion.h"
#include "base/disk.h"
#include "base/draft.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/notes.h"
#include "base/shard_index.h"
#include "base/weight_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/mergecraft-base-XXXXXX";
static char path[64];

static int set_up(void **state)
{
    (void)state;
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/file", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void put(const char *text)
{
    FILE *const file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void test_read(void **state)
{
    (void)state;
    mc_file *file = NULL;
    char bytes[8] = "";
    mc_error error = MC_ERROR_NONE;
    put("0123456789");
    assert_int_equal(mc_file_open(path, &file, &error), MC_OK);
    assert_int_equal(mc_file_size(file), 10);
    assert_int_equal(mc_file_read(file, 3, bytes, 4, &error), MC_OK);
    assert_string_equal(bytes, "3456");
    assert_int_equal(mc_file_read(file, 10, bytes, 0, &error), MC_OK);
    assert_int_equal(mc_file_read(file, 7, bytes, 4, &error), MC_FORMAT);
    assert_int_equal(mc_file_read(file, -1, bytes, 1, &error), MC_FORMAT);
    assert_int_equal(mc_file_check(file, &error), MC_OK);
    mc_file_limit(file, 5);
    assert_int_equal(mc_file_read(file, 4, bytes, 2, &error), MC_NOT_FOUND);
    mc_file_unref(file);
}

static void assert_content(const char *expected)
{
    char *text = NULL;
    size_t size = 0;
    mc_error error = MC_ERROR_NONE;
    assert_int_equal(mc_file_load(path, 100, &text, &size, &error), MC_OK);
    assert_string_equal(text, expected);
    mc_free(text);
}

/* A draft replaces what a killed process left, and the file only once it is complete. */
static void test_draft(void **state)
{
    (void)state;
    char partial[80];
    mc_draft one, two;
    mc_error error = MC_ERROR_NONE;
    snprintf(partial, sizeof partial, "%s.partial", path);
    put("left by a killed process");
    assert_int_equal(rename(path, partial), 0);
    put("old");
    assert_int_equal(mc_draft_open(path, &one, &error), MC_OK);
    assert_int_equal(mc_write_all(one.fd, path, "one", 3, 0, &error), MC_OK);
    /* The common name is taken: the second draft does not disturb the first. */
    assert_int_equal(mc_draft_open(path, &two, &error), MC_OK);
    assert_int_equal(mc_write_all(two.fd, path, "two!", 4, 0, &error), MC_OK);
    assert_content("old");
    assert_int_equal(mc_draft_close(&one, MC_OK, &error), MC_OK);
    assert_content("one");
    assert_int_equal(mc_draft_close(&two, MC_OK, &error), MC_OK);
    assert_content("two!");
    assert_int_equal(mc_draft_open(path, &one, &error), MC_OK);
    assert_int_equal(mc_draft_close(&one, MC_FORMAT, &error), MC_FORMAT);
    assert_content("two!");
    /* tear_down checks that no draft is left: it removes the file and the empty folder. */
    assert_int_equal(mc_file_replace("/no such folder/file", "", 0, &error), MC_NOT_FOUND);
}

static void test_changed(void **state)
{
    (void)state;
    mc_file *file = NULL;
    char bytes[16];
    mc_error error = MC_ERROR_NONE;
    put("0123456789");
    assert_int_equal(mc_file_open(path, &file, &error), MC_OK);
    assert_int_equal(truncate(path, 4), 0);
    assert_int_equal(mc_file_read(file, 0, bytes, 10, &error), MC_CHANGED);
    assert_int_equal(mc_file_check(file, &error), MC_CHANGED);
    assert_non_null(strstr(error.text, "expected 10 bytes, found 4"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mc_file_check(file, &error), MC_CHANGED);
    put("0123456789");
    assert_int_equal(mc_file_check(file, &error), MC_CHANGED);
    assert_non_null(strstr(error.text, "its size is the same"));
    mc_file_unref(file);
}

static void test_refused(void **state)
{
    (void)state;
    mc_file *file = NULL;
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(mc_file_open(folder, &file, NULL), MC_FORMAT);
    assert_int_equal(mc_file_open("/dev/null", &file, NULL), MC_FORMAT);
    assert_int_equal(mc_file_open(path, &file, NULL), MC_NOT_FOUND);
    put("12345");
    assert_int_equal(mc_file_load(path, 4, &text, &size, NULL), MC_FORMAT);
    assert_int_equal(mc_file_load(path, 5, &text, &size, NULL), MC_OK);
    assert_int_equal(size, 5);
    assert_string_equal(text, "12345");
    mc_free(text);
}

static void test_disk(void **state)
{
    (void)state;
    mc_disk here = {0}, below = {0};
    char deep[128];
    snprintf(deep, sizeof deep, "%s/not/there/yet", folder);
    assert_true(mc_disk_at(folder, &here));
    assert_true(mc_disk_at(deep, &below));
    assert_int_equal(here.device, below.device);
    assert_true(here.free > 0);
}

static void test_notes(void **state)
{
    (void)state;
    mc_notes notes = {0};
    mc_error error = MC_ERROR_NONE;
    assert_int_equal(mc_notes_add(NULL, &error, "nobody listens"), MC_OK);
    for (int i = 0; i < 20; i++)
        assert_int_equal(mc_notes_add(&notes, &error, "line %d", i), MC_OK);
    assert_int_equal(notes.count, 20);
    assert_string_equal(notes.lines[19], "line 19");
    mc_memory_fail_after(0);
    assert_int_equal(mc_notes_add(&notes, &error, "lost"), MC_NO_MEMORY);
    mc_memory_fail_after(-1);
    assert_int_equal(notes.count, 20);
    mc_notes_free(&notes);
}

/* As transformers.utils names them: SAFE_WEIGHTS_NAME, …_INDEX_NAME, WEIGHTS_NAME, …_INDEX_NAME. */
static void test_names(void **state)
{
    (void)state;
    assert_string_equal(mc_weight_files[0], "model.safetensors");
    assert_string_equal(mc_weight_files[1], "model.safetensors.index.json");
    assert_string_equal(mc_weight_files[2], "pytorch_model.bin");
    assert_string_equal(mc_weight_files[3], "pytorch_model.bin.index.json");
    assert_true(mc_is_companion("tokenizer.json"));
    assert_true(mc_is_companion("spiece.model"));
    assert_false(mc_is_companion("model.safetensors"));
    assert_false(mc_is_companion("README.md"));
}

static void test_shard_index(void **state)
{
    (void)state;
    static const char text[] = "{\"weight_map\":{\"x\":\"b\",\"y\":\"a\",\"z\":\"b\"}}";
    mc_shard_index index = {0}, wrong = {0};
    assert_int_equal(mc_shard_index_parse(text, sizeof text - 1, &index, NULL), MC_OK);
    assert_int_equal(index.count, 2);
    assert_string_equal(index.files[0], "a");
    assert_string_equal(mc_shard_index_file(&index, "z"), "b");
    assert_null(mc_shard_index_file(&index, "w"));
    mc_shard_index_free(&index);
    assert_int_equal(mc_shard_index_parse("{\"weight_map\":{\"x\":\"../b\"}}", 27, &wrong, NULL),
                     MC_FORMAT);
    mc_shard_index_free(&wrong);
    assert_true(mc_shard_index_probe((const unsigned char *)" {\"a\": 1}", 9));
    assert_false(mc_shard_index_probe((const unsigned char *)"\x10\0\0\0\0\0\0\0{", 9));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_draft, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_changed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_disk, set_up, tear_down),
        cmocka_unit_test(test_notes),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_shard_index),
    };
    return cmocka_run_group_tests_name("files", tests, NULL, NULL);
}
