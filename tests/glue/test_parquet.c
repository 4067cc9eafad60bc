/* Parquet: files of other writers, and malformed files (both from make_parquet.py). */
#include "bytes.h"

#define GOLDEN MC_TEST_DATA "/glue/golden"
#define CRAFTED MC_SOURCE_DIR "/fuzz/corpus/parquet"

static int is_parquet(const char *name)
{
    return has_ending(name, ".parquet");
}

static mc_glue_data *load(const char *path)
{
    mc_glue_data *data = NULL;
    mc_error error = MC_ERROR_NONE;
    if (mc_glue_load(mc_glue_task_find("rte"), path, NULL, &data, &error) != MC_OK)
        fail_msg("%s", message_of(&error));
    return data;
}

/* GROUP_NAME.parquet has the rows of GROUP.jsonl. */
static void check_golden(const char *folder, const char *name)
{
    char other[64];
    snprintf(other, sizeof other, "%.*s.jsonl", (int)strcspn(name, "_"), name);
    char *const path = join(folder, name), *const expected_path = join(folder, other);
    mc_glue_data *const data = load(path), *const expected = load(expected_path);
    assert_int_equal(mc_glue_count(data), 24);
    assert_same_data(data, expected);
    mc_glue_data_free(data);
    mc_glue_data_free(expected);
    free(path);
    free(expected_path);
}

static void test_golden(void **state)
{
    (void)state;
    assert_true(for_each_name(GOLDEN, is_parquet, check_golden) >= 15);
}

static int is_ok(const char *name)
{
    return strncmp(name, "ok_", 3) == 0;
}

static int is_bad(const char *name)
{
    return strncmp(name, "bad_", 4) == 0;
}

static mc_status load_crafted(const char *name, mc_glue_data **data, mc_error *error)
{
    size_t size = 0;
    char *const path = join(CRAFTED, name), *const bytes = load_file(path, &size);
    *error = (mc_error)MC_ERROR_NONE;
    const mc_status status = load_bytes("rte", "x.parquet", bytes, size, data, error);
    free(bytes);
    free(path);
    return status;
}

static void check_ok(const char *folder, const char *name)
{
    (void)folder;
    mc_glue_data *data = NULL;
    mc_error error;
    if (load_crafted(name, &data, &error) != MC_OK)
        fail_msg("%s: %s", name, error.text);
    const mc_glue_example one = mc_glue_example_at(data, 0);
    assert_true(same_text(one.text, one.size, "a", 1) &&
                same_text(one.pair, one.pair_size, "b", 1));
    assert_true(one.label == 0 && one.index == 0);
    mc_glue_data_free(data);
}

static void check_bad(const char *folder, const char *name)
{
    (void)folder;
    mc_glue_data *data = NULL;
    mc_error error;
    const mc_status status = load_crafted(name, &data, &error);
    if (status != MC_FORMAT && status != MC_UNSUPPORTED)
        fail_msg("%s: expected to be refused, got status %d", name, (int)status);
    assert_int_equal(error.code, status);
    assert_true(error.text[0] != '\0');
}

static void test_crafted(void **state)
{
    (void)state;
    assert_true(for_each_name(CRAFTED, is_ok, check_ok) >= 30);
    assert_true(for_each_name(CRAFTED, is_bad, check_bad) >= 130);
}

/* The third of three assembled texts. */
static void test_joined_texts(void **state)
{
    (void)state;
    static const char *const expected[] = {"a", "abc", "abc"};
    mc_glue_data *data = NULL;
    mc_error error;
    assert_int_equal(load_crafted("ok_delta_texts", &data, &error), MC_OK);
    assert_int_equal(mc_glue_count(data), 3);
    for (size_t i = 0; i < 3; i++) {
        const mc_glue_example one = mc_glue_example_at(data, i);
        assert_true(same_text(one.text, one.size, expected[i], strlen(expected[i])));
    }
    mc_glue_data_free(data);
}

