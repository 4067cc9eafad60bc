/*
 * The reader of YAML against what PyYAML makes of the same texts (tests/data/recipe/make_yaml.py),
 * its lines and columns, and its limits.
 */
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "recipe/equal.h"
#include "recipe/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the notation of the golden file --------------------------------------------------------- */
static void write_node(mc_text *out, const mc_yaml *node);

static void write_string(mc_text *out, const char *text)
{
    json_t *const string = json_string(text);
    char *const shown = json_dumps(string, JSON_ENCODE_ANY);
    assert_non_null(shown);
    mc_text_add(out, "%s", shown);
    free(shown);
    json_decref(string);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void write_map(mc_text *out, const mc_yaml *map)
{
    char **const pairs = mc_alloc((map->count + 1) * sizeof *pairs);
    assert_non_null(pairs);
    for (size_t i = 0; i < map->count; i++) {
        mc_text pair = {0};
        write_node(&pair, map->pairs[i].key);
        mc_text_add(&pair, ":");
        write_node(&pair, map->pairs[i].value);
        pairs[i] = pair.data;
    }
    qsort(pairs, map->count, sizeof *pairs, compare_texts);
    mc_text_add(out, "{");
    for (size_t i = 0; i < map->count; i++) {
        mc_text_add(out, "%s%s", i ? "," : "", pairs[i]);
        mc_free(pairs[i]);
    }
    mc_text_add(out, "}");
    mc_free(pairs);
}

static void write_node(mc_text *out, const mc_yaml *node)
{
    switch (node->kind) {
    case MC_YAML_NULL:
        mc_text_add(out, "null");
        break;
    case MC_YAML_BOOL:
        mc_text_add(out, node->number != 0 ? "true" : "false");
        break;
    case MC_YAML_INTEGER:
    case MC_YAML_NUMBER:
        mc_text_add(out, node->kind == MC_YAML_INTEGER ? "i" : "n");
        mc_text_add(out, "%.17g", node->number);
        break;
    case MC_YAML_STRING:
        write_string(out, node->text);
        break;
    case MC_YAML_DATE:
        mc_text_add(out, "date");
        break;
    case MC_YAML_LIST:
        mc_text_add(out, "[");
        for (size_t i = 0; i < node->count; i++) {
            mc_text_add(out, i ? "," : "");
            write_node(out, node->items[i]);
        }
        mc_text_add(out, "]");
        break;
    case MC_YAML_MAP:
        write_map(out, node);
        break;
    }
}

/* ---- PyYAML ---------------------------------------------------------------------------------- */
/*
 * Where this reader knows better: a duplicate key keeps both its line and PyYAML's value, but
 * circles and unfinished dates are errors here, and libyaml takes a tab before a comment.
 */
static bool accepts_more(const char *text)
{
    return strstr(text, "\\t#") != NULL;
}

static size_t failures;

static void check_case(const char *quoted, bool ok, const char *expected)
{
    mc_yaml_file *file = NULL;
    mc_error error = MC_ERROR_NONE;
    json_t *const text = json_loads(quoted, JSON_DECODE_ANY, NULL);
    assert_non_null(text);
    const mc_status status = mc_yaml_parse("f", json_string_value(text), json_string_length(text),
                                           &file, &error);
    if (ok != (status == MC_OK) && !(status == MC_OK && accepts_more(quoted)))
        failures++, print_error("%s: PyYAML %s it, found: %s\n", quoted, ok ? "accepts" : "rejects",
                                error.text);
    mc_text found = {0};
    for (size_t i = 0; status == MC_OK && i < file->document_count; i++) {
        mc_text_add(&found, i ? " " : "");
        write_node(&found, file->documents[i]);
    }
    if (ok && status == MC_OK && strcmp(found.data ? found.data : "", expected) != 0)
        failures++, print_error("%s: expected %s, found %s\n", quoted, expected, found.data);
    mc_text_free(&found);
    mc_yaml_free(file);
    json_decref(text);
}

static void test_as_pyyaml(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0, cases = 0;
    assert_int_equal(mc_file_load(MC_TEST_DATA "/recipe/yaml.txt", 1 << 22, &text, &size, NULL),
                     MC_OK);
    for (char *at = text; *at; cases++) {
        char *line[3];
        for (size_t i = 0; i < 3; i++) {
            line[i] = at;
            at += strcspn(at, "\n");
            *at++ = '\0';
        }
        check_case(line[0], strcmp(line[1], "ok") == 0, line[2]);
    }
    assert_true(cases > 300);
    assert_int_equal(failures, 0);
    mc_free(text);
}

/* ---- places, warnings ------------------------------------------------------------------------ */
static mc_yaml_file *parse(const char *text)
{
    mc_yaml_file *file = NULL;
    mc_error error = MC_ERROR_NONE;
    if (mc_yaml_parse("f.yml", text, strlen(text), &file, &error) != MC_OK)
        fail_msg("%s: %s", text, error.text);
    return file;
}

static void test_places(void **state)
{
    (void)state;
    mc_yaml_file *const file = parse("models:\n  - model: \xc3\xa9\xc3\xa9\n    weight: [1, 2]\n");
    const mc_yaml *const model = mc_yaml_get(file->documents[0], "models")->items[0];
    const mc_yaml *const weight = mc_yaml_get(model, "weight");
    assert_int_equal(model->line, 2);
    assert_int_equal(model->column, 5);
    assert_int_equal(mc_yaml_get(model, "model")->column, 12);
    assert_int_equal(weight->line, 3);
    assert_int_equal(weight->items[1]->column, 17);
    assert_null(mc_yaml_get(model, "nothing"));
    assert_null(mc_yaml_get(weight, "x"));
    mc_yaml_free(file);
}

static void test_duplicates_warn(void **state)
{
    (void)state;
    mc_yaml_file *const file = parse("a: 1\nb: 2\na: 3\n");
    assert_int_equal(file->warning_count, 1);
    assert_int_equal(file->warnings[0].line, 3);
    assert_string_equal(file->warnings[0].text,
                        "the key 'a' is written a second time and replaces line 1");
    mc_yaml_free(file);
}

static void expect_equal(const char *one, const char *other, bool equal)
{
    mc_yaml_file *const a = parse(one), *const b = parse(other);
    if (mc_yaml_equal(a->documents[0], b->documents[0]) != equal ||
        mc_yaml_equal(b->documents[0], a->documents[0]) != equal)
        fail_msg("%s, %s: expected them to be %s", one, other, equal ? "equal" : "different");
    mc_yaml_free(a);
    mc_yaml_free(b);
}

static void test_equality(void **state)
{
    (void)state;
    expect_equal("a: 1\nb: {c: x, d: 2}", "# remark\n{b: {d: 2, c: 'x'}, a: 1}", true);
    expect_equal("a: &a [1, 2]\nb: *a", "{a: [1, 2], b: [1, 2]}", true);
    expect_equal("a: 1\nb:", "a: 1", true);
    expect_equal("a: [1e-5, .50, 010]", "a: [0.00001, 0.5, 8]", true);
    expect_equal("a: on", "a: 'true'", true);
    expect_equal("a: ~", "a: 0", false);
    expect_equal("a: 1\nb: 2", "a: 1", false);
    expect_equal("a: 1", "b: 1", false);
    expect_equal("a: 1", "a: 2", false);
    expect_equal("a: [1, 2]", "a: [2, 1]", false);
    expect_equal("a: [1, 2]", "a: [1]", false);
    expect_equal("a: [1]", "a: 1", false);
    expect_equal("a: {b: 1}", "a: [1]", false);
    expect_equal("a: x", "a: y", false);
    expect_equal("a: .nan", "a: .NaN", true);
}

/* ---- limits ---------------------------------------------------------------------------------- */
static void expect_error(const char *text, size_t size, const char *file, const char *words)
{
    mc_yaml_file *parsed = NULL;
    mc_error error = MC_ERROR_NONE;
    assert_int_not_equal(mc_yaml_parse("f.yml", text, size, &parsed, &error), MC_OK);
    if (!strstr(error.text, words) || strcmp(error.file, file) != 0)
        fail_msg("expected '%s: …%s…', found '%s: %s'", file, words, error.file, error.text);
}

static char *repeated(const char *head, const char *piece, size_t times)
{
    mc_text text = {0};
    mc_text_add(&text, "%s", head);
    for (size_t i = 0; i < times; i++)
        mc_text_add(&text, "%s", piece);
    assert_false(text.failed);
    return text.data;
}

static void expect_repeated_error(const char *head, const char *piece, size_t times,
                                  const char *file, const char *words)
{
    char *const text = repeated(head, piece, times);
    expect_error(text, strlen(text), file, words);
    mc_free(text);
}

static void test_limits(void **state)
{
    (void)state;
    expect_repeated_error("", "[", 65, "f.yml:1:65", "at most 64 levels");
    expect_repeated_error("", "[", 500000, "f.yml:1:65", "at most 64 levels");
    expect_repeated_error("", "{a: ", 65, "f.yml:1:257", "at most 64 levels");
    expect_repeated_error("[", "a,", 100001, "f.yml:1:200000", "at most 100000 values");
    expect_repeated_error("", "x", (1 << 20) + 1, "f.yml:1:1", "at most 1048576 bytes");
    expect_repeated_error("? ", "k", 1025, "f.yml:1:3", "a key of at most 1024 bytes");
    char *const nul = repeated("a: \"", "\\0", 1);
    expect_error("a: \"\\0\"", 7, "f.yml:1:4", "without NUL");
    mc_free(nul);
    expect_error("a: \0b", 5, "f.yml:1:4", "UTF-8");
    expect_error("a: \xff", 4, "f.yml:1:4", "UTF-8");
}

/* Each level names the one before it nine times. */
static void test_aliases_do_not_explode(void **state)
{
    (void)state;
    mc_text text = {0};
    mc_text_add(&text, "a0: &a0 x\n");
    for (int i = 1; i < 20; i++) {
        mc_text_add(&text, "a%d: &a%d [", i, i);
        for (int k = 0; k < 9; k++)
            mc_text_add(&text, "*a%d,", i - 1);
        mc_text_add(&text, "]\n");
    }
    expect_error(text.data, text.length, "f.yml:7:14", "aliases written out");
    mc_text_free(&text);
}

static void test_merge_keys_do_not_explode(void **state)
{
    (void)state;
    mc_text text = {0};
    mc_text_add(&text, "a0: &a0 {k0: 1}\n");
    for (int i = 1; i < 40; i++)
        mc_text_add(&text, "a%d: &a%d {k%d: 1, <<: [*a%d, *a%d, *a%d]}\n", i, i, i, i - 1, i - 1,
                    i - 1);
    expect_error(text.data, text.length, "f.yml:10:32", "aliases written out");
    mc_text_free(&text);
}

static void test_circles(void **state)
{
    (void)state;
    expect_error("a: &a [*a]", 10, "f.yml:1:8", "refers to what it is in");
    expect_error("a: &a {<<: *a}", 14, "f.yml:1:12", "refers to what it is in");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_pyyaml),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_duplicates_warn),
        cmocka_unit_test(test_equality),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_aliases_do_not_explode),
        cmocka_unit_test(test_merge_keys_do_not_explode),
        cmocka_unit_test(test_circles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