/* The text that the error must have. */
static const struct {
    const char *name;
    mc_status status;
    const char *words;
} messages[] = {
    {"bad_empty", MC_FORMAT,
     "expected a Parquet file, which begins with PAR1, found an empty file"},
    {"bad_cut", MC_FORMAT, "expected PAR1 at the end of the Parquet file; it is truncated"},
    {"bad_encrypted_footer", MC_UNSUPPORTED, "the Parquet file is encrypted"},
    {"bad_encrypted_columns", MC_UNSUPPORTED, "encrypted columns"},
    {"bad_chunk_encrypted", MC_UNSUPPORTED, "column 'sentence1', byte 4: it is encrypted"},
    {"bad_footer_length", MC_FORMAT, "found a length of 2147483648"},
    {"bad_thrift_deep", MC_FORMAT, "malformed footer: it is nested too deeply"},
    {"bad_thrift_list_huge", MC_FORMAT, "more elements than there are bytes left"},
    {"bad_rows_more", MC_FORMAT, "expected 2 rows by the footer, found 1"},
    {"bad_rows_huge", MC_FORMAT, "found a row group of 1099511627776"},
    {"bad_rows_bomb", MC_FORMAT, "expected at most 4194304 rows"},
    {"bad_schema_group", MC_UNSUPPORTED, "column 'sentence1' is nested"},
    {"bad_schema_name_twice", MC_FORMAT, "expected one column 'sentence1', found two"},
    {"bad_schema_children_huge", MC_FORMAT,
     "expected a column 'sentence1' or '#1 String' or 'premise' for task rte, found 'x'"},
    {"bad_chunk_lzo", MC_UNSUPPORTED, "compressed with LZO (codec 3): expected snappy, gzip, zstd"},
    {"bad_chunk_bytes", MC_FORMAT, "found 10000 bytes at byte 4"},
    {"bad_page_crc", MC_FORMAT, "checksum mismatch"},
    {"bad_page_values_more", MC_FORMAT, "expected at most 1 values, found 2"},
    {"bad_encoding_unknown", MC_UNSUPPORTED, "unsupported encoding: BYTE_ARRAY in unknown (42)"},
    {"bad_encoding_text_packed", MC_UNSUPPORTED, "in DELTA_BINARY_PACKED (5)"},
    {"bad_levels_value", MC_FORMAT, "expected definition levels 0 and 1, found 5"},
    {"bad_levels_null", MC_FORMAT, "row 1: column 'sentence1': expected a text, found null"},
    {"bad_levels_bit_packed", MC_UNSUPPORTED,
     "unsupported encoding BIT_PACKED (4) of definition levels"},
    {"bad_dictionary_index", MC_FORMAT, "expected an index below 2 into the dictionary, found 2"},
    {"bad_dictionary_count", MC_FORMAT, "of 5 bytes cannot hold 2147483647 values"},
    {"bad_delta_bomb", MC_FORMAT, "more memory than a data set may"},
    {"bad_snappy_bomb", MC_FORMAT, "more memory than a data set may"},
    {"bad_zstd_bomb", MC_FORMAT, "malformed zstd data, or not the expected 5 bytes"},
    {"bad_label_two", MC_FORMAT,
     "row 1: column 'label': expected 'entailment', 'not_entailment', or 0 to 1, found 2"},
    {"bad_label_text", MC_FORMAT, "found maybe"},
};

static void test_messages(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        mc_glue_data *data = NULL;
        mc_error error;
        const mc_status status = load_crafted(messages[i].name, &data, &error);
        if (status != messages[i].status || !strstr(error.text, messages[i].words))
            fail_msg("%s: expected status %d and \"%s\", found status %d: %s", messages[i].name,
                     (int)messages[i].status, messages[i].words, (int)status, error.text);
    }
}

static void check_memory(const char *folder, const char *name)
{
    size_t size = 0;
    char *const path = join(folder, name);
    char *const bytes = load_file(path, &size);
    const mc_status status = load_as_memory_fails("rte", "x.parquet", bytes, size);
    assert_true((status == MC_OK) == !is_bad(name));
    free(bytes);
    free(path);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for_each_name(GOLDEN, is_parquet, check_memory);
    for_each_name(CRAFTED, is_ok, check_memory);
    for_each_name(CRAFTED, is_bad, check_memory);
}

static void try_bytes(const char *name, const char *bytes, size_t size)
{
    mc_glue_data *data = NULL;
    mc_error error = MC_ERROR_NONE;
    const mc_status status = load_bytes("rte", name, bytes, size, &data, &error);
    assert_true(status == MC_OK || (error.code == status && error.text[0] != '\0'));
    mc_glue_data_free(data);
}

/* Each byte corrupted, and the file truncated in many places: an error or a result. */
static void check_mutations(const char *folder, const char *name)
{
    enum { CUT_EVERY = 3 };
    static const unsigned char flips[] = {0xff, 0x01, 0x80};
    size_t size = 0;
    char *const path = join(folder, name);
    char *const bytes = load_file(path, &size);
    for (size_t i = 0; i < size; i++) {
        const unsigned char flip = flips[i % 3];
        bytes[i] = (char)(bytes[i] ^ flip);
        try_bytes(name, bytes, size);
        bytes[i] = (char)(bytes[i] ^ flip);
        if (i % CUT_EVERY == 0)
            try_bytes(name, bytes, i);
    }
    free(bytes);
    free(path);
}

static void test_mutations(void **state)
{
    (void)state;
    for_each_name(GOLDEN, is_parquet, check_mutations);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),        cmocka_unit_test(test_crafted),
        cmocka_unit_test(test_joined_texts),  cmocka_unit_test(test_messages),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
